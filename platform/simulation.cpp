#include "simulation.hpp"

#include <optional>
#include <stdexcept>
#include <utility>

#include <vmxsys/models/schedulers/cfs.hpp>
#include <vmxsys/models/schedulers/round_robin.hpp>
#include <vmxsys/vmx/capability.hpp>
#include <vmxsys/vmx/spin_detector.hpp>

namespace vmxsys::platform {

namespace {

constexpr physical_address host_memory = 0x100'0000;
constexpr std::uint64_t host_memory_bytes = 0x2000'0000;
constexpr physical_address first_vm_memory = 0x4000'0000;
/// Where the guest's IPIs reach physical CPUs, its vectors are none of the host's.
constexpr std::uint8_t guest_vector_shift = 0x20;

/// A name that no check has let through.
[[noreturn]] void unknown(const char* what, std::string_view name) {
  throw std::invalid_argument(std::string{"no "} + what + " \"" + std::string{name} + '"');
}

models::duration_distribution::shape shape_named(std::string_view name) {
  using shape = models::duration_distribution::shape;
  if (name == "fixed") return shape::fixed;
  if (name == "uniform") return shape::uniform;
  if (name == "exponential") return shape::exponential;
  unknown("distribution", name);
}

models::ipi_send send_named(std::string_view name) {
  if (name == "interrupt") return models::ipi_send::interrupt;
  if (name == "shorthand") return models::ipi_send::shorthand;
  if (name == "call") return models::ipi_send::call;
  unknown("way to send an IPI", name);
}

models::lock_kind lock_named(std::string_view name) {
  if (const std::optional<models::lock_kind> kind = models::lock_kind_named(name)) return *kind;
  unknown("lock", name);
}

models::cfs_version version_named(std::string_view name) {
  if (const std::optional<models::cfs_version> version = models::cfs_version_named(name)) return *version;
  unknown("scheduler profile", name);
}

apic::apic_mode apic_mode_of(std::string_view driver) {
  if (const models::apic_driver_entry* found = models::find_apic_driver(driver)) return found->mode;
  unknown("APIC driver", driver);
}

models::duration_distribution to_model(const distribution& d, std::uint64_t tsc_khz) {
  models::duration_distribution out;
  out.kind = shape_named(d.kind);
  if (d.mean) out.mean = d.mean->to_cycles(tsc_khz);
  if (d.min) out.min = d.min->to_cycles(tsc_khz);
  if (d.max) out.max = d.max->to_cycles(tsc_khz);
  return out;
}

std::uint64_t nanoseconds_of(duration d, std::uint64_t tsc_khz) {
  return d.in_cycles() ? d.count() * 1'000'000 / tsc_khz : d.count() / 1000;
}

models::timer_advance_rules to_model(const timer_advance_config& a, std::uint64_t tsc_khz) {
  using kind = models::timer_advance_rules::kind;
  if (a.name == "off") return {};
  if (a.name == "adaptive") return {kind::adaptive, models::timer_advance::initial_ns};
  if (a.name != "fixed") unknown("timer advance", a.name);
  return {kind::fixed, static_cast<std::uint32_t>(nanoseconds_of(a.lead, tsc_khz))};
}

std::unique_ptr<vmx::spin_detector> detector_named(std::string_view name) {
  if (std::unique_ptr<vmx::spin_detector> made = vmx::make_spin_detector(name)) return made;
  unknown("spin detector", name);
}

std::string detector_name(const detector_config& d) {
  if (d.name == "pause_loop_exiting" && d.gap_measure == "end_to_start") return "pause_loop_exiting_end_to_start";
  return d.name;
}

}  // namespace

std::vector<unsigned> placement_of(std::string_view placement, unsigned cpus, unsigned first_vcpu_of_vm,
                                   unsigned index) {
  if (placement == "spread") return {(first_vcpu_of_vm + index) % cpus};
  if (placement == "stacked") return {(first_vcpu_of_vm + index) / 2 % cpus};
  if (placement == "free") return {};
  unknown("placement", placement);
}

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
    if (s.name != "cfs") unknown("scheduler", s.name);
    models::cfs_tunables t = models::cfs_tunables::of(version_named(s.profile), n);
    if (s.latency) t.latency = nanoseconds_of(*s.latency, khz);
    if (s.min_granularity) t.min_granularity = nanoseconds_of(*s.min_granularity, khz);
    if (s.wakeup_granularity) t.wakeup_granularity = nanoseconds_of(*s.wakeup_granularity, khz);
    return std::make_unique<models::cfs_scheduler>(n, t);
  };
  return k;
}

