#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/models/kvm/detail/exit_handlers.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

// An ICR write of a guest that KVM emulates: which vCPUs it addresses, and what each of them gets.
namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

const char* word_for(apic::delivery_mode mode) {
  switch (mode) {
    case apic::delivery_mode::smi:
      return "an SMI";
    case apic::delivery_mode::nmi:
      return "an NMI";
    case apic::delivery_mode::init:
      return "an INIT";
    default:
      return "an interrupt of another kind";
  }
}

// kvm_vector_to_index: of the vCPUs that a lowest-priority interrupt addresses, its vector chooses one (vector_hashing,
// the default). nullptr if there is none that is enabled.
vcpu* choose_by_vector(vcpu& from, const apic::interrupt_command& command) {
  std::vector<vcpu*> addressed;
  for (unsigned i = 0; i < from.vm().vcpus(); ++i) {
    vcpu& target = from.vm().cpu(i);
    const apic::local_apic& registers = target.lapic().registers();
    if (registers.software_enabled() && apic::addresses(command, from.index(), registers.address()))
      addressed.push_back(&target);
  }
  return addressed.empty() ? nullptr : addressed[command.vector % addressed.size()];
}

cpu::program deliver(vcpu& from, vcpu& target, std::uint8_t vector) {
  const cycles now = from.host().hardware().time().now();
  from.note_ipi_to(target.index(), now);
  target.note_ipi_from(from.index(), now);
  return from.hypervisor().path().accept(target, vector);
}

}  // namespace

cpu::program send_interrupts(vcpu& from, const apic::interrupt_command& command) {
  const apic::interrupt_command sent = command;
  virtual_machine& vm = from.vm();
  const kvm& k = vm.hypervisor();
  if (sent.mode == apic::delivery_mode::lowest_priority) {
    vcpu* chosen = choose_by_vector(from, sent);
    co_await isa::compute(k.costs().apic_send);
    if (chosen != nullptr) co_await deliver(from, *chosen, sent.vector);
    co_return;
  }
  for (unsigned i = 0; i < vm.vcpus(); ++i) {
    vcpu& target = vm.cpu(i);
    if (!apic::addresses(sent, from.index(), target.lapic().registers().address())) continue;
    co_await isa::compute(k.costs().apic_send);
    switch (sent.mode) {
      case apic::delivery_mode::fixed:
        co_await deliver(from, target, sent.vector);
        continue;
      case apic::delivery_mode::startup:
        if (target.started()) continue;
        target.start();
        break;
      default:
        if (sent.mode == apic::delivery_mode::init && !target.started()) continue;
        throw cpu::invariant_error("vCPU " + std::to_string(from.index()) + " of '" + vm.name() + "' sends " +
                                       word_for(sent.mode) + " to vCPU " + std::to_string(i) +
                                       ", which runs: KVM does not emulate that yet",
                                   vm.hypervisor().host().hardware().time().now());
    }
    if (&target != &from) co_await target.kick();
  }
}

}  // namespace vmxsys::models
