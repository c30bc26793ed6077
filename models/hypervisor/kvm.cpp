#include "kvm.hpp"

#include <stdexcept>

#include "kvm_code.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

void require(const char* what, const std::string& name, std::span<const required_control> needed,
             const vmx::capabilities& caps) {
  if (const vmx::control_info* missing = first_missing(needed, caps))
    throw std::invalid_argument(std::string{what} + " '" + name + "' needs \"" + missing->name +
                                "\", which the processor does not have");
}

std::unique_ptr<timer_backend> make_timers(const std::string& name, const vmx::capabilities& caps) {
  const timer_backend_entry* found = find_timer_backend(name);
  if (found == nullptr) throw std::invalid_argument("unknown timer backend '" + name + "'");
  require("timer backend", name, found->needs, caps);
  return found->make();
}

}  // namespace

kvm::kvm(kernel& host, kvm_config config)
    : host_{host},
      config_{std::move(config)},
      policy_{config_.make_policy ? config_.make_policy() : make_spin_policy(config_.spin_policy)},
      timers_{make_timers(config_.timer_backend, host.hardware().config().capabilities)} {
  if (!policy_)
    throw std::invalid_argument(config_.make_policy ? "make_policy made no spin policy"
                                                    : "unknown spin policy '" + config_.spin_policy + "'");
  for (unsigned i = 0; i < host.cpus(); ++i) vmxon_regions_.push_back(host.memory().take(4096, 4096));
  current_vmcs_.assign(host.cpus(), 0);
  msr_bitmap_ = host.memory().take(4096, 4096);
  const std::vector<unsigned char> intercept_all(4096, 0xFF);
  host.hardware().physical().write(msr_bitmap_, intercept_all.data(), intercept_all.size());
  host.on_cpu_up = [this](unsigned cpu) { return enable_on(cpu); };
}

kvm::~kvm() = default;

cpu::program kvm::enable_on(unsigned cpu) {
  auto here = co_await isa::in(code::hardware_enable);
  host_.hardware().physical().write<std::uint32_t>(vmxon_regions_[cpu],
                                                   host_.hardware().config().capabilities.revision());
  co_await isa::vmxon(vmxon_regions_[cpu]);
}

virtual_machine& kvm::add(virtual_machine_config config) {
  vms_.push_back(std::make_unique<virtual_machine>(*this, static_cast<unsigned>(vms_.size()), std::move(config)));
  return *vms_.back();
}

virtual_machine::virtual_machine(kvm& of, unsigned number, virtual_machine_config config)
    : kvm_{of}, number_{number}, config_{std::move(config)} {
  for (unsigned i = 0; i < config_.vcpus; ++i) vcpus_.push_back(std::make_unique<vcpu>(*this, i));
  for (unsigned i = 0; i < config_.vcpus; ++i) {
    vcpu& v = *vcpus_[i];
    v.thread_ = &of.host().add_thread(
        "CPU " + std::to_string(i) + "/KVM", [&v](thread&) { return v.run(); }, code::vcpu_enter_guest,
        i < config_.affinity.size() ? config_.affinity[i] : std::vector<unsigned>{});
    v.thread_->notifier = &v;
    v.thread_->extended_state = true;
    v.thread_->address_space = number + 1;
  }
  vcpus_[0]->state_ = vcpu::mp_state::runnable;
  config_.affinity = {};  // the threads have it
}

vcpu::vcpu(virtual_machine& of, unsigned index)
    : vm_{of},
      index_{index},
      apic_{index, index == 0, of.hypervisor().host().hardware().config().timer_clock},
      vmcs_{of.hypervisor().host().memory().take(4096, 4096)},
      line_{&of.hypervisor().host().hardware().physical().word_at(of.hypervisor().host().memory().take(64, 64))},
      window_{ple_window_era::vmx, of.hypervisor().config().ple_window} {
  apic_.enter_x2apic();
  const timer_advance_rules& advance = of.hypervisor().config().timer_advance;
  if (advance.how != timer_advance_rules::kind::off) advance_ = std::make_unique<timer_advance>(advance);
}

}  // namespace vmxsys::models
