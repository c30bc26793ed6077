#pragma once
#include <boost/random/exponential_distribution.hpp>
#include <boost/random/taus88.hpp>
#include <boost/random/uniform_int_distribution.hpp>
#include <cstdint>
#include <string_view>

#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/base/distribution.hpp>

namespace vmxsys::models {

/// The random numbers of one component, seeded from the run's seed and the component's full name: adding a component
/// does not change another's numbers. Generator and distributions are Boost's, the same on every platform (taus88:
/// L'Ecuyer, Math. Comp. 65, 1996).
class random_stream {
 public:
  random_stream(std::uint64_t seed, std::string_view full_name) {
    std::uint64_t h = 0xcbf29ce484222325ULL ^ seed * 0x9e3779b97f4a7c15ULL;
    for (char c : full_name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    h = (h ^ h >> 31) * 0xbf58476d1ce4e5b9ULL;
    h ^= h >> 29;
    generator_.seed(static_cast<std::uint32_t>(h) | 0x100u);
    generator_.discard(static_cast<std::uint64_t>(h >> 56) + 8);
  }

  /// Uniform in [lowest, highest].
  std::uint64_t uniform(std::uint64_t lowest, std::uint64_t highest) {
    return boost::random::uniform_int_distribution<std::uint64_t>{lowest, highest}(generator_);
  }
  /// One of `n` indices; draws nothing when there is only one.
  std::size_t index(std::size_t n) { return n == 1 ? 0 : uniform(0, n - 1); }
  double exponential(double mean) { return boost::random::exponential_distribution<double>{1 / mean}(generator_); }

 private:
  boost::random::taus88 generator_;
};

/// A random length of time, in cycles.
struct duration_distribution {
  enum class shape : std::uint8_t { fixed, uniform, exponential };
  shape kind = shape::fixed;
  cycles mean{1000};
  cycles min{0};                 ///< uniform: the smallest; exponential: cut off below
  cycles max = cycles::never();  ///< uniform: the largest; exponential: cut off above

  /// What a configuration says, on a machine whose TSC runs at `tsc_khz`.
  static duration_distribution of(const distribution& d, std::uint64_t tsc_khz) {
    duration_distribution out;
    out.kind = d.kind == distribution::shape::exponential ? shape::exponential
               : d.kind == distribution::shape::uniform   ? shape::uniform
                                                          : shape::fixed;
    if (d.mean) out.mean = d.mean->to_cycles(tsc_khz);
    if (d.min) out.min = d.min->to_cycles(tsc_khz);
    if (d.max) out.max = d.max->to_cycles(tsc_khz);
    return out;
  }

  /// Is every length drawn from it 0?
  bool always_zero() const {
    switch (kind) {
      case shape::fixed:
        return mean == cycles{0};
      case shape::uniform:
        return max == cycles{0};
      case shape::exponential:
        break;
    }
    return max == cycles{0} || (mean == cycles{0} && min == cycles{0});
  }

  cycles draw(random_stream& random) const {
    switch (kind) {
      case shape::fixed:
        return mean;
      case shape::uniform:
        return cycles{random.uniform(min.count(), max.count())};
      case shape::exponential:
        break;
    }
    const auto drawn = static_cast<std::uint64_t>(random.exponential(static_cast<double>(mean.count())));
    return vmxsys::max(min, vmxsys::min(max, cycles{drawn}));
  }
};

}  // namespace vmxsys::models
