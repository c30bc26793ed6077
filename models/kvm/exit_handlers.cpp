#include "detail/exit_handlers.hpp"

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>

#include "detail/kvm_code.hpp"
#include "kvm.hpp"
#include "kvm_facts.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;
using cpu::gpr;
using vmx::field;

namespace {

cpu::program handle_external_interrupt(vcpu& v, const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_external_interrupt);
  co_await v.host().handle_irq(static_cast<std::uint8_t>(exit.interruption_information));
}

cpu::program handle_hlt(vcpu& v) {
  auto here = co_await isa::in(code::kvm_vcpu_block);
  co_await isa::compute(v.hypervisor().costs().emulate_hlt);
  co_await v.skip_instruction(1);
  const std::uint64_t rflags = co_await isa::vmread(field::guest_rflags);
  v.halt((rflags & vmx::rflags_bits::interrupt_flag) != 0);
}

// CR8 only: no other access of a control register is made to exit.
cpu::program handle_cr(vcpu& v, const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_cr);
  co_await isa::compute(v.hypervisor().costs().emulate_msr);
  const vmx::qualification::cr_access access = vmx::qualification::decode_cr_access(exit.qualification);
  std::uint64_t& operand = v.guest().reg(access.gpr);
  if (access.type == vmx::qualification::cr_access_type::mov_from_cr) {
    operand = v.lapic().registers().cr8();
  } else if (operand > 15) {
    throw cpu::invariant_error("a guest writes " + std::to_string(operand) + " to CR8: KVM does not emulate #GP yet",
                               v.host().hardware().time().now());
  } else {
    v.lapic().registers().set_cr8(static_cast<std::uint8_t>(operand));
  }
  co_await v.skip_instruction(exit.instruction_length);
}

cpu::program handle_cpuid(vcpu& v) {
  auto here = co_await isa::in(code::kvm_emulate_cpuid);
  co_await isa::compute(v.hypervisor().costs().emulate_cpuid);
  cpu::strand& guest = v.guest();
  guest.reg(gpr::rax) = guest.reg(gpr::rbx) = guest.reg(gpr::rcx) = guest.reg(gpr::rdx) = 0;
  co_await v.skip_instruction(2);
}

cpu::program handle_msr(vcpu& v, bool write) {
  auto here = co_await isa::in(code::kvm_emulate_wrmsr);
  co_await isa::compute(v.hypervisor().costs().emulate_msr);
  cpu::strand& guest = v.guest();
  apic::local_apic& registers = v.lapic().registers();
  const auto msr = static_cast<std::uint32_t>(guest.reg(gpr::rcx));
  const cycles now = v.host().hardware().time().now();
  apic::register_outcome outcome;
  if (apic::local_apic::handles(msr)) {
    outcome = write ? registers.write_msr(msr, guest.reg(gpr::rdx) << 32 | (guest.reg(gpr::rax) & 0xFFFFFFFF), now)
                    : registers.read_msr(msr, now);
  } else {
    outcome = apic::register_outcome::general_protection();
  }
  if (outcome.fault)
    throw cpu::invariant_error("a guest accesses MSR " + std::to_string(msr) + ", which KVM does not emulate yet", now);
  if (!write) {
    guest.reg(gpr::rax) = outcome.value & 0xFFFFFFFF;
    guest.reg(gpr::rdx) = outcome.value >> 32;
  }
  if (write && v.lapic().has_page() && apic::is_x2apic_msr(msr)) {
    v.lapic().show(msr);
    if (msr == apic::msr::lvt_timer) co_await v.hypervisor().timers().configured(v);
  }
  co_await act_on(v, outcome);
  co_await v.skip_instruction(2);
}

}  // namespace

cpu::program announce_exit(vcpu& v, const vmx::exit_info& exit) {
  kernel& host = v.host();
  const unsigned cpu = host.index_of(co_await isa::this_cpu());
  host.record(
      cpu,
      kvm_exit_fact{v.id().vm, v.id().vcpu, static_cast<std::uint16_t>(cpu), v.thread().pid, exit.reason,
                    v.loaded_vmcs().peek()->read(field::guest_rip), exit.qualification, exit.interruption_information},
      v.thread().strand.on_cpu()->last_cause());
  co_await host.trace();
}

cpu::program handle_exit(vcpu& v, const vmx::exit_info& exit) {
  co_await isa::compute(v.hypervisor().costs().exit_dispatch);
  // With interrupts still off: the interrupt that the exit acknowledged.
  if (exit.reason == vmx::exit_reason::external_interrupt) co_await handle_external_interrupt(v, exit);
  co_await isa::sti();
  switch (exit.reason) {
    case vmx::exit_reason::external_interrupt:
      break;
    case vmx::exit_reason::pause:
      co_await handle_pause(v);
      break;
    case vmx::exit_reason::hlt:
      co_await handle_hlt(v);
      break;
    case vmx::exit_reason::rdmsr:
      co_await handle_msr(v, false);
      break;
    case vmx::exit_reason::wrmsr:
      co_await handle_msr(v, true);
      break;
    case vmx::exit_reason::control_register_access:
      co_await handle_cr(v, exit);
      break;
    case vmx::exit_reason::cpuid:
      co_await handle_cpuid(v);
      break;
    case vmx::exit_reason::vmcall:
      co_await handle_hypercall(v);
      break;
    case vmx::exit_reason::preemption_timer:
      co_await handle_preemption_timer(v);
      break;
    case vmx::exit_reason::interrupt_window:
      co_await v.loaded_vmcs().set_window_exiting(false);
      break;
    case vmx::exit_reason::tpr_below_threshold:
      break;  // the next entry looks what may be injected now
    case vmx::exit_reason::apic_access:
      co_await handle_apic_access(v, exit);
      break;
    case vmx::exit_reason::apic_write:
      co_await handle_apic_write(v, exit);
      break;
    case vmx::exit_reason::virtualized_eoi:
      co_await handle_virtualized_eoi(v, exit);
      break;
    default:
      throw cpu::invariant_error(std::string{"KVM has no handler for the exit '"} + vmx::name_of(exit.reason) + "'",
                                 v.host().hardware().time().now());
  }
}

}  // namespace vmxsys::models
