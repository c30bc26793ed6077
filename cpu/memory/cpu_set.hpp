#pragma once
#include <bit>
#include <boost/container/small_vector.hpp>
#include <cstdint>

namespace vmxsys::cpu {

/// A set of CPU numbers; up to 64 CPUs it needs no allocation.
class cpu_set {
 public:
  bool test(unsigned cpu) const { return cpu / 64 < words_.size() && (words_[cpu / 64] >> (cpu % 64) & 1) != 0; }
  void set(unsigned cpu) {
    if (cpu / 64 >= words_.size()) words_.resize(cpu / 64 + std::size_t{1});
    words_[cpu / 64] |= std::uint64_t{1} << (cpu % 64);
  }
  void reset(unsigned cpu) {
    if (cpu / 64 < words_.size()) words_[cpu / 64] &= ~(std::uint64_t{1} << (cpu % 64));
  }
  void assign(unsigned cpu) {
    for (std::uint64_t& w : words_) w = 0;
    set(cpu);
  }
  /// Is `cpu` the only member?
  bool only(unsigned cpu) const {
    if (!test(cpu)) return false;
    for (std::size_t i = 0; i < words_.size(); ++i)
      if (words_[i] != (i == cpu / 64 ? std::uint64_t{1} << (cpu % 64) : 0)) return false;
    return true;
  }
  /// Calls f(cpu) for each member in ascending order.
  template <class F>
  void for_each(F f) const {
    for (std::size_t i = 0; i < words_.size(); ++i)
      for (std::uint64_t w = words_[i]; w != 0; w &= w - 1)
        f(static_cast<unsigned>(i * 64 + static_cast<unsigned>(std::countr_zero(w))));
  }

 private:
  boost::container::small_vector<std::uint64_t, 1> words_{0};
};

}  // namespace vmxsys::cpu
