#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "capability.hpp"
#include "control.hpp"

namespace vmxsys::vmx {

/// A VMX control that a way of running guests cannot do without.
struct required_control {
  control_word word;
  std::uint64_t bit;  ///< a mask with one bit
};

/// A view of a constant array of them.
class required_controls {
 public:
  constexpr required_controls() noexcept = default;
  template <std::size_t N>
  constexpr required_controls(const std::array<required_control, N>& all) noexcept : first_{all.data()}, count_{N} {}

  constexpr const required_control* begin() const noexcept { return first_; }
  constexpr const required_control* end() const noexcept { return first_ + count_; }

 private:
  const required_control* first_ = nullptr;
  std::size_t count_ = 0;
};

/// The first of `needed` that the processor lacks; nullptr if it has them all.
const control_info* first_missing(required_controls needed, const capabilities& caps) noexcept;

}  // namespace vmxsys::vmx
