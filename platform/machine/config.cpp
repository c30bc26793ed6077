#include "config.hpp"

#include <boost/json.hpp>
#include <stdexcept>

#include <vmxsys/platform/config/json_text.hpp>

namespace vmxsys::platform {

namespace {

constexpr byte_size smallest_memory{1 << 20}, largest_memory{std::uint64_t{1} << 46};
constexpr const char* shorthands = "call all other CPUs by one ICR write with a shorthand, as Linux does since v5.4";

record_type observer_record(const catalogues& from) {
  using o = observer_config;
  return record<o>({inlined<&o::detector>("spin detector that watches every logical CPU", from.spin_detectors),
                    value(row<&o::gap>("gap", "cycles", "what it is told as PLE_Gap")),
                    value(row<&o::window>("window", "cycles", "what it is told as PLE_Window"))},
                   "name");
}

record_type machine_record(const catalogues& from) {
  using m = machine_config;
  return record<m>({
      value(row<&m::preset>("preset",
                            "microarchitecture: capabilities, costs, distances, idle states; a name of `vmxsys list "
                            "presets`, or a file of one's own (NAME.json)")),
      costs_field<&m::costs>("costs", "single costs that replace the preset's", from.presets),
      value(row<&m::sockets>("sockets", "sockets", 1, 16, "processor packages")),
      value(row<&m::cores>("cores", "cores per socket", 1, 256, "cores of each socket")),
      value(row<&m::threads>("threads", "threads per core", 1, 2, "hyper-threads of each core")),
      value(row<&m::core_clock_percent>("core_clock_percent", "percent", 0, 1000,
                                        "core clock in percent of the TSC's (turbo); 0 is the preset's")),
      value(row<&m::memory>("memory", smallest_memory, largest_memory, "memory of the machine")),
      chosen<&m::detector>("detector", "spin detector of every logical CPU", from.spin_detectors),
      sections<&m::observers>("observers", "spin detectors that watch without acting and are scored against the truth",
                              64, observer_record(from)),
      value(row<&m::stepped>("stepped", "execute every PAUSE and poll one by one: slow, gives the same facts")),
  });
}

record_type host_record(const catalogues& from) {
  using h = host_config;
  return record<h>({
      value(row<&h::hz>("hz", "Hz", 10, 10000, "frequency of the scheduler tick")),
      chosen<&h::scheduler>("scheduler", "CPU scheduler of the host", from.schedulers),
      chosen<&h::spin_policy>("spin_policy", "what the hypervisor does about a spinning vCPU", from.spin_policies),
      chosen<&h::halt_policy>("halt_policy", "what the hypervisor does about a vCPU that halts", from.halt_policies),
      value(row<&h::ple_gap>("ple_gap", "cycles",
                             "longest time between two PAUSEs of one loop; 0 turns PAUSE-loop exiting off, as in KVM")),
      value(row<&h::ple_window>("ple_window", "cycles", "longest time in one loop before it exits")),
      value(row<&h::ple_window_grow>(
          "ple_window_grow", "factor",
          "ple_window at a PAUSE-loop exit: below 1 reset, below ple_window multiplied, else added")),
      value(row<&h::ple_window_shrink>(
          "ple_window_shrink", "divisor",
          "ple_window when the vCPU is scheduled in: below 1 reset, below ple_window divided, else subtracted")),
      value(row<&h::ple_window_max>("ple_window_max", "cycles", "ple_window never grows beyond")),
      chosen<&h::interrupt_path>("interrupt_path", "how interrupts get into a guest", from.interrupt_paths),
      chosen<&h::timer_backend>("timer_backend", "what waits for the deadlines of guests' local APIC timers",
                                from.timer_backends),
      chosen<&h::timer_advance>("timer_advance", "how early timers of guests expire, as lapic_timer_advance_ns in KVM",
                                from.timer_advances),
      chosen<&h::apic>("apic", "how the host's kernel drives its local APICs", from.apic_drivers),
      chosen<&h::idle>("idle", "what a CPU of the host does with nothing to run", from.idle_drivers),
      value(row<&h::ipi_shorthands>("ipi_shorthands", shorthands)),
      chosen<&h::vcpu_affinity>("vcpu_affinity", "on which CPUs vCPU threads may run", from.vcpu_affinities),
      value(row<&h::tracing>(
          "tracing",
          "charge the host for its kvm_entry and kvm_exit tracepoints, as a machine traced with them would be")),
  });
}

record_type guest_record(const catalogues& from) {
  using g = guest_config;
  return record<g>({
      value(row<&g::hz>("hz", "Hz", 10, 10000, "frequency of the scheduler tick")),
      chosen<&g::scheduler>("scheduler", "CPU scheduler of the guest", from.schedulers),
      chosen<&g::lock>("lock", "kind of spinlock the guest kernel uses", from.locks),
      chosen<&g::apic>("apic", "how the guest's kernel drives its local APICs", from.apic_drivers),
      chosen<&g::idle>("idle", "what a CPU of the guest does with nothing to run", from.idle_drivers),
      value(row<&g::ipi_shorthands>("ipi_shorthands", shorthands)),
  });
}

record_type vm_record(const catalogues& from) {
  using v = vm_config;
  return record<v>({
      value(row<&v::name>("name", "name in tables and traces; each VM needs its own")),
      value(row<&v::vcpus>("vcpus", "vCPUs", 1, 1024, "virtual CPUs")),
      value(row<&v::memory>("memory", smallest_memory, largest_memory, "memory of the VM")),
      section<&v::guest>("guest", "the kernel inside", guest_record(from)),
      sections<&v::pv>(
          "pv", "paravirtual services that the hypervisor offers its guest", 16,
          record<pv_service_config>({inlined<&pv_service_config::service>("a service", from.pv_services)}, "name")),
      chosen<&v::workload>("workload", "what its threads do", from.workloads),
  });
}

}  // namespace

record_type run_config_record(const catalogues& from) {
  using r = run_config;
  constexpr duration hour = duration::s(3600);
  auto defaults = std::make_shared<r>();
  defaults->collectors = from.collectors.components();
  defaults->traces = from.trace_formats.components();
  std::vector<field> fields{
      value(row<&r::seed>("seed", "number", "seed of every random stream; the same seed gives the same run")),
      value(row<&r::until>("until", duration::from_picoseconds(1), hour, "end of the run")),
      value(row<&r::measure_from>("measure_from", duration{}, hour, "statistics leave out what was before (warm-up)")),
      section<&r::machine>("machine", "the hardware", machine_record(from)),
      section<&r::host>("host", "the host kernel and its hypervisor", host_record(from)),
      sections<&r::vms>("vms", "the virtual machines", 64, vm_record(from)),
      value(row<&r::bare_metal>("bare_metal",
                                "the kernel of the only VM runs on the machine itself, without host and hypervisor")),
      components<&r::collectors>("collectors", "what sums the run up in statistics", from.collectors),
      components<&r::traces>("traces", "options of the trace formats of run --trace NAME=FILE", from.trace_formats),
  };
  return {std::move(fields), std::move(defaults), ""};
}

const record_type& run_config_type() {
  static const record_type type = run_config_record(catalogues::shipped());
  return type;
}

const catalogues& catalogues::shipped() {
  static const catalogues all;
  return all;
}

std::string to_json_text(const run_config& config, const catalogues& from) {
  boost::json::value value;
  run_config_record(from).write(&config, value);
  return pretty_json(value);
}

preset preset_of(const run_config& config, const catalogues& from) {
  return make_preset({config.machine.preset, config.machine.core_clock_percent, config.machine.costs}, from.presets);
}

std::uint64_t tsc_khz_of(const run_config& config, const catalogues& from) {
  if (const auto named = find_preset(config.machine.preset, from.presets)) return named->tsc_khz;
  constexpr std::uint64_t unknown = 2500000;
  try {
    return make_preset({config.machine.preset}, from.presets).tsc_khz;
  } catch (const std::invalid_argument&) {
    return unknown;
  }
}

}  // namespace vmxsys::platform
