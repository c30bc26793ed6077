#pragma once
#include <memory>
#include <vector>

#include <vmxsys/models/kernel/apic_drivers/catalogue.hpp>
#include <vmxsys/models/kernel/idle/catalogue.hpp>
#include <vmxsys/models/kernel/locks/catalogue.hpp>
#include <vmxsys/models/schedulers/catalogue.hpp>
#include <vmxsys/models/workloads/catalogue.hpp>
#include <vmxsys/vmx/spin_detectors/catalogue.hpp>

namespace vmxsys::platform {

/// Everything that a configuration may choose by name. A program that adds entries of its own does so to a copy, and
/// hands it to load_config() and execute().
struct catalogues {
  catalogue<vmx::spin_detector_entry> spin_detectors = vmx::spin_detectors();
  catalogue<models::scheduler_entry> schedulers = models::schedulers();
  catalogue<models::lock_entry> locks = models::spinlocks();
  catalogue<models::apic_driver_entry> apic_drivers = models::apic_drivers();
  catalogue<models::idle_driver_entry> idle_drivers = models::idle_drivers();
  catalogue<models::workload_entry> workloads = models::workloads();

  /// Shared objects that entries come from.
  std::vector<std::shared_ptr<void>> loaded;

  /// What the library ships.
  static const catalogues& shipped();
};

}  // namespace vmxsys::platform
