#pragma once
#include <memory>

#include <vmxsys/apic/local/local_apic.hpp>
#include <vmxsys/vmx/base/catalogue.hpp>

#include "apic_driver.hpp"

namespace vmxsys::models {

struct apic_driver_entry : entry {
  std::unique_ptr<apic_driver> (*make)(const void* options, unsigned cpus);
  apic::apic_mode mode;  ///< in which it must find the APICs when their CPUs start
  unsigned most_cpus;    ///< that it can address
};

/// How a kernel may drive its local APICs.
catalogue<apic_driver_entry> apic_drivers();

}  // namespace vmxsys::models
