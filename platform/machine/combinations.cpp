#include "combinations.hpp"

#include <algorithm>
#include <optional>
#include <stdexcept>

#include <vmxsys/vmx/base/nearest.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>

namespace vmxsys::platform {

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

template <class Entry>
const Entry& entry_of(const component<Entry>& c, const catalogue<Entry>& from) {
  const Entry* e = from.find(c.name);
  return e == nullptr ? from.first() : *e;
}

template <class Entry>
std::string quoted(const component<Entry>& c, const catalogue<Entry>& from) {
  return '"' + std::string{entry_of(c, from).name} + '"';
}

/// The machine that options are for.
struct clock_and_cpus {
  std::uint64_t tsc_khz;
  std::uint64_t cpus;  ///< logical CPUs
  const std::string& preset;
};

void too_short(const std::string& path, duration d, const clock_and_cpus& on, combinations& found) {
  const duration cycle = duration::from_picoseconds((1'000'000'000 + on.tsc_khz - 1) / on.tsc_khz);
  found.fault(path, d.to_string(),
              "shorter than one cycle, which takes " + cycle.to_string() + " on preset \"" + on.preset + '"',
              {"machine.preset"});
}

/// Options that are legal each for itself: of each other, and on a machine with this clock.
void check_options(const entry& of, const settings& given, const std::string& path, const clock_and_cpus& on,
                   combinations& found) {
  const std::shared_ptr<void> options = options_of(of, given);
  const auto at = [&](std::string_view option) { return path + '.' + std::string{option}; };
  const auto no_cycle = [&](const std::string& where, const std::optional<duration>& d) {
    if (d && d->to_cycles(on.tsc_khz) == cycles{0}) too_short(where, *d, on, found);
  };
  for (const parameter& p : of.parameters) {
    const parameter_value value = p.value(options.get());
    const auto* d = std::get_if<distribution>(&value.held);
    if (d != nullptr) {
      if (const auto fault = fault_of(*d, on.tsc_khz))
        found.fault(fault->member.empty() ? at(p.name) : at(p.name) + '.' + fault->member, "", fault->reason);
    }
    if (const auto* n = std::get_if<std::uint64_t>(&value.held); n != nullptr && p.unit == std::string_view{"CPU"})
      if (*n >= on.cpus)
        found.fault(at(p.name), std::to_string(*n),
                    "the machine has " + std::to_string(on.cpus) + " logical CPUs, numbered from 0", {"machine"});
    // What takes time takes a cycle at least; where 0 is in the range, less than a cycle is 0.
    if (const auto* one = std::get_if<duration>(&value.held); one != nullptr && (p.lowest > 0 || p.whole_cycle))
      no_cycle(at(p.name), *one);
    if (d != nullptr) {
      no_cycle(at(p.name) + ".mean", d->mean);
      no_cycle(at(p.name) + ".max", d->max);
    }
  }
  if (of.check == nullptr) return;
  std::vector<option_fault> faults;
  of.check(options.get(), on.tsc_khz, faults);
  for (const option_fault& f : faults) {
    const parameter* p = of.parameters.find(f.option);
    found.fault(at(f.option), p == nullptr ? "" : p->value(options.get()).to_string(), f.reason,
                f.depends_on.empty() ? std::vector<std::string>{} : std::vector<std::string>{at(f.depends_on)});
  }
}

template <class Entry>
void check_options(const component<Entry>& c, const catalogue<Entry>& from, const std::string& path,
                   const clock_and_cpus& on, combinations& found) {
  check_options(entry_of(c, from), c.options, path, on, found);
}

/// A list of components that work side by side, each at most once.
template <class Entry>
void check_list(const std::vector<component<Entry>>& list, const catalogue<Entry>& from, const std::string& path,
                const clock_and_cpus& on, combinations& found) {
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string at = path + '[' + std::to_string(i) + ']';
    check_options(list[i], from, at, on, found);
    for (std::size_t j = 0; j < i; ++j)
      if (&entry_of(list[j], from) == &entry_of(list[i], from))
        found.fault(at, quoted(list[i], from), "is " + path + '[' + std::to_string(j) + "] already");
  }
}

/// What a choice needs of the processor, and which presets would have it.
void check_controls(vmx::required_controls needed, const preset* hardware, const catalogue<preset_entry>& from,
                    const std::string& path, const std::string& value, combinations& found) {
  const auto missing_from = [&](const preset& p) -> const vmx::control_info* {
    const vmx::capability_row* row = vmx::find_capability_row(p.capabilities);
    return row == nullptr ? nullptr : vmx::first_missing(needed, row->values);
  };
  const vmx::control_info* missing = hardware == nullptr ? nullptr : missing_from(*hardware);
  if (missing == nullptr) return;
  std::string others;
  for (const preset_entry* e : from)
    if (const auto p = find_preset(e->name, from); p != nullptr && missing_from(*p) == nullptr)
      others += (others.empty() ? "" : ", ") + p->name;
  found.fault(path, value,
              "preset \"" + hardware->name + "\" (capabilities \"" + hardware->capabilities + "\") has no \"" +
                  missing->name + "\"; presets that have what it needs: " + (others.empty() ? "none" : others),
              {"machine.preset"});
}

void check_apic(const component<models::apic_driver_entry>& driver, const catalogue<models::apic_driver_entry>& from,
                std::uint64_t cpus, const std::string& path, const std::vector<std::string>& depends,
                combinations& found) {
  const unsigned most = entry_of(driver, from).most_cpus;
  if (cpus > most)
    found.fault(path, quoted(driver, from),
                "addresses at most " + std::to_string(most) + " CPUs, not " + std::to_string(cpus), depends);
}

/// Interrupt path and timer backend: of each other, of the processor and of the machines' shape.
void check_interrupts(const run_config& config, const catalogues& from, const preset* hardware, combinations& found) {
  const host_config& host = config.host;
  const models::interrupt_path_entry& path = entry_of(host.interrupt_path, from.interrupt_paths);
  const models::timer_backend_entry& timers = entry_of(host.timer_backend, from.timer_backends);
  const std::string path_name = quoted(host.interrupt_path, from.interrupt_paths);
  check_controls(path.needs, hardware, from.presets, "host.interrupt_path", path_name, found);
  check_controls(timers.needs, hardware, from.presets, "host.timer_backend",
                 quoted(host.timer_backend, from.timer_backends), found);
  std::string posting;
  for (const models::interrupt_path_entry* p : from.interrupt_paths)
    if (p->posts) posting += (posting.empty() ? "" : ", ") + std::string{p->name};
  if (timers.needs_posting && !path.posts)
    found.fault("host.timer_backend", quoted(host.timer_backend, from.timer_backends),
                "needs an interrupt_path that posts (" + posting + "), not " + path_name, {"host.interrupt_path"});
  if (!path.pinned) return;
  const models::vcpu_affinity_entry& affinity = entry_of(host.vcpu_affinity, from.vcpu_affinities);
  const auto binds_in_order = [&](const models::vcpu_affinity_entry& e) {
    const auto rule = e.make(options_of(e, host.vcpu_affinity.options).get());
    for (unsigned i = 0; i < 2; ++i)
      if (rule->cpus_of({.cpus = 4, .vm = 0, .vcpu = i, .before = 0}) != std::vector<unsigned>{i}) return false;
    return true;
  };
  if (!binds_in_order(affinity)) {
    std::string others;
    for (const models::vcpu_affinity_entry* e : from.vcpu_affinities)
      if (binds_in_order(*e)) others += (others.empty() ? "" : ", ") + std::string{"\""} + e->name + '"';
    found.fault("host.vcpu_affinity", quoted(host.vcpu_affinity, from.vcpu_affinities),
                "interrupt_path " + path_name + " needs vCPU i on CPU i: " + others, {"host.interrupt_path"});
  }
  if (entry_of(config.host.apic, from.apic_drivers).mode != apic::apic_mode::x2apic)
    found.fault("host.apic", quoted(config.host.apic, from.apic_drivers),
                "interrupt_path " + path_name + " needs a host in x2APIC mode", {"host.interrupt_path"});
  if (config.vms.size() > 1)
    found.fault("vms", std::to_string(config.vms.size()) + " virtual machines",
                "interrupt_path " + path_name + " is for one that has its CPUs to itself", {"host.interrupt_path"});
  for (std::size_t i = 0; i < config.vms.size(); ++i) {
    const std::string vm = "vms[" + std::to_string(i) + ']';
    if (config.vms[i].vcpus > logical_cpus(config.machine))
      found.fault(vm + ".vcpus", std::to_string(config.vms[i].vcpus),
                  "interrupt_path " + path_name + " needs a CPU for each of them", {"machine"});
    if (entry_of(config.vms[i].guest.apic, from.apic_drivers).mode != apic::apic_mode::x2apic)
      found.fault(vm + ".guest.apic", quoted(config.vms[i].guest.apic, from.apic_drivers),
                  "interrupt_path " + path_name + " needs a guest in x2APIC mode", {"host.interrupt_path"});
  }
}

/// The machine's preset, if it is one.
std::optional<preset> check_preset(const machine_config& machine, const catalogue<preset_entry>& from,
                                   combinations& found) {
  const std::string& name = machine.preset;
  const bool file = name.find('/') != std::string::npos || (name.size() > 5 && name.substr(name.size() - 5) == ".json");
  if (!file && from.find(name) == nullptr) {
    const std::vector<std::string> known = from.names();
    found.fault("machine.preset", '"' + name + '"',
                "not known here; must be one of: " + joined(known) + ", or a file" + did_you_mean(name, known));
    return std::nullopt;
  }
  try {
    return make_preset({name, machine.core_clock_percent, machine.costs}, from);
  } catch (const std::invalid_argument& e) {
    found.fault(machine.costs.empty() ? "machine.preset" : "machine.costs", '"' + name + '"', e.what(),
                {"machine.core_clock_percent"});
    return std::nullopt;
  }
}

/// KVM subtracts a shrink that is not below the base without asking whether the window is larger.
void warn_of_wrapping_window(const run_config& config, const catalogues& from, combinations& found) {
  const host_config& host = config.host;
  const models::spin_policy_entry& e = entry_of(host.spin_policy, from.spin_policies);
  const auto policy = e.make(options_of(e, host.spin_policy.options).get());
  const bool in_use = !config.bare_metal && host.ple_gap != 0 && policy != nullptr && policy->wants_exits();
  if (!in_use || host.ple_window_shrink <= host.ple_window) return;
  found.fault("host.ple_window_shrink", std::to_string(host.ple_window_shrink),
              "greater than ple_window (" + std::to_string(host.ple_window) +
                  "): KVM subtracts it without a sign when a vCPU is scheduled in, so a smaller window wraps to nearly "
                  "2^32 cycles and PAUSE-loop exits all but end",
              {"host.ple_window", "host.ple_gap", "host.spin_policy"});
}

}  // namespace

void collect_warnings(const run_config& config, const catalogues& from, const std::vector<config_error>& already,
                      std::vector<config_error>& warnings) {
  combinations found{already, warnings};
  warn_of_wrapping_window(config, from, found);
}

void check_combinations(const run_config& config, const catalogues& from, const std::vector<config_error>& already,
                        std::vector<config_error>& errors) {
  combinations found{already, errors};
  const machine_config& machine = config.machine;

  const std::optional<preset> made = check_preset(machine, from.presets, found);
  const preset* hardware = made ? &*made : nullptr;
  const std::uint64_t tsc_khz = made ? made->tsc_khz : tsc_khz_of(config, from);
  const clock_and_cpus on{tsc_khz, logical_cpus(machine), machine.preset};

  if (config.until.to_cycles(tsc_khz) == cycles{0}) {
    too_short("until", config.until, on, found);
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

  if (hardware && entry_of(machine.detector, from.spin_detectors).ple_control) {
    constexpr unsigned pause_loop_exiting_bit = 10;  // SDM Vol. 3C, secondary processor-based controls
    const vmx::capability_row* row = vmx::find_capability_row(hardware->capabilities);
    if (row && !row->values.supports(vmx::control_word::secondary, pause_loop_exiting_bit)) {
      found.fault("machine.detector.name", quoted(machine.detector, from.spin_detectors),
                  "preset \"" + machine.preset + "\" (capabilities \"" + row->name + "\") has no PAUSE-loop exiting",
                  {"machine.preset"});
    }
  }
  check_options(machine.detector, from.spin_detectors, "machine.detector", on, found);
  for (std::size_t i = 0; i < machine.observers.size(); ++i)
    check_options(machine.observers[i].detector, from.spin_detectors, "machine.observers[" + std::to_string(i) + ']',
                  on, found);

  check_apic(config.host.apic, from.apic_drivers, cpus, "host.apic", {"machine"}, found);
  check_interrupts(config, from, hardware, found);

  if (config.host.ple_window_max < config.host.ple_window) {
    found.fault("host.ple_window_max", std::to_string(config.host.ple_window_max),
                "smaller than ple_window (" + std::to_string(config.host.ple_window) + ")", {"host.ple_window"});
  }
  const host_config& host = config.host;
  check_options(host.scheduler, from.schedulers, "host.scheduler", on, found);
  check_options(host.spin_policy, from.spin_policies, "host.spin_policy", on, found);
  check_options(host.halt_policy, from.halt_policies, "host.halt_policy", on, found);
  check_options(host.interrupt_path, from.interrupt_paths, "host.interrupt_path", on, found);
  check_options(host.timer_backend, from.timer_backends, "host.timer_backend", on, found);
  check_options(host.timer_advance, from.timer_advances, "host.timer_advance", on, found);
  check_options(host.vcpu_affinity, from.vcpu_affinities, "host.vcpu_affinity", on, found);
  check_options(host.idle, from.idle_drivers, "host.idle", on, found);

  check_list(config.collectors, from.collectors, "collectors", on, found);
  check_list(config.traces, from.trace_formats, "traces", on, found);

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
    check_options(vm.guest.scheduler, from.schedulers, path + ".guest.scheduler", on, found);
    check_options(vm.guest.idle, from.idle_drivers, path + ".guest.idle", on, found);
    check_options(vm.guest.lock, from.locks, path + ".guest.lock", on, found);
    check_apic(vm.guest.apic, from.apic_drivers, vm.vcpus, path + ".guest.apic", {path + ".vcpus"}, found);
    check_options(vm.workload, from.workloads, path + ".workload", on, found);
    const models::workload_entry& work = entry_of(vm.workload, from.workloads);
    if (work.check_vm != nullptr) {
      std::vector<option_fault> faults;
      work.check_vm(options_of(work, vm.workload.options).get(), vm.vcpus, faults);
      for (const option_fault& f : faults)
        found.fault(f.option.empty() ? path + ".vcpus" : path + ".workload." + f.option, "", f.reason,
                    {path + ".vcpus"});
    }
  }
  if (memory > machine.memory.bytes) {
    std::vector<std::string> depends{"machine.memory"};
    for (std::size_t i = 0; i < config.vms.size(); ++i) depends.push_back("vms[" + std::to_string(i) + "].memory");
    found.fault("vms", byte_size{memory}.to_string() + " of memory in all",
                "more than machine.memory = " + machine.memory.to_string(), depends);
  }
}

}  // namespace vmxsys::platform
