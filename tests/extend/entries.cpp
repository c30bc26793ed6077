#include <vmxsys/platform/machine/shared_object.hpp>

// What this folder adds: the files beside this one define an entry each. As a shared object it is loaded by
//   vmxsys run FILE --with libvmxsys_extend.so
namespace extend {

extern const vmxsys::vmx::spin_detector_entry pause_budget_entry;
extern const vmxsys::models::scheduler_entry tick_robin_entry;
extern const vmxsys::models::spin_policy_entry next_siblings_entry;
extern const vmxsys::models::halt_policy_entry poll_first_entry;
extern const vmxsys::models::timer_backend_entry late_timer_entry;
extern const vmxsys::models::timer_advance_entry stepwise_entry;
extern const vmxsys::models::interrupt_path_entry slow_injection_entry;
extern const vmxsys::models::apic_driver_entry in_batches_entry;
extern const vmxsys::models::idle_driver_entry poll_idle_entry;
extern const vmxsys::models::lock_entry backoff_entry;
extern const vmxsys::models::workload_entry counting_entry;
extern const vmxsys::models::vcpu_affinity_entry strided_entry;
extern const vmxsys::models::pv_service_entry host_time_entry;
extern const vmxsys::platform::preset_entry slow_pause_entry;
extern const vmxsys::platform::collector_entry cpu_stays_entry;
extern const vmxsys::platform::trace_format_entry exit_csv_entry;

}  // namespace extend

VMXSYS_ENTRIES(names) {
  names.spin_detectors.add(extend::pause_budget_entry);
  names.schedulers.add(extend::tick_robin_entry);
  names.spin_policies.add(extend::next_siblings_entry);
  names.halt_policies.add(extend::poll_first_entry);
  names.timer_backends.add(extend::late_timer_entry);
  names.timer_advances.add(extend::stepwise_entry);
  names.interrupt_paths.add(extend::slow_injection_entry);
  names.apic_drivers.add(extend::in_batches_entry);
  names.idle_drivers.add(extend::poll_idle_entry);
  names.locks.add(extend::backoff_entry);
  names.workloads.add(extend::counting_entry);
  names.vcpu_affinities.add(extend::strided_entry);
  names.pv_services.add(extend::host_time_entry);
  names.presets.add(extend::slow_pause_entry);
  names.collectors.add(extend::cpu_stays_entry);
  names.trace_formats.add(extend::exit_csv_entry);
}
