#include "virtual_machine.hpp"

#include <utility>

#include <vmxsys/models/kvm/interrupts/msr_bitmap.hpp>

#include "kvm.hpp"

namespace vmxsys::models {

virtual_machine::virtual_machine(kvm& of, unsigned number, virtual_machine_config config)
    : kvm_{of},
      number_{number},
      config_{std::move(config)},
      spin_state_{of.policy().make_vm_state(config_.vcpus)},
      halt_state_{of.halts().make_vm_state(config_.vcpus)} {
  for (unsigned i = 0; i < config_.vcpus; ++i) vcpus_.push_back(std::make_unique<vcpu>(*this, i));
  for (unsigned i = 0; i < config_.vcpus; ++i)
    vcpus_[i]->make_thread(i < config_.affinity.size() ? config_.affinity[i] : of.affinity_of(i));
  config_.affinity = {};  // the threads have it
  for (const selection<pv_service_entry>& chosen : config_.pv) {
    services_.push_back(chosen.make());
    if (config_.guest != nullptr) services_.back()->set_up_guest(*config_.guest);
  }
  config_.pv = {};
}

pv_service* virtual_machine::service_for(std::uint64_t hypercall) const {
  for (const auto& service : services_)
    if (service->answers(hypercall)) return service.get();
  return nullptr;
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
    entry.descriptor = target.lapic().memory().descriptor;
    return entry;
  }
  entry.vector = kvm_.add_device_interrupt(target, vector);
  entry.destination = kvm_.host().apic_mode() == apic::apic_mode::xapic ? host_cpu << 8 : host_cpu;
  return entry;
}

cpu::program virtual_machine::raise_level_triggered(unsigned vcpu, std::uint8_t vector) {
  models::vcpu& target = *vcpus_.at(vcpu);
  eoi_exits_.add(vector);
  if (target.lapic().must_load(eoi_exits_)) co_await target.kick();
  co_await kvm_.path().accept_level_triggered(target, vector);
}

physical_address virtual_machine::make_msr_bitmap() {
  msr_bitmap_ = kvm_.host().memory().take(models::msr_bitmap::bytes, models::msr_bitmap::bytes);
  models::msr_bitmap{kvm_.host().hardware().physical(), msr_bitmap_}.intercept_all();
  return msr_bitmap_;
}

physical_address virtual_machine::msr_bitmap() const { return msr_bitmap_ != 0 ? msr_bitmap_ : kvm_.msr_bitmap(); }

void virtual_machine::vcpu_started() {
  if (++started_ == vcpus()) kvm_.path().all_started(*this);
}

}  // namespace vmxsys::models
