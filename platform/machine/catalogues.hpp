#pragma once
#include <memory>
#include <vector>

#include <vmxsys/models/kernel/apic_drivers/catalogue.hpp>
#include <vmxsys/models/kernel/idle/catalogue.hpp>
#include <vmxsys/models/kernel/locks/catalogue.hpp>
#include <vmxsys/models/kvm/affinity/vcpu_affinity.hpp>
#include <vmxsys/models/kvm/halt/halt_policy.hpp>
#include <vmxsys/models/kvm/interrupts/interrupt_path.hpp>
#include <vmxsys/models/kvm/pv/pv_service.hpp>
#include <vmxsys/models/kvm/spin/spin_policy.hpp>
#include <vmxsys/models/kvm/timers/timer_advance.hpp>
#include <vmxsys/models/kvm/timers/timer_backend.hpp>
#include <vmxsys/models/schedulers/catalogue.hpp>
#include <vmxsys/models/workloads/catalogue.hpp>
#include <vmxsys/platform/observe/collectors/collector.hpp>
#include <vmxsys/platform/observe/trace/trace_sink.hpp>
#include <vmxsys/platform/presets/catalogue.hpp>
#include <vmxsys/vmx/spin_detectors/catalogue.hpp>

namespace vmxsys::platform {

/// Everything that a configuration may choose by name. A program that adds entries of its own does so to a copy, and
/// hands it to load_config() and execute().
struct catalogues {
  catalogue<preset_entry> presets = platform::presets();
  catalogue<vmx::spin_detector_entry> spin_detectors = vmx::spin_detectors();
  catalogue<models::scheduler_entry> schedulers = models::schedulers();
  catalogue<models::lock_entry> locks = models::spinlocks();
  catalogue<models::apic_driver_entry> apic_drivers = models::apic_drivers();
  catalogue<models::idle_driver_entry> idle_drivers = models::idle_drivers();
  catalogue<models::spin_policy_entry> spin_policies = models::spin_policies();
  catalogue<models::halt_policy_entry> halt_policies = models::halt_policies();
  catalogue<models::interrupt_path_entry> interrupt_paths = models::interrupt_paths();
  catalogue<models::timer_backend_entry> timer_backends = models::timer_backends();
  catalogue<models::timer_advance_entry> timer_advances = models::timer_advances();
  catalogue<models::vcpu_affinity_entry> vcpu_affinities = models::vcpu_affinities();
  catalogue<models::pv_service_entry> pv_services = models::pv_services();
  catalogue<models::workload_entry> workloads = models::workloads();
  catalogue<collector_entry> collectors = platform::collectors();
  catalogue<trace_format_entry> trace_formats = platform::trace_formats();

  /// Shared objects that entries come from.
  std::vector<std::shared_ptr<void>> loaded;

  /// What the library ships.
  static const catalogues& shipped();
};

}  // namespace vmxsys::platform
