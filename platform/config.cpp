#include <algorithm>
#include <boost/json.hpp>

#include <vmxsys/models/hypervisor/interrupt_path.hpp>
#include <vmxsys/models/hypervisor/spin_policy.hpp>
#include <vmxsys/models/hypervisor/timer_backend.hpp>
#include <vmxsys/models/kernel/apic_driver.hpp>
#include <vmxsys/platform/config.hpp>
#include <vmxsys/platform/preset.hpp>
#include <vmxsys/vmx/capability.hpp>
#include <vmxsys/vmx/spin_detector.hpp>

namespace vmxsys::platform {

std::vector<choice> preset_choices() {
  std::vector<choice> result;
  for (const preset& p : presets()) result.push_back({p.name, p.description});
  return result;
}

std::vector<choice> detector_choices() {
  std::vector<choice> result;
  for (std::size_t i = 0; i < vmx::spin_detector_table_size(); ++i) {
    const vmx::spin_detector_entry& d = vmx::spin_detector_table()[i];
    // How the gap is measured is a parameter of its own here.
    if (std::string_view{d.name} != "pause_loop_exiting_end_to_start") result.push_back({d.name, d.description});
  }
  return result;
}

std::vector<choice> observer_choices() {
  std::vector<choice> result;
  for (std::size_t i = 0; i < vmx::spin_detector_table_size(); ++i)
    result.push_back({vmx::spin_detector_table()[i].name, vmx::spin_detector_table()[i].description});
  return result;
}

std::vector<choice> gap_measure_choices() {
  return {
      {"issue_to_issue", "from the issue of one PAUSE to the issue of the next, so that a PAUSE's own latency counts"},
      {"end_to_start", "from the end of one PAUSE to the issue of the next"}};
}

std::vector<choice> scheduler_choices() {
  return {{"cfs", "Linux's Completely Fair Scheduler: virtual run time, buddies, wakeup granularity, yield_to"},
          {"round_robin", "a queue and a fixed time slice"}};
}

std::vector<choice> scheduler_profile_choices() {
  return {{"v6.1", "Linux 6.1, the last long-term version that picks by CFS"},
          {"v5.10", "Linux 5.10"},
          {"v3.4", "Linux 3.4"}};
}

std::vector<choice> spin_policy_choices() {
  std::vector<choice> result;
  for (const models::spin_policy_entry& p : models::spin_policies())
    result.push_back(
        {p.name, std::string{p.description} + (*p.kernel == '\0' ? "" : std::string{" (Linux "} + p.kernel + ")")});
  return result;
}

std::vector<choice> interrupt_path_choices() {
  std::vector<choice> result;
  for (const models::interrupt_path_entry& p : models::interrupt_paths()) result.push_back({p.name, p.description});
  return result;
}

std::vector<choice> timer_backend_choices() {
  std::vector<choice> result;
  for (const models::timer_backend_entry& t : models::timer_backends()) result.push_back({t.name, t.description});
  return result;
}

std::vector<choice> timer_advance_choices() {
  return {{"off", "at their deadline"},
          {"fixed", "by `lead`; the entry then waits for the deadline"},
          {"adaptive", "by 1 us at first, adjusted to how early or late the entry was (Linux v5.3 and later)"}};
}

std::vector<choice> apic_choices() {
  std::vector<choice> result;
  for (const models::apic_driver_entry& a : models::apic_drivers()) result.push_back({a.name, a.description});
  return result;
}

std::vector<choice> placement_choices() {
  return {
      {"free", "the host scheduler places vCPU threads anywhere"},
      {"spread", "vCPU i of every VM is bound to CPU i: no siblings share a run queue while there are CPUs for them"},
      {"stacked", "vCPUs 2k and 2k+1 of a VM are bound to one CPU, the VMs one after the other"}};
}

std::vector<choice> lock_choices() {
  return {{"test_and_set", "one word, whoever comes first"},
          {"ticket", "first come, first served; every waiter polls one word"},
          {"queued", "first come, first served; every waiter polls its own word"}};
}

std::vector<choice> user_lock_choices() {
  return {{"test_and_set", "one word, whoever comes first"},
          {"ticket", "first come, first served; every waiter polls one word"}};
}

std::vector<choice> workload_choices() {
  return {{"lock_bound", "compute, then a critical section under a shared kernel spinlock, again and again"},
          {"tlb_shootdown", "compute, then unmap memory: every CPU with a thread of the program flushes its TLB"},
          {"user_spin", "compute, then a critical section under a spinlock of the program, all in user mode"},
          {"cpu_bound", "compute in user mode without end"},
          {"ipi", "a microbenchmark: CPU 0 interrupts others, round after round, and they note when it reached them"},
          {"timer", "a microbenchmark: CPU 0 arms a timer and waits for it, round after round"}};
}

std::vector<choice> ipi_send_choices() {
  return {{"interrupt", "one interrupt for each target, as the kernel's APIC driver sends it; the sender goes on"},
          {"shorthand", "one write of the ICR for all others; the sender goes on"},
          {"call", "a function call on all targets, for which the sender waits (smp_call_function)"}};
}

std::vector<choice> distribution_choices() {
  return {{"fixed", "always `mean`"},
          {"uniform", "between `min` and `max`"},
          {"exponential", "exponential with mean `mean`, cut off at `min` and `max` where given"}};
}

const record_type& run_config_type() { return record_type_of<run_config>(); }

namespace {

/// True when one path is the other or lies above or below it.
bool related(const std::string& a, const std::string& b) {
  const std::string& shorter = a.size() < b.size() ? a : b;
  const std::string& longer = a.size() < b.size() ? b : a;
  if (longer.compare(0, shorter.size(), shorter) != 0) return false;
  return longer.size() == shorter.size() || shorter.empty() || longer[shorter.size()] == '.' ||
         longer[shorter.size()] == '[';
}

class combinations {
 public:
  combinations(const std::vector<config_error>& already, std::vector<config_error>& errors)
      : already_{already}, errors_{errors} {}

