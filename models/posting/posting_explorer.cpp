#include "posting_explorer.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <memory>

namespace vmxsys::models {
namespace {

// The states seen so far: their bytes in one long row, and a hash table of where each begins. Bytes are compared, not
// hashes, so that no state is taken for another.
class visited_states {
 public:
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  visited_states() : table_(1u << 16, slot{}) {}

  /// Number of a new state, or `none` if it was there already.
  std::uint32_t add(std::string_view bytes) {
    if (2 * (begins_.size() + 1) > table_.size()) grow();
    const auto hash = static_cast<std::uint32_t>(std::hash<std::string_view>{}(bytes));
    std::size_t at = hash & (table_.size() - 1);
    for (; table_[at].state != none; at = (at + 1) & (table_.size() - 1))
      if (table_[at].hash == hash && bytes_of(table_[at].state) == bytes) return none;
    const auto number = static_cast<std::uint32_t>(begins_.size());
    table_[at] = {hash, number};
    begins_.push_back(place(bytes));
    lengths_.push_back(static_cast<std::uint16_t>(bytes.size()));
    return number;
  }

 private:
  static constexpr std::size_t block_bytes = 1u << 20;
  struct slot {
    std::uint32_t hash = 0;  ///< spares most looks at the bytes
    std::uint32_t state = none;
  };

  std::string_view bytes_of(std::uint32_t state) const { return {begins_[state], lengths_[state]}; }

  const char* place(std::string_view bytes) {
    if (blocks_.empty() || used_ + bytes.size() > block_bytes) {
      blocks_.push_back(std::make_unique<char[]>(block_bytes));
      used_ = 0;
    }
    char* to = blocks_.back().get() + used_;
    std::memcpy(to, bytes.data(), bytes.size());
    used_ += bytes.size();
    return to;
  }

  void grow() {
    std::vector<slot> table(2 * table_.size(), slot{});
    for (const slot& s : table_) {
      if (s.state == none) continue;
      std::size_t at = s.hash & (table.size() - 1);
      while (table[at].state != none) at = (at + 1) & (table.size() - 1);
      table[at] = s;
    }
    table_ = std::move(table);
  }

  std::vector<slot> table_;
  std::vector<const char*> begins_;
  std::vector<std::uint16_t> lengths_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  std::size_t used_ = 0;
};

class exploration {
 public:
  exploration(const posting_scenario& scenario, const posting_limits& limits) : rules_{scenario}, limits_{limits} {
    result_.scenario = scenario;
  }

  posting_exploration run() {
    const auto begin = std::chrono::steady_clock::now();
    const posting_world start{rules_};
    reach(start, visited_states::none, {});
    while (!next_.empty() && !stopped_) {
      level_.swap(next_);
      next_.clear();
      for (const found& from : level_) {
        visit(from);
        if (stopped_) break;
      }
      if (!next_.empty()) ++result_.depth;
    }
    result_.complete = !stopped_;
    if (violation_ != nullptr) {
      result_.violation = violation_;
      trace(start);
    }
    result_.states = came_from_.size();
    result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return std::move(result_);
  }

 private:
  struct found {
    std::uint32_t number;
    posting_world world;
  };
  struct origin {
    std::uint32_t state;
    posting_choice choice;
  };

  void reach(const posting_world& world, std::uint32_t from, const posting_choice& choice) {
    state_bytes bytes;
    world.encode(bytes);
    const std::uint32_t number = seen_.add(bytes.view());
    if (number == visited_states::none) return;
    came_from_.push_back({from, choice});
    next_.push_back({number, world});
  }

  void visit(const found& from) {
    choices_.clear();
    from.world.choices(choices_);
    const bool settled =
        std::none_of(choices_.begin(), choices_.end(), [](const posting_choice& c) { return c.obliged(); });
    result_.settled += settled;
    result_.quiescent += choices_.empty();
    if (const char* const wrong = from.world.wrong(settled)) {
      ++result_.violations;
      if (violation_ == nullptr) {
        violation_ = wrong;
        last_ = from.number;
      }
      if (!limits_.past_violations) {
        stopped_ = true;
        return;
      }
    }
    for (const posting_choice& choice : choices_) {
      posting_world to = from.world;
      to.happen(choice);
      ++result_.transitions;
      reach(to, from.number, choice);
    }
    if (came_from_.size() >= limits_.states || (++visits_ % 4096 == 0 && limits_.stop && limits_.stop()))
      stopped_ = true;
  }

  void trace(const posting_world& start) {
    for (std::uint32_t at = last_; came_from_[at].state != visited_states::none; at = came_from_[at].state)
      result_.path.push_back(came_from_[at].choice);
    std::reverse(result_.path.begin(), result_.path.end());
    replay(start, result_.path, &result_.trace);
    posting_world end = start;
    for (const posting_choice& choice : result_.path) end.happen(choice);
    result_.outcome = end.describe();
  }

  posting_rules rules_;
  const posting_limits& limits_;
  posting_exploration result_;
  visited_states seen_;
  std::vector<origin> came_from_;
  std::vector<found> level_, next_;
  std::vector<posting_choice> choices_;
  const char* violation_ = nullptr;
  std::uint32_t last_ = 0;
  std::uint64_t visits_ = 0;
  bool stopped_ = false;
};

}  // namespace

const std::vector<posting_order_info>& posting_orders() {
  static const std::vector<posting_order_info> all{
      {posting_order::as_shipped, "as_shipped", "KVM's order of steps"},
      {posting_order::syncs_before_announcing, "syncs_before_announcing",
       "entry checks PIR before it announces guest mode"},
      {posting_order::announces_late, "announces_late", "entry announces guest mode right before VM entry"},
      {posting_order::clears_on_after_harvest, "clears_on_after_harvest", "sync takes PIR first and clears ON then"},
      {posting_order::posts_on_before_pir, "posts_on_before_pir", "a sender sets ON first and its PIR bit then"},
      {posting_order::reads_mode_before_posting, "reads_mode_before_posting",
       "a sender looks where its target is before it posts"},
      {posting_order::checks_before_waiting, "checks_before_waiting",
       "a vCPU looks for interrupts before it counts as waiting", true},
      {posting_order::ignores_on_after_switch, "ignores_on_after_switch",
       "a blocking vCPU does not look at ON after NV has become the wake-up vector"},
      {posting_order::ignores_pir_after_load, "ignores_pir_after_load",
       "a vCPU that gets a CPU clears SN and does not look at PIR"},
      {posting_order::keeps_destination, "keeps_destination", "a vCPU that gets another CPU leaves NDST as it was"},
  };
  return all;
}

posting_exploration explore(const posting_scenario& scenario, const posting_limits& limits) {
  return exploration{scenario, limits}.run();
}

const char* replay(const posting_world& start, const std::vector<posting_choice>& path,
                   std::vector<posting_event>* trace) {
  posting_world world = start;
  for (const posting_choice& choice : path) world.happen(choice, trace);
  std::vector<posting_choice> open;
  world.choices(open);
  return world.wrong(std::none_of(open.begin(), open.end(), [](const posting_choice& c) { return c.obliged(); }));
}

}  // namespace vmxsys::models
