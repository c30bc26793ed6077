#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include <vmxsys/apic/local/interrupt.hpp>
#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/cpu/time/timeline.hpp>

namespace vmxsys::cpu {

/// Interrupt messages on their way to one CPU, taken in the order (cycle, sender, number at the sender).
class inbox {
 public:
  struct entry {
    cycles at;
    unsigned sender;
    std::uint64_t sequence;
    apic::interrupt_message message;
    fact_id cause;
  };

  bool empty() const { return entries_.empty(); }
  cycles next() const { return entries_.empty() ? cycles::never() : entries_.front().at; }

  void post(const entry& e) {
    entries_.push_back(e);
    std::push_heap(entries_.begin(), entries_.end(), later);
  }
  entry take() {
    std::pop_heap(entries_.begin(), entries_.end(), later);
    const entry e = entries_.back();
    entries_.pop_back();
    return e;
  }

 private:
  static bool later(const entry& a, const entry& b) {
    if (a.at != b.at) return a.at > b.at;
    if (a.sender != b.sender) return a.sender > b.sender;
    return a.sequence > b.sequence;
  }
  std::vector<entry> entries_;
};

}  // namespace vmxsys::cpu
