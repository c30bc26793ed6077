#include "ple_window.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace vmxsys::models {
namespace {

// 32-bit signed arithmetic of the early kernels, done in 64 bits and cut back.
std::int32_t as_int(std::int64_t value) { return static_cast<std::int32_t>(value); }

std::int32_t shrunk_signed(const ple_window_parameters& p, std::int32_t value, std::int32_t step, std::int32_t floor) {
  const std::int32_t base = as_int(p.window);
  if (step < 1) return base;
  const std::int32_t less = step < base ? value / step : as_int(std::int64_t{value} - step);
  return std::max(less, floor);
}

// The largest value that can still take a step without passing the maximum.
std::int32_t last_growable(const ple_window_parameters& p) {
  return shrunk_signed(p, std::max(as_int(p.max), as_int(p.window)), as_int(p.grow),
                       std::numeric_limits<std::int32_t>::min());
}

std::int32_t grown_signed(const ple_window_parameters& p, std::int32_t value) {
  const std::int32_t step = as_int(p.grow);
  if (step < 1) return as_int(p.window);
  const std::int64_t from = std::min(value, last_growable(p));
  return as_int(step < as_int(p.window) ? from * step : from + step);
}

std::uint32_t grown_unsigned(const ple_window_parameters& p, std::uint32_t value) {
  if (p.grow < 1) return p.window;
  const std::uint64_t more = p.grow < p.window ? std::uint64_t{value} * p.grow : std::uint64_t{value} + p.grow;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(more, p.max));
}

std::uint32_t shrunk_unsigned(const ple_window_parameters& p, std::uint32_t value) {
  if (p.shrink < 1) return p.window;
  const std::uint32_t less = p.shrink < p.window ? value / p.shrink : value - p.shrink;
  return std::max(less, p.window);
}

std::uint32_t stored(ple_window_era era, std::uint32_t value) {
  return era == ple_window_era::svm ? value & 0xffff : value;
}

}  // namespace

ple_window_parameters ple_window_parameters::defaults(ple_window_era era) noexcept {
  ple_window_parameters p;
  if (era == ple_window_era::vmx_signed) p.max = std::numeric_limits<std::int32_t>::max() / 2;
  if (era == ple_window_era::svm) p = {3000, 2, 0, 65535};
  return p;
}

std::uint32_t grown_ple_window(ple_window_era era, const ple_window_parameters& parameters,
                               std::uint32_t value) noexcept {
  if (era == ple_window_era::vmx_fixed) return value;
  if (era == ple_window_era::vmx_signed) return static_cast<std::uint32_t>(grown_signed(parameters, as_int(value)));
  return stored(era, grown_unsigned(parameters, value));
}

std::uint32_t shrunk_ple_window(ple_window_era era, const ple_window_parameters& parameters,
                                std::uint32_t value) noexcept {
  if (era == ple_window_era::vmx_fixed) return value;
  if (era == ple_window_era::vmx_signed)
    return static_cast<std::uint32_t>(
        shrunk_signed(parameters, as_int(value), as_int(parameters.shrink), as_int(parameters.window)));
  return stored(era, shrunk_unsigned(parameters, value));
}

ple_window::ple_window(ple_window_era era, const ple_window_parameters& parameters) noexcept
    : era_(era), parameters_(parameters), value_(stored(era, parameters.window)) {}

ple_window_change ple_window::set(std::uint32_t value, bool grew) noexcept {
  const ple_window_change change{std::exchange(value_, value), value, grew};
  dirty_ = dirty_ || change.changed();
  return change;
}

ple_window_change ple_window::on_pause_exit() noexcept {
  return set(grown_ple_window(era_, parameters_, value_), true);
}

ple_window_change ple_window::on_sched_in() noexcept {
  return set(shrunk_ple_window(era_, parameters_, value_), false);
}

bool ple_window::take_dirty() noexcept { return std::exchange(dirty_, false); }

}  // namespace vmxsys::models
