#include "timeline.hpp"

#include <algorithm>
#include <stdexcept>

namespace vmxsys::cpu {

slot timeline::add_slot(void* context, callback fire) {
  if (events_ != 0) throw std::logic_error("timeline: a slot was added after time began to run");
  clients_.push_back({context, fire});
  grow();
  return slot{static_cast<std::uint32_t>(clients_.size() - 1)};
}

void timeline::grow() {
  std::uint32_t wanted = 1;
  while (wanted < clients_.size()) wanted *= 2;
  if (wanted == leaves_) return;  // the new leaf is there, unarmed
  std::vector<node> tree(std::size_t{2} * wanted);
  std::copy(tree_.end() - leaves_, tree_.end(), tree.begin() + wanted);
  for (std::uint32_t i = leaves_; i < wanted; ++i) tree[wanted + i].winner = i;
  leaves_ = wanted;
  tree_ = std::move(tree);
  for (std::uint32_t i = leaves_ - 1; i >= 1; --i) {
    const node& left = tree_[2 * i];
    const node& right = tree_[2 * i + 1];
    tree_[i] = right.key < left.key ? right : left;
  }
}

// While a slot fires, its path to the root is stale: the matches along it are played without it.
std::uint64_t timeline::next_key() const {
  if (leaves_ == 0) return unarmed;
  if (firing_ == ~std::uint32_t{0}) return tree_[1].key;
  std::uint64_t best = tree_[leaves_ + firing_].key;
  for (std::uint32_t at = leaves_ + firing_; at > 1; at /= 2) best = std::min(best, tree_[at ^ 1].key);
  return best;
}

// Plays the matches from a leaf to the root again. Ties go to the lower slot, which is always the left child.
// The winner so far stays in registers and the choice is arithmetic: a branch here would be mispredicted half the time,
// and reading back what was just stored would be waited for at every level.
void timeline::replay(std::uint32_t leaf) {
  node* const tree = tree_.data();
  std::uint64_t key = tree[leaves_ + leaf].key;
  std::uint32_t winner = leaf;
  for (std::uint32_t at = leaves_ + leaf;; at /= 2) {
    tree[at].key = key;
    tree[at].winner = winner;
    if (at == 1) return;
    const node& other = tree[at ^ 1];
    const std::uint64_t other_wins =
        0 - static_cast<std::uint64_t>((other.key < key) | ((other.key == key) & ((at & 1) != 0)));
    key ^= (key ^ other.key) & other_wins;
    winner ^= (winner ^ other.winner) & static_cast<std::uint32_t>(other_wins);
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
    tree_[leaves_ + winner].key = unarmed;
    const client c = clients_[winner];
    try {
      c.fire(c.context, now_);
    } catch (...) {
      firing_ = ~std::uint32_t{0};
      replay(winner);
      throw;
    }
    firing_ = ~std::uint32_t{0};
    replay(winner);
    if (stopped_) return;
  }
  if (cycles{limit_ >> 2} <= now_) return;
  now_ = cycles{limit_ >> 2};
  phase_ = phase::message;
}

}  // namespace vmxsys::cpu
