#include "simulation.hpp"

#include <stdexcept>
#include <utility>

#include <vmxsys/vmx/spin_detectors/catalogue.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>

namespace vmxsys::platform {

namespace {

constexpr physical_address host_memory = 0x100'0000;
constexpr std::uint64_t host_memory_bytes = 0x2000'0000;
constexpr physical_address first_vm_memory = 0x4000'0000;
/// Where the guest's IPIs reach physical CPUs, its vectors are none of the host's.
constexpr std::uint8_t guest_vector_shift = 0x20;

}  // namespace

models::kernel_config simulation::kernel_settings(const component<models::scheduler_entry>& scheduler, unsigned cpus,
                                                  unsigned hz) const {
  models::kernel_config k;
  k.cpus = cpus;
  k.hz = hz;
  k.tsc_khz = preset_.tsc_khz;
  k.costs = preset_.kernel;
  k.scheduler = catalogues_.schedulers.select(scheduler);
  return k;
}

simulation::simulation(const run_config& config, const catalogues& from)
    : config_{config}, catalogues_{from}, preset_{preset_of(config, from)} {
  cpu::machine_config hw;
  hw.shape = {config.machine.sockets, config.machine.cores, config.machine.threads};
  hw.costs = preset_.costs;
  hw.capabilities = vmx::find_capability_row(preset_.capabilities)->values;
  const auto maker = [&](const component<vmx::spin_detector_entry>& c) {
    return [chosen = from.spin_detectors.select(c)] { return chosen.make(); };
  };
  hw.make_detector = maker(config.machine.detector);
  for (const observer_config& o : config.machine.observers)
    hw.observers.push_back({maker(o.detector), o.gap, o.window});
  hw.overcommitted = [this](unsigned cpu) { return host_ && host_->nr_running(cpu) > 1; };
  hw.boot_apic = from.apic_drivers.select(config.bare_metal ? config.vms[0].guest.apic : config.host.apic).entry().mode;
  hw.stepped = config.machine.stepped;
  hardware_ = std::make_unique<cpu::machine>(std::move(hw));

  models::kernel_config host = kernel_settings(config.host.scheduler, hardware_->cpus(), config.host.hz);
  host.name = "host";
  host.tracing = config.host.tracing;
  host.apic = from.apic_drivers.select(config.host.apic);
  host.idle = from.idle_drivers.select(config.host.idle);
  host.ipi_shorthands = config.host.ipi_shorthands;
  host.memory_base = host_memory;
  host.memory_bytes = host_memory_bytes;
  host_ = std::make_unique<models::kernel>(*hardware_, std::move(host));

  models::kvm_config kvm;
  kvm.spin_policy = from.spin_policies.select(config.host.spin_policy);
  kvm.halt_policy = from.halt_policies.select(config.host.halt_policy);
  kvm.ple_gap = config.host.ple_gap;
  kvm.ple_window = {config.host.ple_window, config.host.ple_window_grow, config.host.ple_window_shrink,
                    config.host.ple_window_max};
  kvm.interrupt_path = from.interrupt_paths.select(config.host.interrupt_path);
  kvm.timer_backend = from.timer_backends.select(config.host.timer_backend);
  kvm.timer_advance = from.timer_advances.select(config.host.timer_advance);
  kvm.vcpu_affinity = from.vcpu_affinities.select(config.host.vcpu_affinity);
  kvm.costs = preset_.kvm;
  kvm_ = std::make_unique<models::kvm>(*host_, std::move(kvm));

  physical_address memory = first_vm_memory;
  for (const vm_config& vm : config.vms) {
    models::kernel_config g = kernel_settings(vm.guest.scheduler, vm.vcpus, vm.guest.hz);
    g.name = vm.name;
    g.locks = from.locks.select(vm.guest.lock);
    g.apic = from.apic_drivers.select(vm.guest.apic);
    g.idle = from.idle_drivers.select(vm.guest.idle);
    g.ipi_shorthands = vm.guest.ipi_shorthands;
    if (kvm_->config().interrupt_path.entry().pinned) g.ipi_vector_shift = guest_vector_shift;
    g.memory_base = memory;
    g.memory_bytes = vm.memory.bytes;
    memory += (vm.memory.bytes + 0xFFF) & ~std::uint64_t{0xFFF};
    guests_.push_back(std::make_unique<models::kernel>(*hardware_, std::move(g)));
    models::kernel& guest = *guests_.back();
    guest.boot_cpuids = 4;

    workloads_.push_back(
        from.workloads.select(vm.workload).make(guest, models::workload_environment{config.seed, preset_.tsc_khz}));
    if (config.bare_metal) continue;

    models::virtual_machine_config v;
    v.name = vm.name;
    v.vcpus = vm.vcpus;
    v.apic = guest.apic_mode();
    v.boot = [&guest](unsigned index) -> cpu::strand& { return guest.boot_cpu(index); };
    v.guest = &guest;
    if (!vm.pv.empty()) v.pv.clear();
    for (const pv_service_config& s : vm.pv) v.pv.push_back(from.pv_services.select(s.service));
    kvm_->add(std::move(v));
  }
  // On bare metal the host stays switched off.
  hardware_->connect(config.bare_metal ? *guests_.front() : *host_);
}

observed_machine simulation::observed() {
  observed_machine all{*hardware_, *host_, *kvm_, {}, config_.bare_metal};
  for (const auto& guest : guests_) all.guests.push_back(guest.get());
  return all;
}

// Programs name the locks of workloads and the queues of kernels, so they go first.
simulation::~simulation() {
  for (auto& guest : guests_) guest->abandon_threads();
  host_->abandon_threads();
}

}  // namespace vmxsys::platform
