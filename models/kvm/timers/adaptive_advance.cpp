#include <array>

#include "timer_advance.hpp"

namespace vmxsys::models {

namespace {

constexpr const char* source = "Linux v5.3 to v6.1, arch/x86/kvm/lapic.c";
struct options {
  duration initial = duration::us(1);
  duration most = duration::us(5);
  std::uint32_t least_delta = 100;
  std::uint32_t most_delta = 10'000;
  std::uint32_t step = 8;
};
constexpr std::array rows{
    row<&options::initial>("initial", duration::ns(0), duration::s(1),
                           "the advance at first, and again when it leaves its bound "
                           "(LAPIC_TIMER_ADVANCE_NS_INIT)")
        .from(source),
    row<&options::most>("most", duration::ns(0), duration::s(1), "bound of the advance (LAPIC_TIMER_ADVANCE_NS_MAX)")
        .from(source),
    row<&options::least_delta>("least_delta", "cycles",
                               "an entry that is less early or late changes nothing "
                               "(LAPIC_TIMER_ADVANCE_ADJUST_MIN)")
        .from(source),
    row<&options::most_delta>("most_delta", "cycles",
                              "nor one that is more early or late: a spike "
                              "(LAPIC_TIMER_ADVANCE_ADJUST_MAX)")
        .from(source),
    row<&options::step>("step", "divisor", 1, 1'000'000,
                        "part of the error that is corrected at once (LAPIC_TIMER_ADVANCE_ADJUST_STEP)")
        .from(source),
};

class adaptive_advance final : public timer_advance {
 public:
  adaptive_advance(const options& o, std::uint64_t tsc_khz)
      : timer_advance{nanoseconds_of(o.initial, tsc_khz)},
        initial_ns_{nanoseconds()},
        most_ns_{nanoseconds_of(o.most, tsc_khz)},
        least_delta_{o.least_delta},
        most_delta_{o.most_delta},
        step_{o.step} {}

  void adjust(std::int64_t delta, std::uint64_t tsc_khz) override {
    const std::uint64_t error = delta < 0 ? 0 - static_cast<std::uint64_t>(delta) : static_cast<std::uint64_t>(delta);
    if (error < least_delta_ || error > most_delta_) return;
    const auto correction = static_cast<std::uint32_t>(error * 1'000'000 / tsc_khz / step_);
    ns_ = delta < 0 ? ns_ - correction : ns_ + correction;  // below zero wraps, which is above the bound
    if (ns_ > most_ns_) ns_ = initial_ns_;
  }

 private:
  std::uint32_t initial_ns_;
  std::uint32_t most_ns_;
  std::uint32_t least_delta_;  // in guest TSC cycles; below: a fluctuation
  std::uint32_t most_delta_;   // above: a spike
  std::uint32_t step_;
};

}  // namespace

extern const timer_advance_entry adaptive_advance_entry = entry_with<timer_advance_entry, options, rows>(
    "adaptive", "timers expire early by a time that is adjusted to how early or late each entry was",
    [](const void* o, std::uint64_t tsc_khz) -> std::unique_ptr<timer_advance> {
      return std::make_unique<adaptive_advance>(options_as<options>(o), tsc_khz);
    });

}  // namespace vmxsys::models
