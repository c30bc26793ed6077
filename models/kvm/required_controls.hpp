#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

namespace vmxsys::models {

/// A VMX control that a way of running guests cannot do without.
struct required_control {
  vmx::control_word word;
  std::uint64_t bit;  ///< a mask with one bit
};

/// The first of `needed` that the processor lacks; nullptr if it has them all.
const vmx::control_info* first_missing(std::span<const required_control> needed, const vmx::capabilities& caps);

}  // namespace vmxsys::models
