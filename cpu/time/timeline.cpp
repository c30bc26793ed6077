#include "timeline.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace vmxsys::cpu {

slot timeline::add_slot(void* context, callback fire) {
  if (events_ != 0) throw std::logic_error("timeline: a slot was added after time began to run");
  const auto number = static_cast<std::uint32_t>(clients_.size());
  clients_.push_back({context, fire, static_cast<std::uint32_t>(groups_.size())});
  keys_.push_back(unarmed);
  groups_.push_back({number, number + 1});
  grow();
  return slot{number};
}

slot timeline::add_slot(void* context, callback fire, slot beside) {
  if (events_ != 0) throw std::logic_error("timeline: a slot was added after time began to run");
  if (clients_[index(beside)].group + 1 != groups_.size())
    throw std::logic_error("timeline: a slot was added to a group that is not the last");
  clients_.push_back({context, fire, clients_[index(beside)].group});
  keys_.push_back(unarmed);
  return slot{groups_.back().end++};
}

void timeline::grow() {
  std::uint32_t wanted = 1;
  while (wanted < groups_.size()) wanted *= 2;
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

// Ties go to the lower slot.
std::uint32_t timeline::earliest_of(const group& g) const {
  std::uint32_t best = g.first;
  std::uint64_t key = keys_[best];
  for (std::uint32_t i = g.first + 1; i < g.end; ++i) {
    const bool earlier = keys_[i] < key;
    best = earlier ? i : best;
    key = earlier ? keys_[i] : key;
  }
  return best;
}

// While a group runs, its path to the root is stale: the matches along it are played without it.
std::uint64_t timeline::next_key() const {
  if (leaves_ == 0) return unarmed;
  if (running_ == none) return tree_[1].key;
  std::uint64_t best = keys_[earliest_of(groups_[running_])];
  for (std::uint32_t at = leaves_ + running_; at > 1; at /= 2) best = std::min(best, tree_[at ^ 1].key);
  return best;
}

// The least key that comes after the first event of all other groups. Ties go to the group with the lower slots, so
// an equal key still comes before a group to the right.
std::uint64_t timeline::bound_beside(std::uint32_t of) const {
  std::uint64_t bound = unarmed;
  for (std::uint32_t at = leaves_ + of; at > 1; at /= 2) {
    const node& other = tree_[at ^ 1];
    if (other.key != unarmed) bound = std::min(bound, other.key + (other.winner > of));
  }
  return bound;
}

// A slot of a group that does not run was armed or disarmed.
void timeline::change(std::uint32_t of) {
  const std::uint64_t key = keys_[earliest_of(groups_[of])];
  if (running_ != none && key != unarmed) bound_ = std::min(bound_, key + (of > running_));
  if (tree_[leaves_ + of].key != key) replay(of, key);
}

// Plays the matches from a leaf to the root again. Ties go to the lower group, which is always the left child.
// The winner so far stays in registers and the choice is arithmetic: a branch here would be mispredicted half the time,
// and reading back what was just stored would be waited for at every level.
void timeline::replay(std::uint32_t leaf, std::uint64_t key) {
  node* const tree = tree_.data();
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
  bound_ = std::min(bound_, limit_);
}

// Fires the events of one group, which has the earliest of all, up to the first that another group's precedes.
void timeline::run_group(std::uint32_t of) {
  const group& own = groups_[of];
  struct leaving {
    timeline& of;
    ~leaving() {
      const std::uint32_t group = std::exchange(of.running_, none);
      of.replay(group, of.keys_[of.earliest_of(of.groups_[group])]);
    }
  } at_end{*this};
  running_ = of;
  bound_ = std::min(limit_, bound_beside(of));
  for (;;) {
    const std::uint32_t which = earliest_of(own);
    const std::uint64_t key = keys_[which];
    if (key >= bound_) return;
    now_ = cycles{key >> 2};
    phase_ = static_cast<phase>(key & 3);
    ++events_;
    keys_[which] = unarmed;
    clients_[which].fire(clients_[which].context, now_);
    if (stopped_) return;
  }
}

void timeline::run_until(cycles end) {
  stopped_ = false;
  limit_ = end.count() << 2;
  while (leaves_ != 0 && tree_[1].key < limit_) {
    run_group(tree_[1].winner);
    if (stopped_) return;
  }
  if (cycles{limit_ >> 2} <= now_) return;
  now_ = cycles{limit_ >> 2};
  phase_ = phase::message;
}

}  // namespace vmxsys::cpu
