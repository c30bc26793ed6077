#include "detail/guest_apic.hpp"

#include <utility>

#include <vmxsys/apic/virtualization/guest_timer.hpp>
#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "detail/guest_apic_view.hpp"

// What of a guest's local APIC takes no steps of its own: entry and exit, boundaries, accesses.
namespace vmxsys::cpu {

void guest_apic::enter(bool trap_pending, cycles now) {
  if (!held_) held_ = std::make_unique<held>();
  view on{core_, *held_};
  apic::at_entry(on.a);
  if (trap_pending) held_->trap = apic::traps(vmx::exit_reason::tpr_below_threshold, 0).trap;
  timers_.set_deadline_due(apic::guest_timer_due(core_.registers.guest_deadline, now.count()));
  if (core_.registers.guest_deadline != 0) timers_.arm(now);
  note_work();
}

void guest_apic::leave() {
  if (!held_) return;
  apic::at_exit(core_.current_vmcs(), held_->state);
  held_->trap.reset();
  work_ = false;
}

/// What a virtualized access has set in motion. Posting takes its time: `begin_sending` sees to every IPI.
void guest_apic::note_result(const apic::virtualization_result& result) {
  if (result.posted) throw invariant_error("a guest's IPI is posted in no time", core_.time.now());
  if (result.trap) held_->trap = result.trap;
  note_work();
}

// -- boundaries -------------------------------------------------------------------------------------------------------

void guest_apic::add_work(vmx::boundary_state& s) const {
  s.trap_like_exit = held_->trap.has_value();
  s.virtual_interrupt = held_->state.recognized;
}

vmx::exit_info guest_apic::take_trap() { return *std::exchange(held_->trap, std::nullopt); }

std::uint8_t guest_apic::deliver(cycles now) {
  view on{core_, *held_};
  const std::uint8_t vector = apic::deliver(on.a);
  note_work();
  core_.cause = core_.record(now, virtual_interrupt_fact{vector, held_->state.rvi}, core_.cause);
  return vector;
}

// -- accesses ---------------------------------------------------------------------------------------------------------

void guest_apic::state_access(std::uint16_t offset, bool write, std::uint64_t value, cycles now) {
  core_.record(now, virtual_apic_access_fact{offset, static_cast<std::uint8_t>(write), value});
}

void guest_apic::access_cr8(system_instruction& i, cycles now) {
  view on{core_, *held_};
  const bool write = i.what.what == vmx::mnemonic::mov_to_cr8;
  if (write)
    note_result(apic::write_cr8(on.a, i.what.source));
  else
    i.result = apic::read_cr8(on.a);
  state_access(apic::vapic::tpr, write, write ? i.what.source << 4 : i.result << 4, now);
}

cycles guest_apic::duration_of_cr8(bool write) const {
  const apic_costs& cost = core_.costs.apic;
  return write ? cost.virtual_write + cost.tpr_virtualization : cost.virtual_read;
}

void guest_apic::access_deadline(instruction& i, cycles now) {
  vmx::vmcs& v = core_.current_vmcs();
  if (i.code == opcode::rdmsr) {
    i.result = apic::read_guest_deadline(v);
    return;
  }
  const apic::guest_timer_state state = apic::write_guest_deadline(v, core_.registers.guest_deadline, i.b, now.count());
  timers_.set_deadline_due(state == apic::guest_timer_state::due);
  if (timers_.deadline_due()) core_.cause = core_.record(now, timer_fired_fact{2});
  timers_.arm(now);
}

apic::x2apic_verdict guest_apic::access_msr(instruction& i, cycles now) {
  view on{core_, *held_};
  const auto number = static_cast<std::uint32_t>(i.a);
  const bool write = i.code == opcode::wrmsr;
  const apic::x2apic_outcome o = write ? apic::write_x2apic(on.a, number, i.b) : apic::read_x2apic(on.a, number);
  if (o.verdict != apic::x2apic_verdict::virtualized) return o.verdict;
  if (write)
    note_result(o.result);
  else
    i.result = o.value;
  state_access(apic::offset_of(number), write, write ? i.b : i.result, now);
  return o.verdict;
}

cycles guest_apic::duration_of_msr(const instruction& i, vmx::instruction_effect effect, cycles lookup) const {
  const instruction_costs& plain = core_.costs.instruction;
  const auto number = static_cast<std::uint32_t>(i.a);
  const bool write = i.code == opcode::wrmsr;
  const cycles native = !write ? plain.rdmsr : apic::is_x2apic_msr(number) ? plain.wrmsr_x2apic : plain.wrmsr;
  if (!core_.in_guest) return native;
  const apic_costs& cost = core_.costs.apic;
  if (effect == vmx::instruction_effect::apic_timer) return cost.guest_deadline + lookup;
  if (effect != vmx::instruction_effect::virtual_x2apic) return native + lookup;
  switch (apic::find_x2apic_rule(apic::apic_controls_of(core_.current_vmcs()), number, write).effect) {
    case apic::x2apic_effect::native:
      return native + lookup;
    case apic::x2apic_effect::read:
      return cost.virtual_read + lookup;
    case apic::x2apic_effect::tpr:
      return cost.virtual_write + cost.tpr_virtualization + lookup;
    case apic::x2apic_effect::eoi:
      return cost.virtual_write + cost.eoi_virtualization + lookup;
    case apic::x2apic_effect::self_ipi:
      return cost.virtual_write + cost.self_ipi_virtualization + lookup;
    case apic::x2apic_effect::ipi:
      break;
  }
  return cost.virtual_write + lookup;  // what IPI virtualization adds, its steps take
}

namespace {
apic::apic_access page_access_of(const instruction& i) {
  apic::apic_access access;
  access.offset = static_cast<std::uint16_t>(i.a & 0xFFF);
  access.bytes = i.size;
  access.write = i.code == opcode::mmio_write;
  return access;
}

bool stores_command(const apic::apic_access& access) {
  return access.write && (access.offset & ~3u) == apic::vapic::icr_low;
}

/// VICR_LO as a store into it leaves it: what is not stored stays.
std::uint32_t command_after(const apic::virtual_apic_page& page, const apic::apic_access& access, std::uint64_t data) {
  const unsigned shift = 8 * (access.offset & 3u);
  const std::uint64_t stored = (~std::uint64_t{0} >> (64 - 8 * access.bytes)) << shift;
  return static_cast<std::uint32_t>((page.read_32(apic::vapic::icr_low) & ~stored) | (data << shift & stored));
}
}  // namespace

bool guest_apic::goes_to_access_page(const instruction& i) const {
  return core_.in_guest && apic::in_apic_access_page(core_.current_vmcs(), i.a);
}

std::optional<vmx::exit_info> guest_apic::page_access_exit(const instruction& i) const {
  if (!goes_to_access_page(i)) return std::nullopt;
  const apic::apic_access_outcome o = apic::decide(core_.current_vmcs(), page_access_of(i));
  if (o.verdict != apic::apic_access_verdict::vm_exit) return std::nullopt;
  return apic::apic_access_exit(o);
}

void guest_apic::access_page(instruction& i, cycles now) {
  view on{core_, *held_};
  const apic::apic_access access = page_access_of(i);
  if (access.write)
    note_result(apic::write_virtual_apic(on.a, access, static_cast<std::uint32_t>(i.b)));
  else
    i.result = apic::read_virtual_apic(on.a, access);
  state_access(access.offset, access.write, access.write ? i.b : i.result, now);
}

cycles guest_apic::duration_of_mmio(const instruction& i) const {
  const bool write = i.code == opcode::mmio_write;
  const apic_costs& cost = core_.costs.apic;
  if (goes_to_access_page(i)) {
    if (!write) return cost.virtual_read;
    const apic::apic_access access = page_access_of(i);
    const apic::apic_page_rule* rule = apic::find_apic_page_rule(access.offset);
    switch (rule == nullptr ? apic::write_emulation::none : rule->emulation) {
      case apic::write_emulation::tpr:
        return cost.virtual_write + cost.tpr_virtualization;
      case apic::write_emulation::eoi:
        return cost.virtual_write + cost.eoi_virtualization;
      case apic::write_emulation::icr_low: {
        const apic::apic_controls controls = apic::apic_controls_of(core_.current_vmcs());
        const apic::virtual_apic_page page{core_.physical, core_.current_vmcs()};
        const bool self =
            apic::route_of(command_after(page, access, i.b), false,
                           apic::has(controls, apic::apic_control::interrupt_delivery),
                           apic::has(controls, apic::apic_control::ipi_virtualization)) == apic::icr_route::self_ipi;
        return self ? cost.virtual_write + cost.self_ipi_virtualization : cost.virtual_write;
      }
      default:
        return cost.virtual_write;
    }
  }
  if (core_.local_apic.covers(i.a)) return cost.mmio;
  return write ? core_.costs.instruction.store : core_.costs.instruction.load;
}

// -- IPI virtualization: its beginning, which is an access ------------------------------------------------------------

bool guest_apic::begin_sending(instruction& i, vmx::instruction_effect effect, cycles now) {
  if (!core_.in_guest || !held_) return false;
  const vmx::vmcs& v = core_.current_vmcs();
  if ((vmx::tertiary_controls(v) & vmx::tertiary::ipi_virtualization) == 0) return false;
  const apic::apic_controls controls = apic::apic_controls_of(v);
  const bool vid = apic::has(controls, apic::apic_control::interrupt_delivery);
  view on{core_, *held_};
  auto low = static_cast<std::uint32_t>(i.b);
  std::uint32_t destination = 0;
  if (i.code == opcode::wrmsr) {
    if (effect != vmx::instruction_effect::virtual_x2apic) return false;
    const apic::x2apic_rule& rule = apic::find_x2apic_rule(controls, static_cast<std::uint32_t>(i.a), true);
    if (rule.effect != apic::x2apic_effect::ipi || (i.b & rule.must_be_zero) != 0) return false;
    destination = static_cast<std::uint32_t>(i.b >> 32);
  } else {
    if (!goes_to_access_page(i) || !stores_command(page_access_of(i))) return false;
    low = command_after(on.a.page(), page_access_of(i), i.b);
    destination = on.a.page().read_32(apic::vapic::icr_high) >> 24;
  }
  if (apic::route_of(low, i.code == opcode::wrmsr, vid, true) != apic::icr_route::ipi) return false;
  const auto vector = static_cast<std::uint8_t>(low);
  const apic::ipi_target target =
      apic::find_target(v, core_.physical, vector, destination, core_.caps.physical_address_width);
  if (target.obstacle != apic::ipi_obstacle::none) return false;

  if (i.code == opcode::wrmsr)
    on.a.page().write_64(apic::vapic::icr_low, i.b);
  else
    on.a.page().write_32(apic::vapic::icr_low, low);
  state_access(i.code == opcode::wrmsr ? apic::vapic::icr_low : page_access_of(i).offset, true, i.b, now);
  held_->sending = {ipi_step::look_up, vector, target.descriptor, std::nullopt, core_.cause};
  take_time(core_.costs.apic.pid_table, cpu_activity::sending, now, phase::read);
  return true;
}

}  // namespace vmxsys::cpu
