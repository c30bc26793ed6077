#include "timeline.hpp"

#include <algorithm>
#include <cassert>
#include <stdexcept>

namespace vmxsys::cpu {

slot timeline::add_slot(void* context, callback fire) {
  if (events_ != 0) throw std::logic_error("timeline: a slot was added after time began to run");
  clients_.push_back({context, fire});
  keys_.push_back(unarmed);
  grow();
  return slot{static_cast<std::uint32_t>(clients_.size() - 1)};
}

void timeline::grow() {
  std::uint32_t wanted = 1;
  while (wanted < clients_.size()) wanted *= 2;
  if (wanted == leaves_) {
    replay(static_cast<std::uint32_t>(clients_.size() - 1), true);
    return;
  }
  leaves_ = wanted;
  tree_.assign(std::size_t{2} * leaves_, {});
  for (std::uint32_t i = 0; i < leaves_; ++i) tree_[leaves_ + i] = {i < keys_.size() ? keys_[i] : unarmed, i};
  for (std::uint32_t i = leaves_ - 1; i >= 1; --i) {
    const node& left = tree_[2 * i];
    const node& right = tree_[2 * i + 1];
    tree_[i] = right.key < left.key ? right : left;
  }
}

void timeline::arm(slot which, cycles at, phase in) {
  const std::uint64_t key = at.count() << 2 | static_cast<std::uint64_t>(in);
  assert(at.count() < (std::uint64_t{1} << 62));
  assert(key >= (now_.count() << 2 | static_cast<std::uint64_t>(phase_)) && "armed in the past");
  set_key(static_cast<std::uint32_t>(which), key);
}

void timeline::disarm(slot which) {
  if (keys_[index(which)] != unarmed) set_key(static_cast<std::uint32_t>(which), unarmed);
}

// While a slot fires, its path to the root is stale: the matches along it are played without it.
std::uint64_t timeline::next_key() const {
  if (leaves_ == 0) return unarmed;
  if (firing_ == ~std::uint32_t{0}) return tree_[1].key;
  std::uint64_t best = keys_[firing_];
  for (std::uint32_t at = leaves_ + firing_; at > 1; at /= 2) best = std::min(best, tree_[at ^ 1].key);
  return best;
}

void timeline::set_key(std::uint32_t leaf, std::uint64_t key) {
  keys_[leaf] = key;
  if (leaf != firing_) replay(leaf, false);  // the firing slot's path is replayed once, after its callback
}

// Plays the matches from a leaf to the root again. Ties go to the lower slot, which is always the left child.
// A match whose winner is another slot than before's loser ends the walk early, unless the path above may be stale.
void timeline::replay(std::uint32_t leaf, bool whole_path) {
  std::uint32_t at = leaves_ + leaf;
  tree_[at] = {keys_[leaf], leaf};
  for (at /= 2; at >= 1; at /= 2) {
    const node& left = tree_[2 * at];
    const node& right = tree_[2 * at + 1];
    const node& best = right.key < left.key ? right : left;
    if (!whole_path && tree_[at].winner == best.winner && tree_[at].key == best.key) return;
    tree_[at] = best;
  }
}

void timeline::end_no_later_than(cycles end) {
  assert(end > now_);
  limit_ = std::min(limit_, end.count() << 2);
}

void timeline::run_until(cycles end) {
  stopped_ = false;
  limit_ = end.count() << 2;
  while (leaves_ != 0 && tree_[1].key < limit_) {
    const std::uint64_t key = tree_[1].key;
    const std::uint32_t winner = tree_[1].winner;
    now_ = cycles{key >> 2};
    phase_ = static_cast<phase>(key & 3);
    ++events_;
    firing_ = winner;
    keys_[winner] = unarmed;
    const client c = clients_[winner];
    try {
      c.fire(c.context, now_);
    } catch (...) {
      firing_ = ~std::uint32_t{0};
      replay(winner, true);
      throw;
    }
    firing_ = ~std::uint32_t{0};
    replay(winner, true);
    if (stopped_) return;
  }
  if (cycles{limit_ >> 2} <= now_) return;
  now_ = cycles{limit_ >> 2};
  phase_ = phase::message;
}

}  // namespace vmxsys::cpu
