#include "tsc.hpp"

#include <vmxsys/vmx/base/wide_arithmetic.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::vmx {

namespace {

constexpr std::uint64_t never = ~std::uint64_t{0};

bool offsets(const vmcs& v) { return (primary_controls(v) & primary::use_tsc_offsetting) != 0; }
bool scales(const vmcs& v) { return offsets(v) && (secondary_controls(v) & secondary::use_tsc_scaling) != 0; }

std::uint64_t unscale(std::uint64_t x, std::uint64_t multiplier, rounding round) {
  if (multiplier == 0) return x == 0 ? 0 : never;
  const detail::wide_quotient q = detail::unscale(x, multiplier);
  if (q.overflow) return never;
  return q.value + (round == rounding::up && q.remainder != 0 && q.value != never ? 1 : 0);
}

}  // namespace

std::uint64_t guest_tsc(const vmcs& v, std::uint64_t tsc) noexcept {
  if (!offsets(v)) return tsc;
  if (scales(v)) tsc = detail::scale(tsc, v.read(field::tsc_multiplier));
  return tsc + v.read(field::tsc_offset);
}

std::uint64_t host_tsc(const vmcs& v, std::uint64_t guest, rounding round) noexcept {
  if (!offsets(v)) return guest;
  const std::uint64_t scaled = guest - v.read(field::tsc_offset);
  return scales(v) ? unscale(scaled, v.read(field::tsc_multiplier), round) : scaled;
}

cycles real_duration(const vmcs& v, std::uint64_t guest_duration) noexcept {
  return cycles{scales(v) ? unscale(guest_duration, v.read(field::tsc_multiplier), rounding::down) : guest_duration};
}

}  // namespace vmxsys::vmx
