#pragma once
#include <cstdint>
#include <memory>

#include <vmxsys/vmx/base/catalogue.hpp>

#include "idle_driver.hpp"

namespace vmxsys::models {

/// The kernel an idle driver is for.
struct idle_environment {
  unsigned cpus;
  std::uint64_t tsc_khz;
};

struct idle_driver_entry : entry {
  std::unique_ptr<idle_driver> (*make)(const void* options, const idle_environment&);
};

/// How a kernel's CPUs may idle.
catalogue<idle_driver_entry> idle_drivers();

}  // namespace vmxsys::models