  /// Reports `path`, unless something it depends on is in doubt.
  void fault(const std::string& path, std::string value, std::string reason,
             const std::vector<std::string>& depends = {}) {
    const auto doubtful = [&](const std::string& p) {
      return std::any_of(already_.begin(), already_.end(), [&](const config_error& e) { return related(e.path, p); });
    };
    if (doubtful(path) || std::any_of(depends.begin(), depends.end(), doubtful)) return;
    errors_.push_back({path, std::move(value), std::move(reason), "", ""});
  }

 private:
  const std::vector<config_error>& already_;
  std::vector<config_error>& errors_;
};

void check_distribution(const distribution& d, const std::string& path, std::uint64_t tsc_khz, combinations& found) {
  const auto at = [&](duration x) { return x.to_cycles(tsc_khz); };
  if ((d.kind == "fixed" || d.kind == "exponential") && !d.mean) {
    found.fault(path, "", "kind \"" + d.kind + "\" needs `mean`");
  }
  if (d.kind == "fixed" && (d.min || d.max)) found.fault(path, "", "kind \"fixed\" takes `mean` alone");
  if (d.kind == "uniform") {
    if (!d.min || !d.max) found.fault(path, "", "kind \"uniform\" needs `min` and `max`");
    if (d.mean) found.fault(path, "", "kind \"uniform\" takes `min` and `max`, not `mean`");
  }
  if (d.min && d.max && at(*d.max) < at(*d.min)) {
    found.fault(path + ".min", d.min->to_string(), "greater than max (" + d.max->to_string() + ")", {path + ".max"});
  }
  if (d.kind == "exponential" && d.mean && d.max && at(*d.max) < at(*d.mean)) {
    found.fault(path + ".max", d.max->to_string(), "smaller than mean (" + d.mean->to_string() + ")", {path + ".mean"});
  }
  if (d.kind == "exponential" && d.mean && d.min && at(*d.mean) < at(*d.min)) {
    found.fault(path + ".min", d.min->to_string(), "greater than mean (" + d.mean->to_string() + ")", {path + ".mean"});
  }
}

/// What a choice needs of the processor, and which presets would have it.
void check_controls(const std::vector<models::required_control>& needed, const run_config& config,
                    const std::string& path, const std::string& value, combinations& found) {
  const auto missing_from = [&](const preset& p) -> const vmx::control_info* {
    const vmx::capability_row* row = vmx::find_capability_row(p.capabilities);
    return row == nullptr ? nullptr : models::first_missing(needed, row->values);
  };
  const preset* hardware = find_preset(config.machine.preset);
  const vmx::control_info* missing = hardware == nullptr ? nullptr : missing_from(*hardware);
  if (missing == nullptr) return;
  std::string others;
  for (const preset& p : presets())
    if (missing_from(p) == nullptr) others += (others.empty() ? "" : ", ") + p.name;
  found.fault(path, '"' + value + '"',
              "preset \"" + hardware->name + "\" (capabilities \"" + hardware->capabilities + "\") has no \"" +
                  missing->name + "\"; presets that have what it needs: " + (others.empty() ? "none" : others),
              {"machine.preset"});
}

void check_apic(const std::string& name, std::uint64_t cpus, const std::string& path,
                const std::vector<std::string>& depends, combinations& found) {
  const models::apic_driver_entry* driver = models::find_apic_driver(name);
  if (driver != nullptr && cpus > driver->most_cpus)
    found.fault(path, '"' + name + '"',
                "addresses at most " + std::to_string(driver->most_cpus) + " CPUs, not " + std::to_string(cpus),
                depends);
}

/// Interrupt path and timer backend: of each other, of the processor and of the machines' shape.
void check_interrupts(const run_config& config, combinations& found) {
  const host_config& host = config.host;
  const models::interrupt_path_entry* path = models::find_interrupt_path(host.interrupt_path);
  const models::timer_backend_entry* timers = models::find_timer_backend(host.timer_backend);
  if (path != nullptr) check_controls(path->needs, config, "host.interrupt_path", host.interrupt_path, found);
  if (timers != nullptr) check_controls(timers->needs, config, "host.timer_backend", host.timer_backend, found);
  const bool posts = path != nullptr && path->posts;
  std::string posting;
  for (const models::interrupt_path_entry& p : models::interrupt_paths())
    if (p.posts) posting += (posting.empty() ? "" : ", ") + std::string{p.name};
  if (path != nullptr && timers != nullptr && timers->needs_posting && !posts)
    found.fault("host.timer_backend", '"' + host.timer_backend + '"',
                "needs an interrupt_path that posts (" + posting + "), not \"" + host.interrupt_path + '"',
                {"host.interrupt_path"});
  if (path != nullptr && host.exit_fast_paths && !posts)
    found.fault("host.exit_fast_paths", "true",
                "needs an interrupt_path that posts (" + posting + "), not \"" + host.interrupt_path + '"',
                {"host.interrupt_path"});
  if (host.housekeeping_cpu >= logical_cpus(config.machine))
    found.fault("host.housekeeping_cpu", std::to_string(host.housekeeping_cpu),
                "the machine has " + std::to_string(logical_cpus(config.machine)) + " logical CPUs, numbered from 0",
                {"machine"});
  if (path == nullptr || !path->pinned) return;
  if (host.placement != "spread")
    found.fault("host.placement", '"' + host.placement + '"',
                "interrupt_path \"" + host.interrupt_path + "\" needs \"spread\": vCPU i on CPU i",
                {"host.interrupt_path"});
  const models::apic_driver_entry* hosts = models::find_apic_driver(host.apic);
  if (hosts != nullptr && hosts->mode != apic::apic_mode::x2apic)
    found.fault("host.apic", '"' + host.apic + '"',
                "interrupt_path \"" + host.interrupt_path + "\" needs a host in x2APIC mode", {"host.interrupt_path"});
  if (config.vms.size() > 1)
    found.fault("vms", std::to_string(config.vms.size()) + " virtual machines",
                "interrupt_path \"" + host.interrupt_path + "\" is for one that has its CPUs to itself",
                {"host.interrupt_path"});
  for (std::size_t i = 0; i < config.vms.size(); ++i) {
    const std::string vm = "vms[" + std::to_string(i) + ']';
    if (config.vms[i].vcpus > logical_cpus(config.machine))
      found.fault(vm + ".vcpus", std::to_string(config.vms[i].vcpus),
                  "interrupt_path \"" + host.interrupt_path + "\" needs a CPU for each of them", {"machine"});
    const models::apic_driver_entry* driver = models::find_apic_driver(config.vms[i].guest.apic);
    if (driver != nullptr && driver->mode != apic::apic_mode::x2apic)
      found.fault(vm + ".guest.apic", '"' + config.vms[i].guest.apic + '"',
                  "interrupt_path \"" + host.interrupt_path + "\" needs a guest in x2APIC mode",
                  {"host.interrupt_path"});
  }
}

/// KVM subtracts a shrink that is not below the base without asking whether the window is larger.
void warn_of_wrapping_window(const run_config& config, combinations& found) {
  const host_config& host = config.host;
  const auto policy = models::make_spin_policy(host.spin_policy.name);
  const bool in_use = !config.bare_metal && host.ple_gap != 0 && policy != nullptr && policy->wants_exits();
  if (!in_use || host.ple_window_shrink <= host.ple_window) return;
  found.fault("host.ple_window_shrink", std::to_string(host.ple_window_shrink),
              "greater than ple_window (" + std::to_string(host.ple_window) +
                  "): KVM subtracts it without a sign when a vCPU is scheduled in, so a smaller window wraps to nearly "
                  "2^32 cycles and PAUSE-loop exits all but end",
              {"host.ple_window", "host.ple_gap", "host.spin_policy"});
}

}  // namespace

void collect_warnings(const run_config& config, const std::vector<config_error>& already,
                      std::vector<config_error>& warnings) {
  combinations found{already, warnings};
  warn_of_wrapping_window(config, found);
}

void check_combinations(const run_config& config, const std::vector<config_error>& already,
                        std::vector<config_error>& errors) {
  combinations found{already, errors};
  const machine_config& machine = config.machine;

  const preset* hardware = find_preset(machine.preset);
  const std::uint64_t tsc_khz = hardware ? hardware->tsc_khz : 2500000;

  if (config.until.to_cycles(tsc_khz) == cycles{0}) {
    found.fault("until", config.until.to_string(), "shorter than one cycle", {"machine.preset"});
  } else if (config.measure_from.to_cycles(tsc_khz) >= config.until.to_cycles(tsc_khz)) {
    found.fault("measure_from", config.measure_from.to_string(),
                "nothing would be measured: it must be before the end of the run, until = " + config.until.to_string(),
                {"until", "machine.preset"});
  }

  constexpr std::uint64_t most_cpus = 1024;
  const std::uint64_t cpus = logical_cpus(machine);
  if (cpus == 0 || cpus > most_cpus) {
    found.fault("machine", std::to_string(cpus) + " logical CPUs",
                "sockets * cores * threads must be 1 .. " + std::to_string(most_cpus),
                {"machine.sockets", "machine.cores", "machine.threads"});
  }

  if (machine.core_clock_percent != 0 && machine.core_clock_percent < 10) {
    found.fault("machine.core_clock_percent", std::to_string(machine.core_clock_percent),
                "a core clock is 10 .. 1000 percent of the TSC's, or 0 for the preset's");
  }

  if (hardware && machine.detector.name == "pause_loop_exiting") {
    constexpr unsigned pause_loop_exiting_bit = 10;  // SDM Vol. 3C, secondary processor-based controls
    const vmx::capability_row* row = vmx::find_capability_row(hardware->capabilities);
    if (row && !row->values.supports(vmx::control_word::secondary, pause_loop_exiting_bit)) {
      found.fault("machine.detector.name", "\"pause_loop_exiting\"",
                  "preset \"" + machine.preset + "\" (capabilities \"" + row->name + "\") has no PAUSE-loop exiting",
                  {"machine.preset"});
    }
  }

  check_apic(config.host.apic, cpus, "host.apic", {"machine"}, found);
  check_interrupts(config, found);

  if (config.host.ple_window_max < config.host.ple_window) {
    found.fault("host.ple_window_max", std::to_string(config.host.ple_window_max),
                "smaller than ple_window (" + std::to_string(config.host.ple_window) + ")", {"host.ple_window"});
  }
  const auto check_scheduler = [&](const scheduler_config& s, const std::string& path) {
    if (s.latency && s.min_granularity && s.latency->to_cycles(tsc_khz) < s.min_granularity->to_cycles(tsc_khz)) {
      found.fault(path + ".min_granularity", s.min_granularity->to_string(),
                  "greater than latency (" + s.latency->to_string() + ")", {path + ".latency"});
    }
  };
  check_scheduler(config.host.scheduler, "host.scheduler");

  if (config.bare_metal && (config.vms.size() != 1 || config.vms[0].vcpus != cpus)) {
    found.fault("bare_metal", "true",
                "one VM with a vCPU for each of the " + std::to_string(cpus) + " CPUs of the machine is needed",
                {"machine.sockets", "machine.cores", "machine.threads", "vms"});
  }
  if (config.vms.empty()) {
    found.fault("vms", "[]", "at least one virtual machine is needed, e.g. \"vms\": [{\"name\": \"a\", \"vcpus\": 4}]");
  }
  std::uint64_t memory = 0;
  for (std::size_t i = 0; i < config.vms.size(); ++i) {
    const vm_config& vm = config.vms[i];
    const std::string path = "vms[" + std::to_string(i) + ']';
    memory += vm.memory.bytes;  // at most 64 * 2^46
    for (std::size_t j = 0; j < i; ++j) {
      if (config.vms[j].name == vm.name) {
        found.fault(path + ".name", '"' + vm.name + '"', "already the name of vms[" + std::to_string(j) + ']',
                    {"vms[" + std::to_string(j) + "].name"});
        break;
      }
    }
    check_scheduler(vm.guest.scheduler, path + ".guest.scheduler");
    check_apic(vm.guest.apic, vm.vcpus, path + ".guest.apic", {path + ".vcpus"}, found);
    const workload_config& w = vm.workload;
    const bool locks = w.name == "lock_bound" || w.name == "user_spin";
    const bool unmaps = w.name == "tlb_shootdown";
    const bool rounds = w.name == "ipi" || w.name == "timer";
    if (w.name == "ipi" && w.targets >= vm.vcpus) {
      found.fault(path + ".workload.targets", std::to_string(w.targets),
                  "more CPUs than the " + std::to_string(vm.vcpus - 1) + " others of the VM", {path + ".vcpus"});
    }
    if (w.name == "ipi" && vm.vcpus < 2) {
      found.fault(path + ".vcpus", std::to_string(vm.vcpus), "the workload ipi needs a CPU to send to");
    }
    if (locks || unmaps || rounds) check_distribution(w.work, path + ".workload.work", tsc_khz, found);
    if (locks) check_distribution(w.hold, path + ".workload.hold", tsc_khz, found);
    if (unmaps) check_distribution(w.unmap, path + ".workload.unmap", tsc_khz, found);
  }
  if (memory > machine.memory.bytes) {
    std::vector<std::string> depends{"machine.memory"};
    for (std::size_t i = 0; i < config.vms.size(); ++i) depends.push_back("vms[" + std::to_string(i) + "].memory");
    found.fault("vms", byte_size{memory}.to_string() + " of memory in all",
                "more than machine.memory = " + machine.memory.to_string(), depends);
  }
}

std::string to_json_text(const run_config& config) {
  boost::json::value value;
  run_config_type().write(&config, value);
  return pretty_json(value);
}

}  // namespace vmxsys::platform
