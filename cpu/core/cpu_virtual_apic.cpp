#include <algorithm>
#include <utility>

#include <vmxsys/apic/virtualization/guest_timer.hpp>
#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>
#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

#include "detail/cpu_engine.hpp"
#include "detail/guest_apic.hpp"

// The local APIC of a guest: its virtual-APIC page, virtual interrupts, posted-interrupt processing, IPI virtualization
// and the guest deadline. The rules are in apic/, here they get time, cache lines and facts.
namespace vmxsys::cpu {

using vmx::field;

/// What the rules of apic/ act on. Their writes are this CPU's, so that it has the descriptor's line afterwards.
struct cpu_engine::virtual_apic_view {
  explicit virtual_apic_view(cpu_engine& cpu)
      : memory{cpu.core_.physical, cpu.core_.number},
        a{cpu.core_.current_vmcs(), memory, cpu.guest_apic_->state, cpu.core_.caps.physical_address_width} {}
  memory_of_cpu memory;
  apic::virtual_apic a;
};

// -- entry and exit ---------------------------------------------------------------------------------------------------

/// A guest with "use TPR shadow" begins to run; `trap_pending`: the entry found TPR below the threshold. SDM Vol. 3C
/// §29.3.2.5, §29.7.7.
void cpu_engine::enter_virtual_apic(bool trap_pending, cycles now) {
  if (!guest_apic_) guest_apic_ = std::make_unique<guest_apic>();
  virtual_apic_view view{*this};
  apic::at_entry(view.a);
  if (trap_pending) guest_apic_->trap = apic::traps(vmx::exit_reason::tpr_below_threshold, 0).trap;
  guest_apic_->timer_due = apic::guest_timer_due(core_.registers.guest_deadline, now.count());
  if (core_.registers.guest_deadline != 0) arm_guest_timers(now);
  note_virtual_work();
}

/// At the beginning of an exit: RVI and SVI are saved, nothing is pending any more.
void cpu_engine::leave_virtual_apic() {
  apic::at_exit(core_.current_vmcs(), guest_apic_->state);
  guest_apic_->trap.reset();
  guest_apic_->timer_due = false;
  virtual_work_ = false;
}

void cpu_engine::note_virtual_work() {
  virtual_work_ = guest_apic_->trap.has_value() || guest_apic_->state.recognized || guest_apic_->timer_due;
}

/// What a virtualized access has set in motion. Posting takes its time: `begin_sending` sees to every IPI.
void cpu_engine::note_result(const apic::virtualization_result& result) {
  if (result.posted) throw invariant_error("a guest's IPI is posted in no time", core_.time.now());
  if (result.trap) guest_apic_->trap = result.trap;
  note_virtual_work();
}

// -- boundaries -------------------------------------------------------------------------------------------------------

bool cpu_engine::virtual_interrupt_recognized() const { return guest_apic_->state.recognized; }
bool cpu_engine::guest_timer_pending() const { return virtual_work_ && guest_apic_->timer_due; }

void cpu_engine::note_guest_timer() {
  guest_apic_->timer_due = true;
  virtual_work_ = true;
}

void cpu_engine::add_virtual_work(vmx::boundary_state& s) const {
  s.trap_like_exit = guest_apic_->trap.has_value();
  s.guest_timer = guest_apic_->timer_due;
  s.virtual_interrupt = guest_apic_->state.recognized;
}

vmx::exit_info cpu_engine::take_trap() { return *std::exchange(guest_apic_->trap, std::nullopt); }

/// SDM Vol. 3C §32.2.2.
void cpu_engine::deliver_virtual_interrupt(cycles now) {
  virtual_apic_view view{*this};
  const std::uint8_t vector = apic::deliver(view.a);
  note_virtual_work();
  core_.cause = core_.state(now, virtual_interrupt_fact{vector, guest_apic_->state.rvi}, core_.cause);
  deliver(vector, now, core_.costs.apic.deliver + core_.costs.instruction.interrupt);
}

/// The guest stops for work of the processor that nothing interrupts and no instruction is part of.
void cpu_engine::begin_virtual_processing(cycles now) {
  leave_activity(now);
  core_.account.enter(now, world::non_root, bucket::interrupt);
}

/// Back to where the guest was: HLT goes on unless something is due now.
void cpu_engine::end_virtual_processing(cycles now) {
  core_.shadow = core_.shadowed;  // no instruction has executed
  if (mtf_ == mtf_state::armed) mtf_since_ = now;
  core_.activity = cpu_activity::executing;
  if (core_.guest_activity != vmx::activity_state::active) halt(now);
}

// -- posted-interrupt processing, SDM Vol. 3C §32.6 -------------------------------------------------------------------

/// The local APIC has given out a vector. False: it is not the notification vector.
bool cpu_engine::begin_posting(std::uint8_t vector, cycles now) {
  guest_apic& g = *guest_apic_;
  g.posting = {};
  if (!g.posting.acknowledge(core_.current_vmcs(), vector)) return false;
  begin_virtual_processing(now);
  state_posting_step(apic::posting_step::acknowledge, vector, now);
  core_.run_for(core_.costs.apic.acknowledge, now, phase::read);
  core_.activity = cpu_activity::posting;
  g.acknowledging = true;
  return true;
}

void cpu_engine::state_posting_step(apic::posting_step step, std::uint16_t value, cycles now) {
  core_.cause = core_.state(now, posting_step_fact{step, value}, core_.cause);
}

/// The next step begins: when does it take effect?
void cpu_engine::issue_posting_step(cycles now) {
  const apic_costs& cost = core_.costs.apic;
  const physical_address descriptor = core_.vmx_state.current->read(field::posted_interrupt_descriptor_address);
  const auto on_descriptor = [&](cycles hit) {
    const cycles done = core_.physical.issue_exclusive_at(descriptor, core_.number, now, hit);
    core_.run_for(done - now, now, phase::effect);
  };
  switch (guest_apic_->posting.next) {
    case apic::posting_step::clear_on:
      on_descriptor(cost.clear_outstanding);
      break;
    case apic::posting_step::write_eoi:
      core_.run_for(cost.write_eoi, now, phase::read);
      break;
    case apic::posting_step::merge_pir:
      on_descriptor(cost.merge_requests);
      break;
    case apic::posting_step::raise_rvi:
      core_.run_for(cost.raise_rvi, now, phase::read);
      break;
    default:
      core_.run_for(cost.evaluate, now, phase::read);
      break;
  }
  core_.activity = cpu_activity::posting;
}

/// A step is over. True: the last one.
bool cpu_engine::continue_posting(cycles now) {
  guest_apic& g = *guest_apic_;
  if (std::exchange(g.acknowledging, false)) {
    issue_posting_step(now);
    return false;
  }
  virtual_apic_view view{*this};
  const apic::posting_step step = g.posting.next;
  std::uint16_t value = 0;
  if (step == apic::posting_step::clear_on)
    value =
        apic::read_descriptor_info(view.memory, view.a.v.read(field::posted_interrupt_descriptor_address)).outstanding;
  if (step == apic::posting_step::write_eoi)
    if (const auto eoi = core_.local_apic.end_of_interrupt()) broadcast_eoi(*eoi, now);
  g.posting.step(view.a);
  if (step == apic::posting_step::merge_pir)
    value = static_cast<std::uint16_t>(std::max<int>(g.posting.highest_posted, 0));
  if (step == apic::posting_step::raise_rvi) value = g.state.rvi;
  if (step == apic::posting_step::evaluate) value = g.state.recognized;
  state_posting_step(step, value, now);
  if (g.posting.next != apic::posting_step::done) {
    issue_posting_step(now);
    return false;
  }
  note_virtual_work();
  end_virtual_processing(now);
  return true;
}

// -- APIC-timer virtualization ----------------------------------------------------------------------------------------

void cpu_engine::begin_guest_timer_event(cycles now) {
  begin_virtual_processing(now);
  core_.run_for(core_.costs.apic.guest_timer, now, phase::read);
  core_.activity = cpu_activity::guest_timer;
}

void cpu_engine::end_guest_timer_event(cycles now) {
  virtual_apic_view view{*this};
  apic::guest_timer_event(view.a, core_.registers.guest_deadline);
  guest_apic_->timer_due = false;
  note_virtual_work();
  end_virtual_processing(now);
}

/// RDMSR and WRMSR of IA32_TSC_DEADLINE.
void cpu_engine::access_guest_deadline(instruction& i, cycles now) {
  vmx::vmcs& v = core_.current_vmcs();
  if (i.code == opcode::rdmsr) {
    i.result = apic::read_guest_deadline(v);
    return;
  }
  const apic::guest_timer_state state = apic::write_guest_deadline(v, core_.registers.guest_deadline, i.b, now.count());
  guest_apic_->timer_due = state == apic::guest_timer_state::due;
  if (guest_apic_->timer_due) core_.cause = core_.state(now, timer_fired_fact{2});
  note_virtual_work();
  arm_guest_timers(now);
}

// -- accesses to the virtual APIC -------------------------------------------------------------------------------------

void cpu_engine::state_virtual_access(std::uint16_t offset, bool write, std::uint64_t value, cycles now) {
  core_.state(now, virtual_apic_access_fact{offset, static_cast<std::uint8_t>(write), value});
}

void cpu_engine::access_virtual_cr8(system_instruction& i, cycles now) {
  virtual_apic_view view{*this};
  const bool write = i.what.what == vmx::mnemonic::mov_to_cr8;
  if (write)
    note_result(apic::write_cr8(view.a, i.what.source));
  else
    i.result = apic::read_cr8(view.a);
  state_virtual_access(apic::vapic::tpr, write, write ? i.what.source << 4 : i.result << 4, now);
}

cycles cpu_engine::duration_of_cr8(bool write) const {
  const apic_costs& cost = core_.costs.apic;
  return write ? cost.virtual_write + cost.tpr_virtualization : cost.virtual_read;
}

/// RDMSR and WRMSR of 800H to 8FFH, but for IPIs that are virtualized.
apic::x2apic_verdict cpu_engine::access_virtual_msr(instruction& i, cycles now) {
  virtual_apic_view view{*this};
  const auto number = static_cast<std::uint32_t>(i.a);
  const bool write = i.code == opcode::wrmsr;
  const apic::x2apic_outcome o = write ? apic::write_x2apic(view.a, number, i.b) : apic::read_x2apic(view.a, number);
  if (o.verdict != apic::x2apic_verdict::virtualized) return o.verdict;
  if (write)
    note_result(o.result);
  else
    i.result = o.value;
  state_virtual_access(apic::offset_of(number), write, write ? i.b : i.result, now);
  return o.verdict;
}

cycles cpu_engine::duration_of_msr(const instruction& i) const {
  const instruction_costs& plain = core_.costs.instruction;
  const auto number = static_cast<std::uint32_t>(i.a);
  const bool write = i.code == opcode::wrmsr;
  const cycles native = !write ? plain.rdmsr : apic::is_x2apic_msr(number) ? plain.wrmsr_x2apic : plain.wrmsr;
  if (!core_.in_guest) return native;
  const apic_costs& cost = core_.costs.apic;
  if (outcome_.effect == vmx::instruction_effect::apic_timer) return cost.guest_deadline + lookup_;
  if (outcome_.effect != vmx::instruction_effect::virtual_x2apic) return native + lookup_;
  switch (apic::find_x2apic_rule(apic::apic_controls_of(*core_.vmx_state.current), number, write).effect) {
    case apic::x2apic_effect::native:
      return native + lookup_;
    case apic::x2apic_effect::read:
      return cost.virtual_read + lookup_;
    case apic::x2apic_effect::tpr:
      return cost.virtual_write + cost.tpr_virtualization + lookup_;
    case apic::x2apic_effect::eoi:
      return cost.virtual_write + cost.eoi_virtualization + lookup_;
    case apic::x2apic_effect::self_ipi:
      return cost.virtual_write + cost.self_ipi_virtualization + lookup_;
    case apic::x2apic_effect::ipi:
      break;
  }
  return cost.virtual_write + lookup_;  // what IPI virtualization adds, its steps take
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

bool cpu_engine::goes_to_access_page(const instruction& i) const {
  return core_.in_guest && apic::in_apic_access_page(*core_.vmx_state.current, i.a);
}

/// A guest loads from or stores to the APIC-access page, which may exit. SDM Vol. 3C §32.4.
bool cpu_engine::page_access_exits(instruction& i, cycles now) {
  if (!goes_to_access_page(i)) return false;
  const apic::apic_access_outcome o = apic::decide(*core_.vmx_state.current, page_access_of(i));
  if (o.verdict != apic::apic_access_verdict::vm_exit) return false;
  expose_registers(i);
  begin_exit(apic::apic_access_exit(o), now);
  return true;
}

void cpu_engine::access_page(instruction& i, cycles now) {
  virtual_apic_view view{*this};
  const apic::apic_access access = page_access_of(i);
  if (access.write)
    note_result(apic::write_virtual_apic(view.a, access, static_cast<std::uint32_t>(i.b)));
  else
    i.result = apic::read_virtual_apic(view.a, access);
  state_virtual_access(access.offset, access.write, access.write ? i.b : i.result, now);
}

cycles cpu_engine::duration_of_mmio(const instruction& i) const {
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
        const apic::apic_controls controls = apic::apic_controls_of(*core_.vmx_state.current);
        const apic::virtual_apic_page page{core_.physical, *core_.vmx_state.current};
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

// -- IPI virtualization, SDM Vol. 3C §32.1.6 --------------------------------------------------------------------------

/// At the end of a write of the virtual ICR: true if the command is one whose IPI is virtualized. It takes its own
/// steps then, and the instruction is over when they are.
bool cpu_engine::begin_sending(instruction& i, cycles now) {
  if (!core_.in_guest || !guest_apic_) return false;
  const vmx::vmcs& v = *core_.vmx_state.current;
  if ((vmx::tertiary_controls(v) & vmx::tertiary::ipi_virtualization) == 0) return false;
  const apic::apic_controls controls = apic::apic_controls_of(v);
  const bool vid = apic::has(controls, apic::apic_control::interrupt_delivery);
  virtual_apic_view view{*this};
  auto low = static_cast<std::uint32_t>(i.b);
  std::uint32_t destination = 0;
  if (i.code == opcode::wrmsr) {
    if (outcome_.effect != vmx::instruction_effect::virtual_x2apic) return false;
    const apic::x2apic_rule& rule = apic::find_x2apic_rule(controls, static_cast<std::uint32_t>(i.a), true);
    if (rule.effect != apic::x2apic_effect::ipi || (i.b & rule.must_be_zero) != 0) return false;
    destination = static_cast<std::uint32_t>(i.b >> 32);
  } else {
    if (!goes_to_access_page(i) || !stores_command(page_access_of(i))) return false;
    low = command_after(view.a.page(), page_access_of(i), i.b);
    destination = view.a.page().read_32(apic::vapic::icr_high) >> 24;
  }
  if (apic::route_of(low, i.code == opcode::wrmsr, vid, true) != apic::icr_route::ipi) return false;
  const auto vector = static_cast<std::uint8_t>(low);
  const apic::ipi_target target =
      apic::find_target(v, core_.physical, vector, destination, core_.caps.physical_address_width);
  if (target.obstacle != apic::ipi_obstacle::none) return false;

  if (i.code == opcode::wrmsr)
    view.a.page().write_64(apic::vapic::icr_low, i.b);
  else
    view.a.page().write_32(apic::vapic::icr_low, low);
  state_virtual_access(i.code == opcode::wrmsr ? apic::vapic::icr_low : page_access_of(i).offset, true, i.b, now);
  guest_apic_->sending = {ipi_step::look_up, vector, target.descriptor, std::nullopt, core_.cause};
  core_.run_for(core_.costs.apic.pid_table, now, phase::read);
  core_.activity = cpu_activity::sending;
  return true;
}

/// A step is over. True: the last one.
bool cpu_engine::continue_sending(cycles now) {
  guest_apic::ipi& ipi = guest_apic_->sending;
  const apic_costs& cost = core_.costs.apic;
  memory_of_cpu memory{core_.physical, core_.number};
  const auto over = [&](std::uint16_t value) {
    ipi.cause = core_.state(now, ipi_step_fact{ipi.step, ipi.descriptor, value}, ipi.cause);
  };
  const auto next_on_descriptor = [&](ipi_step next, physical_address at, cycles hit) {
    ipi.step = next;
    core_.run_for(core_.physical.issue_exclusive_at(at, core_.number, now, hit) - now, now, phase::effect);
    core_.activity = cpu_activity::sending;
    return false;
  };
  namespace layout = apic::posted_interrupt_descriptor;
  switch (ipi.step) {
    case ipi_step::look_up:
      over(ipi.vector);
      return next_on_descriptor(ipi_step::set_pir, layout::pir_word_of(ipi.descriptor, ipi.vector), cost.post_request);
    case ipi_step::set_pir:
      over(apic::set_pir(memory, ipi.descriptor, ipi.vector));
      return next_on_descriptor(ipi_step::announce, ipi.descriptor + layout::information, cost.post_notification);
    case ipi_step::announce:
      ipi.notify = apic::announce(memory, ipi.descriptor);
      over(ipi.notify.has_value());
      if (!ipi.notify) break;
      ipi.step = ipi_step::notify;
      core_.run_for(cost.send_notification, now, phase::read);
      core_.activity = cpu_activity::sending;
      return false;
    default:
      over(ipi.notify->vector);
      notify(*ipi.notify, ipi.cause, now);
      break;
  }
  ipi.step = ipi_step::done;
  core_.complete(*core_.active->in_flight());
  return true;
}

/// A notification leaves through the CPU's own local APIC, which sends what is legal.
void cpu_engine::notify(const apic::notification& n, fact_id cause, cycles now) {
  if (core_.local_apic.mode() == apic::apic_mode::disabled) return;
  const apic::interrupt_command command = apic::command_of(n, core_.local_apic.mode() == apic::apic_mode::x2apic);
  if (apic::judge(command) == apic::ipi_verdict::send)
    send_ipi(command, cause, now);
  else
    core_.local_apic.report_error(apic::esr::send_illegal_vector);
}

}  // namespace vmxsys::cpu
