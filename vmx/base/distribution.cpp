#include "distribution.hpp"

namespace vmxsys {

namespace {
constexpr const char* names[] = {"fixed", "uniform", "exponential"};
}

const char* to_string(distribution::shape shape) noexcept { return names[static_cast<std::size_t>(shape)]; }

std::optional<distribution::shape> distribution_shape_named(std::string_view name) noexcept {
  for (std::size_t i = 0; i < 3; ++i)
    if (name == names[i]) return static_cast<distribution::shape>(i);
  return std::nullopt;
}

std::optional<distribution_fault> fault_of(const distribution& d, std::uint64_t tsc_khz) {
  using shape = distribution::shape;
  using fault = distribution_fault;
  const auto at = [&](duration x) { return x.to_cycles(tsc_khz); };
  const std::string kind = std::string{"kind \""} + to_string(d.kind) + "\" ";
  if (d.kind != shape::uniform && !d.mean) return fault{"", kind + "needs `mean`"};
  if (d.kind == shape::fixed && (d.min || d.max)) return fault{"", kind + "takes `mean` alone"};
  if (d.kind == shape::uniform) {
    if (!d.min || !d.max) return fault{"", kind + "needs `min` and `max`"};
    if (d.mean) return fault{"", kind + "takes `min` and `max`, not `mean`"};
  }
  if (d.min && d.max && at(*d.max) < at(*d.min))
    return fault{"min", d.min->to_string() + " is greater than max (" + d.max->to_string() + ")"};
  if (d.kind == shape::exponential && d.max && at(*d.max) < at(*d.mean))
    return fault{"max", d.max->to_string() + " is smaller than mean (" + d.mean->to_string() + ")"};
  if (d.kind == shape::exponential && d.min && at(*d.mean) < at(*d.min))
    return fault{"min", d.min->to_string() + " is greater than mean (" + d.mean->to_string() + ")"};
  return std::nullopt;
}

}  // namespace vmxsys
