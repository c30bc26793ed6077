#pragma once
#include <algorithm>
#include <deque>
#include <functional>
#include <utility>

#include "sc_timeline_module.hpp"

namespace vmxsys::cpu {

/// Things that come from outside and act inside the machine at the cycle of their arrival, in phase message: by rank,
/// then as they came. Among several owners of such a queue, the one constructed first acts first in a cycle.
template <class T>
class arrivals {
 public:
  /// `act` is called in an event of the machine.
  arrivals(timeline_module& timeline, std::function<void(const T& what, cycles now)> act)
      : timeline_{timeline}, act_{std::move(act)}, slot_{timeline.add_slot(this, on_time)} {}
  arrivals(const arrivals&) = delete;
  arrivals& operator=(const arrivals&) = delete;

  /// Comes in `delay` from now; the cycle at which it acts.
  cycles push(T what, const sc_core::sc_time& delay, unsigned rank = 0) {
    const cycles at = timeline_.arrival(delay);
    insert(std::move(what), at, rank);
    timeline_.act_at(slot_, waiting_.front().at);
    return at;
  }
  /// The same out of an event of the machine at an earlier cycle, or at this one in a slot before it.
  void push_at(T what, cycles at, unsigned rank = 0) {
    insert(std::move(what), at, rank);
    timeline_.hardware().time().arm(slot_, waiting_.front().at, phase::message);
  }

  /// What has come by `until` and has not acted yet.
  template <class F>
  void for_each_until(cycles until, F f) const {
    for (const arrival& a : waiting_)
      if (a.at <= until) f(a.what, a.at);
  }

 private:
  struct arrival {
    cycles at;
    unsigned rank;
    T what;
  };

  void insert(T what, cycles at, unsigned rank) {
    const auto place = std::upper_bound(
        waiting_.begin(), waiting_.end(), std::pair{at, rank},
        [](const auto& key, const arrival& a) { return key.first != a.at ? key.first < a.at : key.second < a.rank; });
    waiting_.insert(place, {at, rank, std::move(what)});
  }
  static void on_time(void* self, cycles now) { static_cast<arrivals*>(self)->take(now); }
  void take(cycles now) {
    while (!waiting_.empty() && waiting_.front().at == now) {
      const T what = std::move(waiting_.front().what);
      waiting_.pop_front();
      act_(what, now);
    }
    if (!waiting_.empty()) timeline_.hardware().time().arm(slot_, waiting_.front().at, phase::message);
  }

  timeline_module& timeline_;
  std::function<void(const T&, cycles)> act_;
  std::deque<arrival> waiting_;
  slot slot_;
};

}  // namespace vmxsys::cpu
