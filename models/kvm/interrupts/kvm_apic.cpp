#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>

// Accesses of a guest to its local APIC that exit, other than by RDMSR and WRMSR.
namespace vmxsys::models {

namespace isa = cpu::isa;
using cpu::gpr;
using vmx::field;

namespace {

constexpr std::uint64_t offset_bits = 0xFFF;
constexpr std::uint64_t access_type_shift = 12;
constexpr std::uint64_t linear_write = 1;  // SDM Vol. 3C table 30-6
constexpr std::uint32_t mmio_length = 3;   // MOV between a register and memory

}  // namespace

// handle_apic_access: the instruction is fetched and emulated, but for an EOI, which is the same whoever writes it how.
cpu::program vcpu::handle_apic_access(const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_apic_access);
  const auto offset = static_cast<std::uint32_t>(exit.qualification & offset_bits);
  const bool write = (exit.qualification >> access_type_shift & 0xF) == linear_write;
  const bool eoi = write && offset == apic::page::eoi;
  co_await isa::compute(eoi ? vm_.kvm_.costs().apic_write : vm_.kvm_.costs().emulate_mmio);
  const cycles now = vm_.kvm_.host_.hardware().time().now();
  const apic::register_outcome outcome =
      write ? apic_.write_page(offset, 4, guest_->reg(gpr::rax), now) : apic_.read_page(offset, 4, now);
  // Where interrupts are posted the processor keeps PPR, and what it is made of.
  const bool kept_by_processor = posts() && offset == apic::page::ppr;
  if (!write) guest_->reg(gpr::rax) = kept_by_processor ? virtual_apic_->page.vppr() : outcome.value;
  co_await act_on(outcome);
  co_await skip_instruction(mmio_length);
}

// handle_apic_write: the processor has written the page and is past the instruction (kvm_apic_write_nodecode).
cpu::program vcpu::handle_apic_write(const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_apic_write);
  co_await isa::compute(vm_.kvm_.costs().apic_write);
  const auto offset = static_cast<std::uint16_t>(exit.qualification & 0xFF0);
  const cycles now = vm_.kvm_.host_.hardware().time().now();
  apic::virtual_apic_page& page = virtual_apic_->page;
  const std::uint32_t msr = apic::number_of(offset);
  apic::register_outcome outcome;
  if (apic_.mode() == apic::apic_mode::x2apic) {
    outcome = apic_.write_msr(msr, offset == apic::page::icr_low ? page.read_64(offset) : page.read_32(offset), now);
  } else {
    if (offset == apic::page::icr_low)  // its other half was written without an exit
      apic_.write_page(apic::page::icr_high, 4, page.read_32(apic::page::icr_high), now);
    outcome = apic_.write_page(offset, 4, page.read_32(offset), now);
  }
  if (offset != apic::page::icr_low) show_register(msr);
  if (msr == apic::msr::lvt_timer) co_await vm_.kvm_.timers_->configured(*this);
  co_await act_on(outcome);
}

// handle_apic_eoi_induced: the processor has done all but tell whoever raised the interrupt.
cpu::program vcpu::handle_virtualized_eoi(const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_apic_eoi_induced);
  co_await isa::compute(vm_.kvm_.costs().apic_write);
  if (vm_.on_eoi) co_await vm_.on_eoi(index_, static_cast<std::uint8_t>(exit.qualification));
}

bool vcpu::eoi_exits_changed() const { return posts() && virtual_apic_->eoi_exits_version != vm_.eoi_exits_version_; }

// vmx_load_eoi_exitmap
cpu::program vcpu::load_eoi_exits() {
  virtual_apic_->eoi_exits_version = vm_.eoi_exits_version_;
  const std::array<std::uint64_t, 4> wanted = vm_.eoi_exits_;  // others may add to them in between
  co_await isa::vmwrite(field::eoi_exit_bitmap_0, wanted[0]);
  co_await isa::vmwrite(field::eoi_exit_bitmap_1, wanted[1]);
  co_await isa::vmwrite(field::eoi_exit_bitmap_2, wanted[2]);
  co_await isa::vmwrite(field::eoi_exit_bitmap_3, wanted[3]);
}

cpu::program virtual_machine::raise_level_triggered(unsigned vcpu, std::uint8_t vector) {
  models::vcpu& target = *vcpus_.at(vcpu);
  const std::uint64_t bit = std::uint64_t{1} << (vector & 63);
  if ((eoi_exits_[vector >> 6] & bit) == 0) {
    eoi_exits_[vector >> 6] |= bit;
    ++eoi_exits_version_;
  }
  if (target.eoi_exits_changed()) co_await target.kick();
  co_await kvm_.path_->accept_level_triggered(target, vector);
}

// update_cr8_intercept: the guest leaves when its TPR lets the highest request through.
std::uint8_t vcpu::wanted_tpr_threshold() const {
  const int highest = apic_.requests().highest();
  const int tpr = virtual_apic_->page.vtpr() >> 4;
  return highest < 0 || highest >> 4 > tpr ? std::uint8_t{0} : static_cast<std::uint8_t>(highest >> 4);
}

cpu::program vcpu::update_tpr_threshold() {
  const std::uint8_t threshold = wanted_tpr_threshold();
  if (threshold == virtual_apic_->tpr_threshold) co_return;
  virtual_apic_->tpr_threshold = threshold;
  co_await isa::vmwrite(field::tpr_threshold, threshold);
}

// A register by its number in the x2APIC map, whatever mode the guest has its APIC in.
apic::register_outcome vcpu::read_register(std::uint32_t msr) {
  const cycles now = vm_.kvm_.host_.hardware().time().now();
  return apic_.mode() == apic::apic_mode::x2apic ? apic_.read_msr(msr, now)
                                                 : apic_.read_page(apic::offset_of(msr), 4, now);
}

// The processor answers reads from the page, so that what is emulated has to stand there, too.
void vcpu::show_register(std::uint32_t msr) {
  const apic::register_outcome seen = read_register(msr);
  if (seen.fault) return;
  if (msr == apic::msr::icr && apic_.mode() == apic::apic_mode::x2apic) {
    virtual_apic_->page.write_64(apic::offset_of(msr), seen.value);  // the destination follows at 304H
  } else {
    virtual_apic_->page.write_32(apic::offset_of(msr), static_cast<std::uint32_t>(seen.value));
  }
}

void vcpu::show_registers() {
  for (const std::uint32_t msr :
       {apic::msr::id, apic::msr::version, apic::msr::ldr, apic::number_of(apic::page::dfr), apic::msr::svr,
        apic::msr::esr, apic::msr::lvt_cmci, apic::msr::lvt_timer, apic::msr::lvt_thermal, apic::msr::lvt_performance,
        apic::msr::lvt_lint0, apic::msr::lvt_lint1, apic::msr::lvt_error, apic::msr::initial_count,
        apic::msr::divide_configuration})
    show_register(msr);
}

}  // namespace vmxsys::models
