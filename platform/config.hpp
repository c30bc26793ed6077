#pragma once
// A run as one document of typed, described structs. A member's name is its JSON key and its name in `-p`; its default
// is its initialiser; unit, range and description stand in the table below each struct, and a member without an entry
// does not compile. How to add a parameter: platform/README.md.
#include <boost/describe.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vmxsys/models/hypervisor/ple_window.hpp>
#include <vmxsys/models/hypervisor/spin_policy.hpp>
#include <vmxsys/platform/json_binding.hpp>
#include <vmxsys/platform/parameter.hpp>
#include <vmxsys/platform/units.hpp>

namespace vmxsys::platform {

// Limits of durations, in picoseconds.
inline constexpr std::uint64_t one_hour = 3600000000000000;
inline constexpr std::uint64_t ten_seconds = 10000000000000;

// The names a parameter may take, with descriptions; `vmxsys list` prints them.
std::vector<choice> preset_choices();
std::vector<choice> detector_choices();
std::vector<choice> observer_choices();
std::vector<choice> gap_measure_choices();
std::vector<choice> scheduler_choices();
std::vector<choice> scheduler_profile_choices();
std::vector<choice> spin_policy_choices();
std::vector<choice> interrupt_path_choices();
std::vector<choice> timer_backend_choices();
std::vector<choice> timer_advance_choices();
std::vector<choice> apic_choices();
std::vector<choice> placement_choices();
std::vector<choice> lock_choices();
std::vector<choice> user_lock_choices();
std::vector<choice> workload_choices();
std::vector<choice> ipi_send_choices();
std::vector<choice> distribution_choices();

/// A random length of time: fixed needs `mean`, uniform needs `min` and `max`, exponential needs `mean` and may be cut
/// off by `min` and `max`. A bare duration is a fixed one.
struct distribution {
  std::string kind = "fixed";
  std::optional<duration> mean, min, max;
  static distribution fixed(duration d) { return {"fixed", d, {}, {}}; }
  static distribution exponential(duration d) { return {"exponential", d, {}, {}}; }
};
BOOST_DESCRIBE_STRUCT(distribution, (), (kind, mean, min, max))
template <>
inline constexpr std::string_view shorthand_of<distribution> = "mean";
template <>
inline constexpr std::string_view selector_of<distribution> = "kind";
template <>
inline constexpr auto parameters_of<distribution> = std::array{
    parameter{
        .name = "kind", .unit = "name", .description = "shape of the distribution", .choices = distribution_choices},
    parameter{
        .name = "mean", .unit = "duration", .description = "mean (fixed: the value)", .lowest = 1, .highest = one_hour},
    parameter{.name = "min", .unit = "duration", .description = "smallest value", .highest = one_hour},
    parameter{.name = "max", .unit = "duration", .description = "largest value", .lowest = 1, .highest = one_hour},
};

/// Which spin detector the logical CPUs have.
struct detector_config {
  std::string name = "pause_loop_exiting";
  std::string gap_measure = "issue_to_issue";
};
BOOST_DESCRIBE_STRUCT(detector_config, (), (name, gap_measure))
template <>
inline constexpr std::string_view shorthand_of<detector_config> = "name";
template <>
inline constexpr auto parameters_of<detector_config> = std::array{
    parameter{.name = "name",
              .unit = "name",
              .description = "spin detector of every logical CPU",
              .choices = detector_choices},
    parameter{.name = "gap_measure",
              .unit = "name",
              .description = "between which points of two PAUSEs the gap is measured; not documented for hardware",
              .choices = gap_measure_choices,
              .only_for = "pause_loop_exiting"},
};

/// A spin detector that watches without acting: it is scored against the truth.
struct observer_config {
  std::string name = "pause_loop_exiting";
  std::uint32_t gap = vmx::default_ple_gap;
  std::uint32_t window = vmx::default_ple_window;
};
BOOST_DESCRIBE_STRUCT(observer_config, (), (name, gap, window))
template <>
inline constexpr std::string_view shorthand_of<observer_config> = "name";
template <>
inline constexpr auto parameters_of<observer_config> = std::array{
    parameter{.name = "name",
              .unit = "name",
              .description = "spin detector that watches every logical CPU",
              .choices = observer_choices},
    parameter{.name = "gap", .unit = "cycles", .description = "what it is told as PLE_Gap"},
    parameter{.name = "window", .unit = "cycles", .description = "what it is told as PLE_Window"},
};

/// The hardware. Logical CPUs: sockets * cores * threads.
struct machine_config {
  std::string preset = "haswell_ep";
  std::uint32_t sockets = 1;
  std::uint32_t cores = 4;
  std::uint32_t threads = 1;
  std::uint32_t core_clock_percent = 0;
  byte_size memory = byte_size::gib(16);
  detector_config detector;
  std::vector<observer_config> observers;
  bool stepped = false;
};
BOOST_DESCRIBE_STRUCT(machine_config, (),
                      (preset, sockets, cores, threads, core_clock_percent, memory, detector, observers, stepped))
template <>
inline constexpr auto parameters_of<machine_config> = std::array{
    parameter{.name = "preset",
              .unit = "name",
              .description = "microarchitecture: capabilities, costs, distances, idle states",
              .choices = preset_choices},
    parameter{.name = "sockets", .unit = "sockets", .description = "processor packages", .lowest = 1, .highest = 16},
    parameter{.name = "cores",
              .unit = "cores per socket",
              .description = "cores of each socket",
              .lowest = 1,
              .highest = 256},
    parameter{.name = "threads",
              .unit = "threads per core",
              .description = "hyper-threads of each core",
              .lowest = 1,
              .highest = 2},
    parameter{.name = "core_clock_percent",
              .unit = "percent",
              .description = "core clock in percent of the TSC's (turbo); 0 is the preset's",
              .highest = 1000},
    parameter{.name = "memory",
              .unit = "size",
              .description = "memory of the machine",
              .lowest = 1 << 20,
              .highest = std::uint64_t{1} << 46},
    parameter{.name = "detector", .unit = "object", .description = "spin detector of the logical CPUs"},
    parameter{.name = "observers",
              .unit = "list",
              .description = "spin detectors that watch without acting and are scored against the truth",
              .highest = 64},
    parameter{.name = "stepped",
              .unit = "flag",
              .description = "execute every PAUSE and poll one by one: slow, gives the same facts"},
};

/// A kernel's CPU scheduler. Constants left out are those of the profile, scaled by the number of CPUs as Linux does.
struct scheduler_config {
  std::string name = "cfs";
  std::string profile = "v6.1";
  duration quantum = duration::ms(10);
  std::optional<duration> latency, min_granularity, wakeup_granularity;
};
BOOST_DESCRIBE_STRUCT(scheduler_config, (), (name, profile, quantum, latency, min_granularity, wakeup_granularity))
template <>
inline constexpr std::string_view shorthand_of<scheduler_config> = "name";
template <>
inline constexpr auto parameters_of<scheduler_config> = std::array{
    parameter{.name = "name", .unit = "name", .description = "scheduling policy", .choices = scheduler_choices},
    parameter{.name = "profile",
              .unit = "name",
              .description = "Linux version whose rules apply",
              .choices = scheduler_profile_choices,
              .only_for = "cfs"},
    parameter{.name = "quantum",
              .unit = "duration",
              .description = "time slice",
              .lowest = 1000000,
              .highest = ten_seconds,
              .only_for = "round_robin"},
    parameter{.name = "latency",
              .unit = "duration",
              .description = "sched_latency: period in which every runnable thread runs once",
              .lowest = 1000000,
              .highest = ten_seconds,
              .only_for = "cfs"},
    parameter{.name = "min_granularity",
              .unit = "duration",
              .description = "sched_min_granularity: shortest slice",
              .lowest = 1000000,
              .highest = ten_seconds,
              .only_for = "cfs"},
    parameter{.name = "wakeup_granularity",
              .unit = "duration",
              .description = "sched_wakeup_granularity: lead a woken thread or a buddy needs; 0 lets any lead preempt",
              .highest = ten_seconds,
              .only_for = "cfs"},
};

/// What the hypervisor does about a vCPU that was seen spinning.
struct spin_policy_config {
  std::string name = models::default_spin_policy;
};
BOOST_DESCRIBE_STRUCT(spin_policy_config, (), (name))
template <>
inline constexpr std::string_view shorthand_of<spin_policy_config> = "name";
template <>
inline constexpr auto parameters_of<spin_policy_config> = std::array{
    parameter{
        .name = "name", .unit = "name", .description = "handling of a PAUSE-loop exit", .choices = spin_policy_choices},
};

/// How early the hypervisor lets timers of guests expire, in TSC-deadline mode.
struct timer_advance_config {
  std::string name = "off";
  duration lead = duration::us(1);
};
BOOST_DESCRIBE_STRUCT(timer_advance_config, (), (name, lead))
template <>
inline constexpr std::string_view shorthand_of<timer_advance_config> = "name";
template <>
inline constexpr auto parameters_of<timer_advance_config> = std::array{
    parameter{.name = "name",
              .unit = "name",
              .description = "how early timers of guests are let expire",
              .choices = timer_advance_choices},
    parameter{.name = "lead",
              .unit = "duration",
              .description = "time by which every timer expires early, as lapic_timer_advance_ns in KVM",
              .lowest = 1000,
              .highest = ten_seconds,
              .only_for = "fixed"},
};

/// The host kernel and its hypervisor.
struct host_config {
  std::uint32_t hz = 250;
  scheduler_config scheduler;
  spin_policy_config spin_policy;
  std::uint32_t ple_gap = vmx::default_ple_gap;
  std::uint32_t ple_window = models::ple_window_parameters{}.window;
  std::uint32_t ple_window_grow = models::ple_window_parameters{}.grow;
  std::uint32_t ple_window_shrink = models::ple_window_parameters{}.shrink;
  std::uint32_t ple_window_max = models::ple_window_parameters{}.max;
  std::string interrupt_path = "injected";
  bool exit_fast_paths = false;
  std::string timer_backend = "preemption_timer";
  timer_advance_config timer_advance;
  std::uint32_t housekeeping_cpu = 0;
  std::string apic = "x2apic_physical";
  bool ipi_shorthands = false;
  std::string placement = "free";
  bool tracing = false;
};
BOOST_DESCRIBE_STRUCT(host_config, (),
                      (hz, scheduler, spin_policy, ple_gap, ple_window, ple_window_grow, ple_window_shrink,
                       ple_window_max, interrupt_path, exit_fast_paths, timer_backend, timer_advance, housekeeping_cpu,
                       apic, ipi_shorthands, placement, tracing))
template <>
inline constexpr auto parameters_of<host_config> = std::array{
    parameter{
        .name = "hz", .unit = "Hz", .description = "frequency of the scheduler tick", .lowest = 10, .highest = 10000},
    parameter{.name = "scheduler", .unit = "object", .description = "CPU scheduler of the host"},
    parameter{.name = "spin_policy", .unit = "object", .description = "what the hypervisor does about a spinning vCPU"},
    parameter{.name = "ple_gap",
              .unit = "cycles",
              .description = "longest time between two PAUSEs of one loop; 0 turns PAUSE-loop exiting off, as in KVM"},
    parameter{.name = "ple_window", .unit = "cycles", .description = "longest time in one loop before it exits"},
    parameter{.name = "ple_window_grow",
              .unit = "factor",
              .description = "ple_window at a PAUSE-loop exit: below 1 reset, below ple_window multiplied, else added"},
    parameter{.name = "ple_window_shrink",
              .unit = "divisor",
              .description =
                  "ple_window when the vCPU is scheduled in: below 1 reset, below ple_window divided, else subtracted"},
    parameter{.name = "ple_window_max", .unit = "cycles", .description = "ple_window never grows beyond"},
    parameter{.name = "interrupt_path",
              .unit = "name",
              .description = "how interrupts get into a guest",
              .choices = interrupt_path_choices},
    parameter{.name = "exit_fast_paths",
              .unit = "flag",
              .description = "IPIs, deadlines and timer exits go back into the guest with interrupts off, as in Linux "
                             "v6.12; only with an interrupt path that posts"},
    parameter{.name = "timer_backend",
              .unit = "name",
              .description = "what waits for the deadlines of guests' local APIC timers",
              .choices = timer_backend_choices},
    parameter{.name = "timer_advance",
              .unit = "object",
              .description = "how early the hypervisor lets guests' timers expire"},
    parameter{.name = "housekeeping_cpu",
              .unit = "CPU",
              .description = "CPU of the host on which timer_backend \"posted\" has its timers",
              .highest = 1023},
    parameter{.name = "apic",
              .unit = "name",
              .description = "how the host's kernel drives its local APICs",
              .choices = apic_choices},
    parameter{.name = "ipi_shorthands",
              .unit = "flag",
              .description = "call all other CPUs by one ICR write with a shorthand, as Linux does since v5.4"},
    parameter{
        .name = "placement", .unit = "name", .description = "where vCPU threads may run", .choices = placement_choices},
    parameter{.name = "tracing",
              .unit = "flag",
              .description =
                  "charge the host for its kvm_entry and kvm_exit tracepoints, as a machine traced with them would be"},
};

/// The kernel inside a virtual machine.
struct guest_config {
  std::uint32_t hz = 250;
  scheduler_config scheduler;
  std::string lock = "queued";
  std::string apic = "x2apic_physical";
  bool ipi_shorthands = false;
};
BOOST_DESCRIBE_STRUCT(guest_config, (), (hz, scheduler, lock, apic, ipi_shorthands))
template <>
inline constexpr auto parameters_of<guest_config> = std::array{
    parameter{
        .name = "hz", .unit = "Hz", .description = "frequency of the scheduler tick", .lowest = 10, .highest = 10000},
    parameter{.name = "scheduler", .unit = "object", .description = "CPU scheduler of the guest"},
    parameter{.name = "lock",
              .unit = "name",
              .description = "kind of spinlock the guest kernel uses",
              .choices = lock_choices},
    parameter{.name = "apic",
              .unit = "name",
              .description = "how the guest's kernel drives its local APICs",
              .choices = apic_choices},
    parameter{.name = "ipi_shorthands",
              .unit = "flag",
              .description = "call all other CPUs by one ICR write with a shorthand, as Linux does since v5.4"},
};

/// What the threads of a virtual machine do.
struct workload_config {
  std::string name = "cpu_bound";
  std::uint32_t threads = 0;
  std::uint32_t locks = 1;
  distribution work = distribution::exponential(duration::us(10));
  distribution hold = distribution::fixed(duration::us(1));
  std::string lock = "test_and_set";
  distribution unmap = distribution::fixed(duration::ns(500));
  std::uint32_t user_share = 50;
  duration chunk = duration::ms(1);
  std::string send = "interrupt";
  std::uint32_t targets = 1;
  duration ahead = duration::us(10);
  bool halted = false;
};
BOOST_DESCRIBE_STRUCT(workload_config, (),
                      (name, threads, locks, work, hold, lock, unmap, user_share, chunk, send, targets, ahead, halted))
template <>
inline constexpr std::string_view shorthand_of<workload_config> = "name";
template <>
inline constexpr auto parameters_of<workload_config> = std::array{
    parameter{.name = "name", .unit = "name", .description = "what the threads do", .choices = workload_choices},
    parameter{.name = "threads",
              .unit = "threads",
              .description = "number of threads; 0 is one for each vCPU",
              .highest = 4096},
    parameter{
        .name = "locks",
        .unit = "locks",
        .description = "spinlocks the threads share, of the kernel or of the program; each round takes a random one",
        .lowest = 1,
        .highest = 4096,
        .only_for = "lock_bound, user_spin"},
    parameter{.name = "work",
              .unit = "duration",
              .description = "computing between two critical sections, two shootdowns, or two rounds",
              .only_for = "lock_bound, user_spin, tlb_shootdown, ipi, timer"},
    parameter{.name = "hold",
              .unit = "duration",
              .description = "length of a critical section",
              .only_for = "lock_bound, user_spin"},
    parameter{.name = "lock",
              .unit = "name",
              .description = "kind of spinlock the program uses",
              .choices = user_lock_choices,
              .only_for = "user_spin"},
    parameter{.name = "unmap",
              .unit = "duration",
              .description = "part of the system call before the shootdown",
              .only_for = "tlb_shootdown"},
    parameter{.name = "user_share",
              .unit = "percent",
              .description = "part of `work` that runs in user mode",
              .highest = 100,
              .only_for = "lock_bound"},
    parameter{.name = "chunk",
              .unit = "duration",
              .description = "unit of work that is counted as done",
              .lowest = 1000,
              .highest = one_hour,
              .only_for = "cpu_bound"},
    parameter{.name = "send",
              .unit = "name",
              .description = "how CPU 0 interrupts its targets",
              .choices = ipi_send_choices,
              .only_for = "ipi"},
    parameter{.name = "targets",
              .unit = "CPUs",
              .description = "CPUs 1 to this one are interrupted; 0 is all others",
              .highest = 1023,
              .only_for = "ipi"},
    parameter{.name = "ahead",
              .unit = "duration",
              .description = "how far ahead of the present a timer is armed",
              .lowest = 1,
              .highest = ten_seconds,
              .only_for = "timer"},
    parameter{.name = "halted",
              .unit = "flag",
              .description = "whoever is to be interrupted has nothing to do meanwhile; otherwise it computes",
              .only_for = "ipi, timer"},
};

/// One virtual machine.
struct vm_config {
  std::string name = "vm";
  std::uint32_t vcpus = 1;
  byte_size memory = byte_size::gib(1);
  guest_config guest;
  workload_config workload;
};
BOOST_DESCRIBE_STRUCT(vm_config, (), (name, vcpus, memory, guest, workload))
template <>
inline constexpr auto parameters_of<vm_config> = std::array{
    parameter{.name = "name", .unit = "text", .description = "name in tables and traces; each VM needs its own"},
    parameter{.name = "vcpus", .unit = "vCPUs", .description = "virtual CPUs", .lowest = 1, .highest = 1024},
    parameter{.name = "memory",
              .unit = "size",
              .description = "memory of the VM",
              .lowest = 1 << 20,
              .highest = std::uint64_t{1} << 46},
    parameter{.name = "guest", .unit = "object", .description = "the kernel inside"},
    parameter{.name = "workload", .unit = "object", .description = "what its threads do"},
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
};
BOOST_DESCRIBE_STRUCT(run_config, (), (seed, until, measure_from, machine, host, vms, bare_metal))
template <>
inline constexpr auto parameters_of<run_config> = std::array{
    parameter{.name = "seed",
              .unit = "number",
              .description = "seed of every random stream; the same seed gives the same run"},
    parameter{.name = "until", .unit = "duration", .description = "end of the run", .lowest = 1, .highest = one_hour},
    parameter{.name = "measure_from",
              .unit = "duration",
              .description = "statistics leave out what was before (warm-up)",
              .highest = one_hour},
    parameter{.name = "machine", .unit = "object", .description = "the hardware"},
    parameter{.name = "host", .unit = "object", .description = "the host kernel and its hypervisor"},
    parameter{.name = "vms", .unit = "list", .description = "the virtual machines", .highest = 64},
    parameter{.name = "bare_metal",
              .unit = "flag",
              .description = "the kernel of the only VM runs on the machine itself, without host and hypervisor"},
};

/// Logical CPUs of a machine.
constexpr std::uint64_t logical_cpus(const machine_config& m) noexcept {
  return std::uint64_t{m.sockets} * m.cores * m.threads;
}

/// The document type that json_binding works on.
const record_type& run_config_type();

/// Combinations that cannot be, of values each of which is legal. A combination is not reported when a path it needs
/// (or something above or below it) is in `already`, because its value is then unknown.
void check_combinations(const run_config& config, const std::vector<config_error>& already,
                        std::vector<config_error>& errors);

/// What is legal and probably not meant: the configuration runs. Leaves out what `already` doubts, as above.
void collect_warnings(const run_config& config, const std::vector<config_error>& already,
                      std::vector<config_error>& warnings);

/// Every value, as JSON text that load_config() reads back as the same configuration ("effective.json").
std::string to_json_text(const run_config& config);

}  // namespace vmxsys::platform
