#pragma once
#include <cstdint>
#include <string>

namespace vmxsys::testing {

/// splitmix64.
class random_numbers {
 public:
  explicit random_numbers(std::uint64_t seed) : state_{seed} {}
  std::uint64_t operator()() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return (*this)() % n; }
  std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  template <class C>
  auto& pick(C& from) {
    return from[below(from.size())];
  }
  template <class... T>
  std::string one_of(T... names) {
    const std::string all[] = {names...};
    return all[below(sizeof...(names))];
  }

 private:
  std::uint64_t state_;
};

}  // namespace vmxsys::testing
