#include "simulation.hpp"

#include <stdexcept>
#include <utility>

#include <vmxsys/models/schedulers/cfs.hpp>
#include <vmxsys/models/schedulers/round_robin.hpp>
#include <vmxsys/vmx/spin_detectors/spin_detector.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>

namespace vmxsys::platform {

namespace {

constexpr physical_address host_memory = 0x100'0000;
constexpr std::uint64_t host_memory_bytes = 0x2000'0000;
constexpr physical_address first_vm_memory = 0x4000'0000;
/// Where the guest's IPIs reach physical CPUs, its vectors are none of the host's.
constexpr std::uint8_t guest_vector_shift = 0x20;

models::duration_distribution to_model(const distribution& d, std::uint64_t tsc_khz) {
  using shape = models::duration_distribution::shape;
  models::duration_distribution out;
  out.kind = d.kind == "exponential" ? shape::exponential : d.kind == "uniform" ? shape::uniform : shape::fixed;
  if (d.mean) out.mean = d.mean->to_cycles(tsc_khz);
  if (d.min) out.min = d.min->to_cycles(tsc_khz);
  if (d.max) out.max = d.max->to_cycles(tsc_khz);
  return out;
}

std::uint64_t nanoseconds_of(duration d, std::uint64_t tsc_khz) {
  return d.in_cycles() ? d.count() * 1'000'000 / tsc_khz : d.count() / 1000;
}

/// Those of `given` that the entry has.
template <class Entry>
selection<Entry> choose(const catalogue<Entry>& from, const std::string& name, const settings& given) {
  const Entry* found = from.find(name);
  settings own;
  for (const setting& s : given)
    if (found != nullptr && found->parameters.find(s.name) != nullptr) own.push_back(s);
  return from.select(name, own);
}

std::string detector_name(const detector_config& d) {
  if (d.name == "pause_loop_exiting" && d.gap_measure == "end_to_start") return "pause_loop_exiting_end_to_start";
  return d.name;
}

}  // namespace

models::kernel_config simulation::kernel_settings(const scheduler_config& s, unsigned cpus, unsigned hz) const {
  models::kernel_config k;
  k.cpus = cpus;
  k.hz = hz;
  k.tsc_khz = preset_.tsc_khz;
  k.costs = preset_.kernel;
  const std::uint64_t khz = preset_.tsc_khz;
  k.make_scheduler = [s, khz](unsigned n) -> std::unique_ptr<models::scheduler> {
    if (s.name == "round_robin") {
      models::round_robin_tunables t;
      t.quantum = nanoseconds_of(s.quantum, khz);
      return std::make_unique<models::round_robin_scheduler>(n, t);
    }
    models::cfs_tunables t = models::cfs_tunables::of(*models::cfs_version_named(s.profile), n);
    if (s.latency) t.latency = nanoseconds_of(*s.latency, khz);
    if (s.min_granularity) t.min_granularity = nanoseconds_of(*s.min_granularity, khz);
    if (s.wakeup_granularity) t.wakeup_granularity = nanoseconds_of(*s.wakeup_granularity, khz);
    return std::make_unique<models::cfs_scheduler>(n, t);
  };
  return k;
}

simulation::simulation(const run_config& config, selection<models::spin_policy_entry> policy)
    : config_{config}, preset_{preset_at_core_clock(config.machine.preset, config.machine.core_clock_percent)} {
  cpu::machine_config hw;
  hw.shape = {config.machine.sockets, config.machine.cores, config.machine.threads};
  hw.costs = preset_.costs;
  hw.capabilities = vmx::find_capability_row(preset_.capabilities)->values;
  hw.make_detector = [name = detector_name(config.machine.detector)] { return vmx::make_spin_detector(name); };
  for (const observer_config& o : config.machine.observers)
    hw.observers.push_back({[name = o.name] { return vmx::make_spin_detector(name); }, o.gap, o.window});
  hw.overcommitted = [this](unsigned cpu) { return host_ && host_->nr_running(cpu) > 1; };
  hw.boot_apic = models::find_apic_driver(config.bare_metal ? config.vms[0].guest.apic : config.host.apic)->mode;
  hw.stepped = config.machine.stepped;
  hardware_ = std::make_unique<cpu::machine>(std::move(hw));

  models::kernel_config host = kernel_settings(config.host.scheduler, hardware_->cpus(), config.host.hz);
  host.name = "host";
  host.tracing = config.host.tracing;
  host.apic = config.host.apic;
  host.ipi_shorthands = config.host.ipi_shorthands;
  host.memory_base = host_memory;
  host.memory_bytes = host_memory_bytes;
  host_ = std::make_unique<models::kernel>(*hardware_, std::move(host));

  models::kvm_config kvm;
  kvm.spin_policy = policy ? std::move(policy) : models::spin_policies().select(config.host.spin_policy.name);
  kvm.ple_gap = config.host.ple_gap;
  kvm.ple_window = {config.host.ple_window, config.host.ple_window_grow, config.host.ple_window_shrink,
                    config.host.ple_window_max};
  kvm.interrupt_path =
      choose(models::interrupt_paths(), config.host.interrupt_path, {{"exit_fast_paths", config.host.exit_fast_paths}});
  kvm.timer_backend =
      choose(models::timer_backends(), config.host.timer_backend, {{"housekeeping_cpu", config.host.housekeeping_cpu}});
  kvm.timer_advance =
      choose(models::timer_advances(), config.host.timer_advance.name, {{"lead", config.host.timer_advance.lead}});
  kvm.vcpu_affinity = models::vcpu_affinities().select(config.host.placement);
  kvm.costs = preset_.kvm;
  kvm_ = std::make_unique<models::kvm>(*host_, std::move(kvm));

  physical_address memory = first_vm_memory;
  for (const vm_config& vm : config.vms) {
    models::kernel_config g = kernel_settings(vm.guest.scheduler, vm.vcpus, vm.guest.hz);
    g.name = vm.name;
    g.locks = *models::lock_kind_named(vm.guest.lock);
    g.apic = vm.guest.apic;
    g.ipi_shorthands = vm.guest.ipi_shorthands;
    if (kvm_->config().interrupt_path.entry().pinned) g.ipi_vector_shift = guest_vector_shift;
    g.memory_base = memory;
    g.memory_bytes = vm.memory.bytes;
    memory += (vm.memory.bytes + 0xFFF) & ~std::uint64_t{0xFFF};
    guests_.push_back(std::make_unique<models::kernel>(*hardware_, std::move(g)));
    models::kernel& guest = *guests_.back();
    guest.boot_cpuids = 4;

    workloads_.push_back(make_workload(guest, vm.workload));
    if (config.bare_metal) continue;

    models::virtual_machine_config v;
    v.name = vm.name;
    v.vcpus = vm.vcpus;
    v.apic = guest.apic().mode();
    v.boot = [&guest](unsigned index) -> cpu::strand& { return guest.boot_cpu(index); };
    v.guest = &guest;
    kvm_->add(std::move(v));
  }
  // On bare metal the host stays switched off.
  hardware_->connect(config.bare_metal ? *guests_.front() : *host_);
}

std::unique_ptr<models::workload> simulation::make_workload(models::kernel& guest, const workload_config& w) const {
  const auto length = [this](const distribution& d) { return to_model(d, preset_.tsc_khz); };
  if (w.name == "lock_bound")
    return models::add_lock_bound(guest,
                                  {.threads = w.threads,
                                   .locks = w.locks,
                                   .work = length(w.work),
                                   .hold = length(w.hold),
                                   .user_share = w.user_share},
                                  config_.seed);
  if (w.name == "tlb_shootdown")
    return models::add_tlb_shootdown(guest, {.threads = w.threads, .work = length(w.work), .unmap = length(w.unmap)},
                                     config_.seed);
  if (w.name == "user_spin")
    return models::add_user_spin(guest,
                                 {.threads = w.threads,
                                  .lock = *models::lock_kind_named(w.lock),
                                  .locks = w.locks,
                                  .work = length(w.work),
                                  .hold = length(w.hold)},
                                 config_.seed);
  if (w.name == "ipi") {
    using how = models::ipi_send;
    return models::add_ipi(guest,
                           {.send = w.send == "shorthand" ? how::shorthand
                                    : w.send == "call"    ? how::call
                                                          : how::interrupt,
                            .targets = w.targets,
                            .work = length(w.work),
                            .halted_targets = w.halted},
                           config_.seed);
  }
  if (w.name == "timer")
    return models::add_timer(guest, {.ahead = to_cycles(w.ahead), .work = length(w.work), .halted = w.halted},
                             config_.seed);
  return models::add_cpu_bound(guest, {.threads = w.threads, .chunk = to_cycles(w.chunk)});
}

// Programs name the locks of workloads and the queues of kernels, so they go first.
simulation::~simulation() {
  for (auto& guest : guests_) guest->abandon_threads();
  host_->abandon_threads();
}

}  // namespace vmxsys::platform
