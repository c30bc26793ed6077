#include <array>

#include "timer_advance.hpp"

namespace vmxsys::models {

namespace {

struct options {
  duration lead = duration::us(1);
};
constexpr std::array rows{
    row<&options::lead>("lead", duration::ns(1), duration::s(1), "time by which every timer expires early")
        .from("Linux, arch/x86/kvm/lapic.c, lapic_timer_advance_ns"),
};

class fixed_advance final : public timer_advance {
 public:
  fixed_advance(const options& o, std::uint64_t tsc_khz) : timer_advance{nanoseconds_of(o.lead, tsc_khz)} {}
  void adjust(std::int64_t, std::uint64_t) override {}
};

}  // namespace

extern const timer_advance_entry fixed_advance_entry = entry_with<timer_advance_entry, options, rows>(
    "fixed", "timers expire early by a fixed time; the entry then waits for the deadline",
    [](const void* o, std::uint64_t tsc_khz) -> std::unique_ptr<timer_advance> {
      return std::make_unique<fixed_advance>(options_as<options>(o), tsc_khz);
    });

}  // namespace vmxsys::models
