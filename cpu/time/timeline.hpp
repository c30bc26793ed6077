#pragma once
#include <cassert>
#include <cstdint>
#include <vector>

#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::cpu {

/// The declared order within one cycle. Where two things can race in the model, this order and then the slot
/// number decide it; insertion order never does.
enum class phase : std::uint8_t {
  message,  ///< interrupt messages and outside writes arrive
  timer,    ///< timers expire
  effect,   ///< stores and read-modify-writes take effect; software that waited for one resumes
  read,     ///< loads and polls read, other instructions complete, boundaries are recognised
};

/// Names one static timer of one component. Lower numbers go first within (cycle, phase).
enum class slot : std::uint32_t {};

/// Every future event of one machine, ordered by (cycle, phase, slot). A component registers its slots while the
/// machine is built and re-arms them ever after: arming replaces, nothing is inserted or removed, no memory is
/// allocated while time runs. A winner tree over the slots finds the next event in log2(slots) comparisons.
///
/// Not thread-safe. Callbacks run on the caller of `run_until`.
class timeline {
 public:
  using callback = void (*)(void* context, cycles now);

  /// Registers a slot in a group of its own; only before the first `run_until`. `context` must outlive the timeline's
  /// runs.
  slot add_slot(void* context, callback fire);
  /// Registers a further slot of the group of `beside`, which must be the group added last. A group should be small:
  /// its slots are searched one by one. Groups make a run faster and change nothing else. Throws std::logic_error as
  /// above, and for an earlier group.
  slot add_slot(void* context, callback fire, slot beside);

  /// Sets the slot to fire at (at, in). `at` must not lie before the present; at the present cycle the phase must
  /// not lie before the present phase. Replaces what was armed.
  void arm(slot which, cycles at, phase in) {
    const std::uint64_t key = at.count() << 2 | static_cast<std::uint64_t>(in);
    assert(at.count() < (std::uint64_t{1} << 62));
    assert(key >= (now_.count() << 2 | static_cast<std::uint64_t>(phase_)) && "armed in the past");
    set_key(static_cast<std::uint32_t>(which), key);
  }
  void disarm(slot which) {
    if (armed(which)) set_key(static_cast<std::uint32_t>(which), unarmed);
  }
  bool armed(slot which) const { return keys_[index(which)] != unarmed; }

  /// The cycle and phase being executed, or the end of the last run between runs.
  cycles now() const { return now_; }
  phase now_phase() const { return phase_; }

  /// The cycle of the next event, `cycles::never()` if there is none.
  cycles next() const {
    const std::uint64_t key = next_key();
    return key == unarmed ? cycles::never() : cycles{key >> 2};
  }

  /// Executes every event strictly before `end`, then sets the present to (`end`, message). An `end` that lies not
  /// after the present changes nothing.
  void run_until(cycles end);

  /// Lets the `run_until` in progress end at `end` if it would end later; `end` must lie after the present cycle. For a
  /// bridge to another simulator whose limit comes nearer because of what the machine has just done.
  void end_no_later_than(cycles end);

  /// Ends `run_until` after the running callback; the present stays where it is.
  void stop() { stopped_ = true; }
  bool stopped() const { return stopped_; }

  /// Events executed since construction: the measure of the engine's work.
  std::uint64_t events() const { return events_; }
  std::size_t slots() const { return clients_.size(); }

 private:
  static constexpr std::uint64_t unarmed = ~std::uint64_t{0};
  static constexpr std::uint32_t none = ~std::uint32_t{0};
  struct node {
    std::uint64_t key = unarmed;
    std::uint32_t winner = 0;
  };
  struct client {
    void* context;
    callback fire;
    std::uint32_t group;
  };
  /// Slots `first` up to the next group's.
  struct group {
    std::uint32_t first;
    std::uint32_t end;
  };

  static std::size_t index(slot s) { return static_cast<std::size_t>(s); }
  std::uint64_t next_key() const;
  void set_key(std::uint32_t which, std::uint64_t key) {
    keys_[which] = key;
    const std::uint32_t of = clients_[which].group;
    if (of != running_) change(of);  // the running group is looked at after the callback
  }
  void change(std::uint32_t of);
  std::uint32_t earliest_of(const group& g) const;
  std::uint64_t bound_beside(std::uint32_t of) const;
  void replay(std::uint32_t leaf, std::uint64_t key);
  void run_group(std::uint32_t of);
  void grow();

  std::vector<client> clients_;
  std::vector<std::uint64_t> keys_;  // of the slots: cycle << 2 | phase
  std::vector<group> groups_;
  // tree_[1] is the winner of all, the children of i are 2i and 2i+1, and the last leaves_ nodes are the groups'.
  std::vector<node> tree_;
  std::uint32_t leaves_ = 0;
  std::uint32_t running_ = none;  // group whose leaf and path are stale
  std::uint64_t bound_ = 0;       // the running group's events with a key below this come before all others
  cycles now_{0};
  phase phase_ = phase::message;
  bool stopped_ = false;
  std::uint64_t limit_ = 0;  // key at which the run in progress ends
  std::uint64_t events_ = 0;
};

}  // namespace vmxsys::cpu
