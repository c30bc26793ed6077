#include "config.hpp"

#include <boost/json.hpp>

#include <vmxsys/models/kvm/interrupts/interrupt_path.hpp>
#include <vmxsys/models/kvm/spin/spin_policy.hpp>
#include <vmxsys/models/kvm/timers/timer_backend.hpp>
#include <vmxsys/platform/config/json_text.hpp>

namespace vmxsys::platform {

std::vector<choice> preset_choices() {
  std::vector<choice> all;
  for (const preset& p : presets()) all.push_back({p.name, p.description});
  return all;
}

std::vector<choice> spin_policy_choices() {
  std::vector<choice> all;
  for (const models::spin_policy_entry& p : models::spin_policies())
    all.push_back(
        {p.name, std::string{p.description} + (*p.kernel == '\0' ? "" : std::string{" (Linux "} + p.kernel + ")")});
  return all;
}

std::vector<choice> interrupt_path_choices() {
  std::vector<choice> all;
  for (const models::interrupt_path_entry& p : models::interrupt_paths()) all.push_back({p.name, p.description});
  return all;
}

std::vector<choice> timer_backend_choices() {
  std::vector<choice> all;
  for (const models::timer_backend_entry& t : models::timer_backends()) all.push_back({t.name, t.description});
  return all;
}

namespace {

constexpr named timer_advances[] = {
    {"off", "at their deadline"},
    {"fixed", "by `lead`; the entry then waits for the deadline"},
    {"adaptive", "by 1 us at first, adjusted to how early or late the entry was (Linux v5.3 and later)"}};

constexpr named placements[] = {
    {"free", "the host scheduler places vCPU threads anywhere"},
    {"spread", "vCPU i of every VM is bound to CPU i: no siblings share a run queue while there are CPUs for them"},
    {"stacked", "vCPUs 2k and 2k+1 of a VM are bound to one CPU, the VMs one after the other"}};

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
      value(
          row<&m::preset>("preset", preset_choices, "microarchitecture: capabilities, costs, distances, idle states")),
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
  using t = timer_advance_config;
  return record<h>({
      value(row<&h::hz>("hz", "Hz", 10, 10000, "frequency of the scheduler tick")),
      chosen<&h::scheduler>("scheduler", "CPU scheduler of the host", from.schedulers),
      value(row<&h::spin_policy>("spin_policy", spin_policy_choices, "what the hypervisor does about a spinning vCPU")),
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
      value(row<&h::interrupt_path>("interrupt_path", interrupt_path_choices, "how interrupts get into a guest")),
      value(row<&h::exit_fast_paths>(
          "exit_fast_paths",
          "IPIs, deadlines and timer exits go back into the guest with interrupts off, as in Linux v6.12; only with an "
          "interrupt path that posts")),
      value(row<&h::timer_backend>("timer_backend", timer_backend_choices,
                                   "what waits for the deadlines of guests' local APIC timers")),
      section<&h::timer_advance>(
          "timer_advance", "how early the hypervisor lets guests' timers expire",
          record<t>({value(row<&t::name>("name", names<timer_advances>, "how early timers of guests expire")),
                     value(row<&t::lead>("lead", duration::ns(1), duration::s(10),
                                         "time by which every timer expires early (lapic_timer_advance_ns); "
                                         "timer_advance \"fixed\" only"))},
                    "name")),
      value(row<&h::housekeeping_cpu>("housekeeping_cpu", "CPU", 0, 1023,
                                      "CPU of the host on which timer_backend \"posted\" has its timers")),
      chosen<&h::apic>("apic", "how the host's kernel drives its local APICs", from.apic_drivers),
      chosen<&h::idle>("idle", "what a CPU of the host does with nothing to run", from.idle_drivers),
      value(row<&h::ipi_shorthands>("ipi_shorthands", shorthands)),
      value(row<&h::placement>("placement", names<placements>, "where vCPU threads may run")),
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
      chosen<&v::workload>("workload", "what its threads do", from.workloads),
  });
}

}  // namespace

record_type run_config_record(const catalogues& from) {
  using r = run_config;
  constexpr duration hour = duration::s(3600);
  return record<r>({
      value(row<&r::seed>("seed", "number", "seed of every random stream; the same seed gives the same run")),
      value(row<&r::until>("until", duration::from_picoseconds(1), hour, "end of the run")),
      value(row<&r::measure_from>("measure_from", duration{}, hour, "statistics leave out what was before (warm-up)")),
      section<&r::machine>("machine", "the hardware", machine_record(from)),
      section<&r::host>("host", "the host kernel and its hypervisor", host_record(from)),
      sections<&r::vms>("vms", "the virtual machines", 64, vm_record(from)),
      value(row<&r::bare_metal>("bare_metal",
                                "the kernel of the only VM runs on the machine itself, without host and hypervisor")),
  });
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

std::uint64_t tsc_khz_of(const run_config& config) {
  const preset* hardware = find_preset(config.machine.preset);
  constexpr std::uint64_t unknown = 2500000;
  return hardware == nullptr ? unknown : hardware->tsc_khz;
}

}  // namespace vmxsys::platform
