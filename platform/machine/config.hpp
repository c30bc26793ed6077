#pragma once
// A run as one document: structs whose initialisers are the defaults. Units, ranges and descriptions stand in the
// tables of config.cpp; `vmxsys list parameters` prints them. How to add a parameter: platform/README.md.
#include <cstdint>
#include <string>
#include <vector>

#include <vmxsys/models/kvm/spin/ple_window.hpp>
#include <vmxsys/platform/config/record.hpp>
#include <vmxsys/platform/presets/cost_overrides.hpp>
#include <vmxsys/platform/presets/preset.hpp>

#include "catalogues.hpp"

namespace vmxsys::platform {

/// A spin detector that watches without acting: it is scored against the truth.
struct observer_config {
  component<vmx::spin_detector_entry> detector;
  std::uint32_t gap = vmx::default_ple_gap;        ///< what it is told as PLE_Gap, TSC cycles
  std::uint32_t window = vmx::default_ple_window;  ///< and as PLE_Window
};

/// The hardware. Logical CPUs: sockets * cores * threads.
struct machine_config {
  std::string preset = presets().first().name;  ///< an entry's, or a file: make_preset
  std::vector<cost_override> costs;             ///< single costs that replace the preset's
  std::uint32_t sockets = 1;
  std::uint32_t cores = 4;
  std::uint32_t threads = 1;
  std::uint32_t core_clock_percent = 0;  ///< of the TSC's; 0: the preset's
  byte_size memory = byte_size::gib(16);
  component<vmx::spin_detector_entry> detector;
  std::vector<observer_config> observers;
  bool stepped = false;
};

/// The host kernel and its hypervisor.
struct host_config {
  std::uint32_t hz = 250;
  component<models::scheduler_entry> scheduler;
  component<models::spin_policy_entry> spin_policy;
  component<models::halt_policy_entry> halt_policy;
  std::uint32_t ple_gap = vmx::default_ple_gap;
  std::uint32_t ple_window = models::ple_window_parameters{}.window;
  std::uint32_t ple_window_grow = models::ple_window_parameters{}.grow;
  std::uint32_t ple_window_shrink = models::ple_window_parameters{}.shrink;
  std::uint32_t ple_window_max = models::ple_window_parameters{}.max;
  component<models::interrupt_path_entry> interrupt_path;
  component<models::timer_backend_entry> timer_backend;
  component<models::timer_advance_entry> timer_advance;
  component<models::apic_driver_entry> apic;
  component<models::idle_driver_entry> idle;
  bool ipi_shorthands = false;
  component<models::vcpu_affinity_entry> vcpu_affinity;
  bool tracing = false;
};

/// The kernel inside a virtual machine.
struct guest_config {
  std::uint32_t hz = 250;
  component<models::scheduler_entry> scheduler;
  component<models::lock_entry> lock;
  component<models::apic_driver_entry> apic;
  component<models::idle_driver_entry> idle;
  bool ipi_shorthands = false;
};

/// One paravirtual service of a VM.
struct pv_service_config {
  component<models::pv_service_entry> service;
};

/// One virtual machine.
struct vm_config {
  std::string name = "vm";
  std::uint32_t vcpus = 1;
  byte_size memory = byte_size::gib(1);
  guest_config guest;
  std::vector<pv_service_config> pv;
  component<models::workload_entry> workload;
};

/// The whole document (without `include`, which the loader resolves).
struct run_config {
  std::uint64_t seed = 1;
  duration until = duration::ms(100);
  duration measure_from;
  machine_config machine;
  host_config host;
  std::vector<vm_config> vms;
  bool bare_metal = false;
  std::vector<component<collector_entry>> collectors = platform::collectors().components();
  std::vector<component<trace_format_entry>> traces;  ///< options of formats; one that is not here has its defaults
};

/// Logical CPUs of a machine.
constexpr std::uint64_t logical_cpus(const machine_config& m) noexcept {
  return std::uint64_t{m.sockets} * m.cores * m.threads;
}

/// The document type, with the names of these catalogues.
record_type run_config_record(const catalogues& from);
/// The same with what the library ships.
const record_type& run_config_type();

/// Every value, as JSON text that load_config() reads back as the same configuration ("effective.json").
std::string to_json_text(const run_config& config, const catalogues& from = catalogues::shipped());

/// The preset that a configuration asks for, with its core clock and costs. std::invalid_argument with all faults.
preset preset_of(const run_config& config, const catalogues& from = catalogues::shipped());
/// The TSC frequency of a configuration's machine, in kHz; 2.5 GHz where the preset is none.
std::uint64_t tsc_khz_of(const run_config& config, const catalogues& from = catalogues::shipped());

}  // namespace vmxsys::platform
