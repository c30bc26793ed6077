#include "kvm.hpp"

#include <stdexcept>

#include <vmxsys/models/kvm/interrupts/msr_bitmap.hpp>

#include "detail/kvm_code.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

/// What a selection makes; with `caps`, if the processor has the controls that it needs.
template <class Entry>
auto made(const selection<Entry>& chosen, const char* kind) {
  auto thing = chosen.make();
  if (!thing) throw std::invalid_argument(std::string{kind} + " '" + chosen.name() + "' made nothing");
  return thing;
}

template <class Entry>
auto made(const selection<Entry>& chosen, const char* kind, const vmx::capabilities& caps) {
  if (const vmx::control_info* missing = vmx::first_missing(chosen.entry().needs, caps))
    throw std::invalid_argument(std::string{kind} + " '" + chosen.name() + "' needs \"" + missing->name +
                                "\", which the processor does not have");
  return made(chosen, kind);
}

}  // namespace

kvm::kvm(kernel& host, kvm_config config)
    : host_{host},
      config_{std::move(config)},
      current_vmcs_{host, {}},
      policy_{made(config_.spin_policy, "spin policy")},
      halts_{made(config_.halt_policy, "halt policy")},
      path_{made(config_.interrupt_path, "interrupt path", host.hardware().config().capabilities)},
      timers_{made(config_.timer_backend, "timer backend", host.hardware().config().capabilities)},
      fast_paths_{path_->fast_paths()},
      affinity_{made(config_.vcpu_affinity, "vCPU affinity")} {
  if (config_.timer_backend.entry().needs_posting && !path_->posts())
    throw std::invalid_argument(std::string{"timer backend '"} + config_.timer_backend.name() +
                                "' needs an interrupt path that posts, not '" + config_.interrupt_path.name() + "'");
  timers_->validate_host(host);
  for (unsigned i = 0; i < host.cpus(); ++i) vmxon_regions_.push_back(host.memory().take(4096, 4096));
  current_vmcs_.by_cpu.assign(host.cpus(), 0);
  msr_bitmap_ = host.memory().take(4096, 4096);
  models::msr_bitmap{host.hardware().physical(), msr_bitmap_}.intercept_all();
  host.on_cpu_up = [this](unsigned cpu) { return enable_on(cpu); };
  host.on_vector = [this](unsigned cpu, std::uint8_t vector) { return host_interrupt(cpu, vector); };
  if (path_->posts()) posted_ = std::make_unique<posted_vcpus>(host);
}

kvm::~kvm() = default;

cpu::program kvm::enable_on(unsigned cpu) {
  auto here = co_await isa::in(code::hardware_enable);
  host_.hardware().physical().write<std::uint32_t>(vmxon_regions_[cpu],
                                                   host_.hardware().config().capabilities.revision());
  co_await isa::vmxon(vmxon_regions_[cpu]);
}

cpu::program kvm::host_interrupt(unsigned cpu, std::uint8_t vector) {
  const std::size_t device = std::size_t{vector} - first_device_vector;  // below wraps
  if (device >= device_interrupts_.size()) {
    co_await path_->host_interrupt(*this, cpu, vector);
  } else {
    co_await path_->accept(*device_interrupts_[device].target, device_interrupts_[device].vector);
  }
}

virtual_machine& kvm::add(virtual_machine_config config) {
  auto vm = std::make_unique<virtual_machine>(*this, static_cast<unsigned>(vms_.size()), std::move(config));
  path_->validate_vm(*vm);
  path_->init_vm(*vm);
  vm->cpu(0).power_on();
  vms_.push_back(std::move(vm));
  return *vms_.back();
}

std::unique_ptr<timer_advance> kvm::make_timer_advance() const {
  return config_.timer_advance.make(host_.config().tsc_khz);
}

std::vector<unsigned> kvm::affinity_of(unsigned vcpu) const {
  unsigned before = 0;
  for (const auto& vm : vms_) before += vm->vcpus();
  return affinity_->cpus_of({host_.cpus(), static_cast<unsigned>(vms_.size()), vcpu, before});
}

std::uint8_t kvm::add_device_interrupt(vcpu& target, std::uint8_t vector) {
  if (device_interrupts_.size() == device_vectors) throw std::length_error("the host has no vector left for a device");
  device_interrupts_.push_back({&target, vector});
  return static_cast<std::uint8_t>(first_device_vector + device_interrupts_.size() - 1);
}

}  // namespace vmxsys::models
