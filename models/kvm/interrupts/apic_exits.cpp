#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kvm/detail/exit_handlers.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/detail/posted_run.hpp>
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>

// Accesses of a guest to its local APIC that exit, other than by RDMSR and WRMSR.
namespace vmxsys::models {

namespace isa = cpu::isa;
using cpu::gpr;

namespace {

constexpr std::uint64_t offset_bits = 0xFFF;
constexpr std::uint64_t access_type_shift = 12;
constexpr std::uint64_t linear_write = 1;  // SDM Vol. 3C table 30-6
constexpr std::uint32_t mmio_length = 3;   // MOV between a register and memory

}  // namespace

// The instruction is fetched and emulated, but for an EOI, for which its operand does not matter.
cpu::program handle_apic_access(vcpu& v, const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_apic_access);
  const auto offset = static_cast<std::uint32_t>(exit.qualification & offset_bits);
  const bool write = (exit.qualification >> access_type_shift & 0xF) == linear_write;
  const bool eoi = write && offset == apic::page::eoi;
  co_await isa::compute(eoi ? v.hypervisor().costs().apic_eoi : v.hypervisor().costs().emulate_mmio);
  const cycles now = v.host().hardware().time().now();
  virtual_lapic& lapic = v.lapic();
  std::uint64_t& rax = v.guest().reg(gpr::rax);
  const apic::register_outcome outcome =
      write ? lapic.registers().write_page(offset, 4, rax, now) : lapic.registers().read_page(offset, 4, now);
  // Where interrupts are posted the processor keeps PPR, and what it is made of.
  const bool kept_by_processor = lapic.posts() && offset == apic::page::ppr;
  if (!write) rax = kept_by_processor ? lapic.memory().page.vppr() : outcome.value;
  co_await act_on(v, outcome);
  co_await v.skip_instruction(mmio_length);
}

// The processor has written the page and is past the instruction (kvm_apic_write_nodecode).
cpu::program handle_apic_write(vcpu& v, const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_apic_write);
  co_await isa::compute(v.hypervisor().costs().apic_write);
  const auto offset = static_cast<std::uint16_t>(exit.qualification & 0xFF0);
  const cycles now = v.host().hardware().time().now();
  apic::local_apic& registers = v.lapic().registers();
  apic::virtual_apic_page& page = v.lapic().memory().page;
  const std::uint32_t msr = apic::number_of(offset);
  apic::register_outcome outcome;
  if (registers.mode() == apic::apic_mode::x2apic) {
    outcome =
        registers.write_msr(msr, offset == apic::page::icr_low ? page.read_64(offset) : page.read_32(offset), now);
  } else {
    if (offset == apic::page::icr_low)  // its other half was written without an exit
      registers.write_page(apic::page::icr_high, 4, page.read_32(apic::page::icr_high), now);
    outcome = registers.write_page(offset, 4, page.read_32(offset), now);
  }
  if (offset != apic::page::icr_low) v.lapic().show(msr);
  if (msr == apic::msr::lvt_timer) co_await v.hypervisor().timers().configured(v);
  co_await act_on(v, outcome);
}

// handle_apic_eoi_induced: the processor has ended the interrupt; the I/O APIC that raised it has to learn of that.
cpu::program handle_virtualized_eoi(vcpu& v, const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_apic_eoi_induced);
  co_await isa::compute(v.hypervisor().costs().eoi_induced);
  virtual_machine& vm = v.vm();
  if (vm.on_eoi) co_await vm.on_eoi(v.index(), static_cast<std::uint8_t>(exit.qualification));
}

cpu::program act_on(vcpu& v, const apic::register_outcome& outcome) {
  if (outcome.timer_rearmed) co_await v.hypervisor().timers().rearmed(v);
  if (outcome.ipi) co_await send_interrupts(v, *outcome.ipi);
  virtual_machine& vm = v.vm();
  if (outcome.eoi && vm.on_eoi) co_await vm.on_eoi(v.index(), outcome.eoi->vector);
  if (v.posts()) co_await deliver_accepted(v);
}

}  // namespace vmxsys::models
