#include "kvm.hpp"

#include <stdexcept>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/models/kvm/interrupts/msr_bitmap.hpp>

#include "detail/kvm_code.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

void require(const char* what, const std::string& name, std::span<const required_control> needed,
             const vmx::capabilities& caps) {
  if (const vmx::control_info* missing = first_missing(needed, caps))
    throw std::invalid_argument(std::string{what} + " '" + name + "' needs \"" + missing->name +
                                "\", which the processor does not have");
}

std::unique_ptr<interrupt_path> make_path(const std::string& name, const vmx::capabilities& caps) {
  const interrupt_path_entry* found = find_interrupt_path(name);
  if (found == nullptr) throw std::invalid_argument("unknown interrupt path '" + name + "'");
  require("interrupt path", name, found->needs, caps);
  return found->make();
}

std::unique_ptr<timer_backend> make_timers(const std::string& name, const vmx::capabilities& caps,
                                           const interrupt_path& path) {
  const timer_backend_entry* found = find_timer_backend(name);
  if (found == nullptr) throw std::invalid_argument("unknown timer backend '" + name + "'");
  require("timer backend", name, found->needs, caps);
  if (found->needs_posting && !path.posts())
    throw std::invalid_argument("timer backend '" + name + "' needs an interrupt path that posts, not '" + path.name() +
                                "'");
  return found->make();
}

}  // namespace

kvm::kvm(kernel& host, kvm_config config)
    : host_{host},
      config_{std::move(config)},
      policy_{config_.make_policy ? config_.make_policy() : make_spin_policy(config_.spin_policy)},
      path_{make_path(config_.interrupt_path, host.hardware().config().capabilities)},
      timers_{make_timers(config_.timer_backend, host.hardware().config().capabilities, *path_)} {
  if (!policy_)
    throw std::invalid_argument(config_.make_policy ? "make_policy made no spin policy"
                                                    : "unknown spin policy '" + config_.spin_policy + "'");
  for (unsigned i = 0; i < host.cpus(); ++i) vmxon_regions_.push_back(host.memory().take(4096, 4096));
  current_vmcs_.assign(host.cpus(), 0);
  msr_bitmap_ = host.memory().take(4096, 4096);
  msr_bitmap{host.hardware().physical(), msr_bitmap_}.intercept_all();
  host.on_cpu_up = [this](unsigned cpu) { return enable_on(cpu); };
  host.on_vector = [this](unsigned cpu, std::uint8_t vector) { return host_interrupt(cpu, vector); };
  if (!path_->posts()) return;
  if (config_.housekeeping_cpu >= host.cpus()) throw std::invalid_argument("the host has no such housekeeping CPU");
  running_.assign(host.cpus(), no_vcpu);
  waiting_.resize(host.cpus());
  for (waiters& w : waiting_) w.lock = host.make_lock();
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
    v.thread_->entity->group = number + 1;
  }
  of.path().prepare(*this);
  vcpus_[0]->state_ = vcpu::mp_state::runnable;
  config_.affinity = {};  // the threads have it
}

apic::remapping_entry virtual_machine::connect_device_interrupt(unsigned vcpu, std::uint8_t vector, bool bypass,
                                                                unsigned host_cpu) {
  models::vcpu& target = *vcpus_.at(vcpu);
  apic::remapping_entry entry;
  entry.present = true;
  if (bypass && target.posts()) {
    devices_post_ = true;
    entry.posted = true;
    entry.vector = vector;
    entry.descriptor = target.virtual_apic_->descriptor;
    return entry;
  }
  if (kvm_.device_interrupts_.size() == kvm::device_vectors)
    throw std::length_error("the host has no vector left for a device");
  entry.vector = static_cast<std::uint8_t>(kvm::first_device_vector + kvm_.device_interrupts_.size());
  entry.destination = kvm_.host_.apic_mode() == apic::apic_mode::xapic ? host_cpu << 8 : host_cpu;
  kvm_.device_interrupts_.push_back({&target, vector});
  return entry;
}

vcpu::vcpu(virtual_machine& of, unsigned index)
    : vm_{of},
      index_{index},
      apic_{index, index == 0, of.hypervisor().host().hardware().config().timer_clock},
      vmcs_{of.hypervisor().host().memory().take(4096, 4096)},
      line_{&of.hypervisor().host().hardware().physical().word_at(of.hypervisor().host().memory().take(64, 64))},
      window_{ple_window_era::vmx, of.hypervisor().config().ple_window} {
  kvm& k = of.hypervisor();
  const bool x2apic = of.apic_mode() == apic::apic_mode::x2apic;
  if (x2apic) apic_.enter_x2apic();
  if (k.path_->posts() || !x2apic) make_virtual_apic();
  const timer_advance_rules& advance = of.hypervisor().config().timer_advance;
  if (advance.how != timer_advance_rules::kind::off) advance_ = std::make_unique<timer_advance>(advance);
}

void vcpu::make_virtual_apic() {
  kvm& k = vm_.kvm_;
  cpu::memory& memory = k.host_.hardware().physical();
  const physical_address page = k.host_.memory().take(4096, 4096);
  virtual_apic_ = std::make_unique<virtual_apic_memory>(virtual_apic_memory{.page = {memory, page}});
  virtual_apic_memory& m = *virtual_apic_;
  show_registers();
  if (!k.path_->posts()) return;
  namespace layout = apic::posted_interrupt_descriptor;
  m.number = static_cast<std::uint16_t>(k.numbered_.size());
  k.numbered_.push_back(this);
  m.descriptor = k.host_.memory().take(layout::bytes, layout::bytes);
  for (unsigned w = 0; w < layout::pir_words; ++w) m.pir[w] = &memory.word_at(layout::pir_word(m.descriptor, w));
  m.info = &memory.word_at(m.descriptor + layout::information);
  m.info->initialise(apic::encode(apic::descriptor_info{false, true, posting_vector::notification, 0}));
  m.mode = &memory.word_at(k.host_.memory().take(64, 64));
}

}  // namespace vmxsys::models
