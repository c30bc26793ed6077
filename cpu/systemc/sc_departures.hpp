#pragma once
#include <deque>
#include <utility>

#include <vmxsys/cpu/time/timeline.hpp>

#include "sc_cycle_clock.hpp"
#include "sc_portability.hpp"

namespace vmxsys::cpu {

/// Things that leave the machine for the outside, each at the kernel time of its cycle and in the order of their
/// departure. The machine's events put them in, one SC_THREAD takes them out.
///
/// Each starts one delta cycle into its instant, whether the machine ran ahead of it or not: what other processes do in
/// the first delta cycle is before it for every quantum.
template <class T>
class departures {
 public:
  explicit departures(const char* event) : wake_{event} {}

  /// In an event of the machine at cycle `now`. What it causes can come back one cycle later, so the run in progress
  /// ends there.
  void push(T what, cycles now, timeline& order, const cycle_clock& clock) {
    const sc_core::sc_time due = clock.time_of(now);
    const sc_core::sc_time here = sc_core::sc_time_stamp();
    const bool in_time = due <= here;
    waiting_.push_back({std::move(what), due, in_time});
    order.end_no_later_than(clock.cycle_of(due) + cycles{1});
    wake_.notify(in_time ? sc_core::SC_ZERO_TIME : due - here);
  }

  /// Waits until the next one leaves. Only in an SC_THREAD.
  T take() {
    bool settled = false;
    while (waiting_.empty()) {
      sc_core::wait(wake_);
      settled = !waiting_.empty() && waiting_.front().issued_in_time;
    }
    const sc_core::sc_time due = waiting_.front().due;
    if (due > sc_core::sc_time_stamp()) sc_core::wait(due - sc_core::sc_time_stamp());
    if (due == sc_core::sc_time_stamp() && !settled) sc_core::wait(sc_core::SC_ZERO_TIME);
    T what = std::move(waiting_.front().what);
    waiting_.pop_front();
    return what;
  }

 private:
  struct departure {
    T what;
    sc_core::sc_time due;
    bool issued_in_time;  // kernel time was the cycle's when it was put in
  };
  sc_core::sc_event wake_;
  std::deque<departure> waiting_;
};

}  // namespace vmxsys::cpu
