#pragma once
#include <cstdint>

namespace vmxsys::models {

/// A vCPU of a hypervisor by the numbers of its VM and of itself in that VM, both from 0; as facts name it.
struct vcpu_id {
  std::uint16_t vm;
  std::uint16_t vcpu;
  friend bool operator==(const vcpu_id&, const vcpu_id&) = default;
};

}  // namespace vmxsys::models