simulation::simulation(const run_config& config, models::spin_policy_maker make_policy)
    : config_{config}, preset_{preset_at_core_clock(config.machine.preset, config.machine.core_clock_percent)} {
  cpu::machine_config hw;
  hw.shape = {config.machine.sockets, config.machine.cores, config.machine.threads};
  hw.costs = preset_.costs;
  hw.capabilities = vmx::find_capability_row(preset_.capabilities)->values;
  hw.make_detector = [name = detector_name(config.machine.detector)] { return detector_named(name); };
  for (const observer_config& o : config.machine.observers)
    hw.observers.push_back({[name = o.name] { return detector_named(name); }, o.gap, o.window});
  hw.overcommitted = [this](unsigned cpu) { return host_ && host_->nr_running(cpu) > 1; };
  hw.boot_apic = apic_mode_of(config.bare_metal ? config.vms[0].guest.apic : config.host.apic);
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
  kvm.spin_policy = config.host.spin_policy.name;
  kvm.make_policy = std::move(make_policy);
  kvm.ple_gap = config.host.ple_gap;
  kvm.ple_window = {config.host.ple_window, config.host.ple_window_grow, config.host.ple_window_shrink,
                    config.host.ple_window_max};
  kvm.interrupt_path = config.host.interrupt_path;
  kvm.fast_paths = config.host.exit_fast_paths;
  kvm.housekeeping_cpu = config.host.housekeeping_cpu;
  kvm.timer_backend = config.host.timer_backend;
  kvm.timer_advance = to_model(config.host.timer_advance, preset_.tsc_khz);
  kvm.costs = preset_.kvm;
  kvm_ = std::make_unique<models::kvm>(*host_, std::move(kvm));

  physical_address memory = first_vm_memory;
  unsigned first_vcpu = 0;
  for (const vm_config& vm : config.vms) {
    models::kernel_config g = kernel_settings(vm.guest.scheduler, vm.vcpus, vm.guest.hz);
    g.name = vm.name;
    g.locks = lock_named(vm.guest.lock);
    g.apic = vm.guest.apic;
    g.ipi_shorthands = vm.guest.ipi_shorthands;
    if (models::find_interrupt_path(config.host.interrupt_path)->pinned) g.ipi_vector_shift = guest_vector_shift;
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
    for (unsigned i = 0; i < vm.vcpus; ++i)
      v.affinity.push_back(placement_of(config.host.placement, hardware_->cpus(), first_vcpu, i));
    first_vcpu += vm.vcpus;
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
                                  .lock = lock_named(w.lock),
                                  .locks = w.locks,
                                  .work = length(w.work),
                                  .hold = length(w.hold)},
                                 config_.seed);
  if (w.name == "ipi")
    return models::add_ipi(
        guest, {.send = send_named(w.send), .targets = w.targets, .work = length(w.work), .halted_targets = w.halted},
        config_.seed);
  if (w.name == "timer")
    return models::add_timer(guest, {.ahead = to_cycles(w.ahead), .work = length(w.work), .halted = w.halted},
                             config_.seed);
  if (w.name == "cpu_bound") return models::add_cpu_bound(guest, {.threads = w.threads, .chunk = to_cycles(w.chunk)});
  unknown("workload", w.name);
}

// Programs name the locks of workloads and the queues of kernels, so they go first.
simulation::~simulation() {
  for (auto& guest : guests_) guest->abandon_threads();
  host_->abandon_threads();
}

}  // namespace vmxsys::platform
