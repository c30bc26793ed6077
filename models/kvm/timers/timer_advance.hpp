#pragma once
#include <cstdint>
#include <memory>
#include <optional>

#include <vmxsys/vmx/base/catalogue.hpp>
#include <vmxsys/vmx/base/cycles.hpp>

// How early a virtual local APIC timer expires so that the guest is back in time (arch/x86/kvm/lapic.c:
// lapic_timer_advance_ns, -1 adaptive, 0 off, above 0 fixed, v5.3 to v6.1). Pure arithmetic; times in TSC cycles unless
// they say otherwise.
namespace vmxsys::models {

/// The advance of one vCPU, and the deadline that expired early and has still to be waited for.
class timer_advance {
 public:
  explicit timer_advance(std::uint32_t nanoseconds) : ns_{nanoseconds} {}
  virtual ~timer_advance() = default;

  std::uint32_t nanoseconds() const { return ns_; }
  cycles lead(std::uint64_t tsc_khz) const { return cycles{ns_ * tsc_khz / 1'000'000}; }

  /// The timer has expired for this deadline, perhaps before it.
  void expired(cycles deadline) { expired_ = deadline; }
  /// The deadline to wait for before the next entry, if there is one and the advance is not 0. An advance that has
  /// become 0 is never adjusted again.
  std::optional<cycles> awaited() const {
    return expired_ == cycles::never() || ns_ == 0 ? std::nullopt : std::optional<cycles>{expired_};
  }
  /// Ends the wait at `now`: adjusts the advance to how early or late it is and answers how long to spin still, never
  /// longer than the advance (__wait_lapic_expire, adjust_lapic_timer_advance).
  cycles settle(cycles now, std::uint64_t tsc_khz);
  /// Part of `settle`: `delta` is the time of the entry minus the deadline.
  virtual void adjust(std::int64_t delta, std::uint64_t tsc_khz) = 0;

 protected:
  /// An option's time, which may be in cycles, as an advance.
  static std::uint32_t nanoseconds_of(duration d, std::uint64_t tsc_khz) {
    return static_cast<std::uint32_t>(d.to_nanoseconds(tsc_khz));
  }

  std::uint32_t ns_;

 private:
  cycles expired_ = cycles::never();
};

struct timer_advance_entry : entry {
  /// For one vCPU of a host whose TSC has this frequency. Null: timers expire at their deadlines.
  std::unique_ptr<timer_advance> (*make)(const void* options, std::uint64_t tsc_khz);
};

/// The built-in ways; the first is the default.
catalogue<timer_advance_entry> timer_advances();

}  // namespace vmxsys::models
