#include "detail/cpu_engine.hpp"

#include <utility>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>
#include <vmxsys/vmx/events/tsc.hpp>

namespace vmxsys::cpu {

namespace {
constexpr unsigned most_instructions_without_time = 100'000;
constexpr physical_address reset_vector = 0xFFFFFFF0;

cpu_surroundings surroundings_of(machine& in, unsigned number) {
  const machine_config& config = in.config();
  return {in.time(),          in.physical(), in.facts(),           in.names(),    in, config.costs, config.capabilities,
          config.timer_clock, number,        in.add_fact_source(), config.stepped};
}
}  // namespace

cpu_engine::cpu_engine(machine& in, unsigned number)
    : logical_cpu{in, surroundings_of(in, number), in.time().add_slot(this, on_step)},
      inbox_slot_{core_.time.add_slot(this, on_inbox, core_.step)},
      vmx_unit_{core_.vmx_state, core_.caps, core_.physical, in.active_vmcs(), number},
      own_apic_{core_, core_.time.add_slot(this, on_apic_timer, core_.step)},
      timers_{core_, core_.time.add_slot(this, on_guest_timers, core_.step)},
      wait_{core_},
      spin_{core_, in.config().make_detector, in.config().observers},
      activity_{core_, spin_, wait_},
      virtual_apic_{core_, timers_, own_apic_},
      events_{core_, timers_, virtual_apic_, wait_},
      transition_{core_,
                  {activity_, spin_, wait_, timers_, virtual_apic_, events_, own_apic_},
                  vmx_unit_,
                  in.plans(),
                  in.config().overcommitted},
      instructions_{core_, {spin_, wait_, virtual_apic_, events_, own_apic_, transition_}, vmx_unit_} {
  if (in.config().boot_apic == apic::apic_mode::x2apic)
    core_.local_apic.enter_x2apic();
  else
    in.note_apic_mode(false);
}

void cpu_engine::connect(boot_if& software) {
  software_ = &software;
  if (core_.number == 0) core_.time.arm(core_.step, cycles{0}, phase::read);
}

void cpu_engine::start_at(physical_address entry, cycles now) {
  if (software_ == nullptr)
    throw invariant_error("CPU " + std::to_string(core_.number) + " starts without software", now);
  core_.active = &software_->boot(*this, entry);
  if (core_.active->on_cpu() != nullptr)
    throw invariant_error("strand '" + core_.active->name() + "' is started on CPU " + std::to_string(core_.number) +
                              " while it is on CPU " + std::to_string(core_.active->on_cpu()->number()),
                          now);
  core_.active->set_cpu(this, now);
  core_.interrupts_enabled = false;
  core_.activity = cpu_activity::executing;
  proceed(now);
}

// -- the engine -------------------------------------------------------------------------------------------------------

void cpu_engine::step(cycles now) {
  ++steps_;
  switch (core_.activity) {
    case cpu_activity::wait_for_sipi:
      start_at(reset_vector, now);
      return;
    case cpu_activity::executing:
      finish(*core_.active->in_flight(), now);
      if (core_.activity != cpu_activity::executing && core_.activity != cpu_activity::halted) return;
      break;
    case cpu_activity::computing:
      if (!activity_.compute_over(now)) {  // behind the shadow of an STI
        if (!recognise(now)) activity_.resume_compute();
        return;
      }
      activity_.end_compute(now);
      break;
    case cpu_activity::spinning:
      if (spin_.arrive(now)) {
        if (!recognise(now)) proceed_spin(now);
        return;
      }
      break;
    case cpu_activity::halted:
      return;
    case cpu_activity::waiting:
      wait_.end(now);
      return;
    case cpu_activity::waking:
      core_.record(now, halt_fact{core_.began, static_cast<std::uint8_t>(core_.in_guest)}, core_.cause);
      if (!core_.in_guest) core_.end_halt();
      break;
    case cpu_activity::delivering:
      break;
    case cpu_activity::returning:
      core_.interrupts_enabled = core_.active->pop();
      if (core_.in_guest)
        core_.nmi.iret(*core_.nmi_rule);
      else
        core_.nmi.iret();
      break;
    case cpu_activity::entering:
      if (!finish_entry(now)) return;
      break;
    case cpu_activity::exiting:
      transition_.finish_exit(now);
      if (core_.activity == cpu_activity::shutdown) return;
      break;
    case cpu_activity::shutdown:
      return;
    case cpu_activity::on_bus:
      core_.complete(*core_.active->in_flight());
      break;
    case cpu_activity::posting:
      if (!virtual_apic_.continue_posting(now)) return;
      end_processing(now);
      break;
    case cpu_activity::sending:
      if (!virtual_apic_.continue_sending(now)) return;
      break;
    case cpu_activity::guest_timer:
      virtual_apic_.end_timer_event();
      end_processing(now);
      break;
  }
  if (core_.activity == cpu_activity::halted) return;
  core_.activity = cpu_activity::executing;
  proceed(now);
}

// From a boundary on: recognise, or let the strand issue what comes next.
void cpu_engine::proceed(cycles now) {
  for (unsigned without_time = 0; without_time < most_instructions_without_time; ++without_time) {
    if (recognise(now)) return;
    switch (core_.active->run()) {
      case strand::state::issued:
        if (begin(*core_.active->in_flight(), now)) return;
        break;
      case strand::state::handler_done:
        return_from_interrupt(now);
        return;
      case strand::state::ended:
        throw invariant_error("the program of strand '" + core_.active->name() + "' ended", now);
      case strand::state::lost:
        throw invariant_error(
            "a program of strand '" + core_.active->name() +
                "' stopped without awaiting anything; g++ 12 miscompiles a coroutine that has no local "
                "variable and awaits in the condition of an if, while, for or switch: give the "
                "awaited value a name",
            now);
      case strand::state::endless:
        without_time = most_instructions_without_time;
        break;
    }
  }
  throw invariant_error("strand '" + core_.active->name() + "' issues instructions without end that take no time", now);
}

// Issues an instruction, or goes on with one that was interrupted. False: it completed without taking time.
bool cpu_engine::begin(instruction& i, cycles now) {
  if (core_.in_guest && instructions_.held_back(i, now)) return true;
  return execute(i, now);
}

bool cpu_engine::execute(instruction& i, cycles now) {
  const instruction_costs& cost = core_.costs.instruction;
  memory& m = core_.physical;
  const auto target = [&i]() -> word& { return *static_cast<memory_instruction&>(i).target; };
  switch (i.code) {
    case opcode::compute:
      // An STI before the block shadows its first instruction only: what waits for the shadow to end comes one cycle
      // later.
      return activity_.begin_compute(i, (core_.shadowed && events_.wakes()) || events_.mtf_armed(), now);
    case opcode::spin_while:
      spin_.begin(static_cast<spin_instruction&>(i), now);
      proceed_spin(now);
      return true;
    default:
      break;
  }
  core_.book(now);
  switch (i.code) {
    case opcode::load:
      i.hit = m.load_hits(target(), core_.number);
      if (i.hit) i.result = target().peek();
      core_.run_for(m.issue_load(target(), core_.number, now) - now, now, phase::read);
      return true;
    case opcode::store:
      core_.run_for(m.issue_store(target(), core_.number, now) - now, now, phase::effect);
      return true;
    case opcode::cmpxchg:
    case opcode::exchange:
    case opcode::fetch_add:
    case opcode::fetch_or:
    case opcode::fetch_and:
      core_.run_for(m.issue_locked(target(), core_.number, now) - now, now, phase::effect);
      return true;
    case opcode::pause:
      core_.run_for(cost.pause, now, phase::read);
      return true;
    case opcode::hlt:
      core_.run_for(cost.hlt, now, phase::read);
      return true;
    case opcode::sti:
    case opcode::cli:
      core_.run_for(cost.interrupt_flag, now, phase::read);
      return true;
    case opcode::rdtsc:
      core_.run_for(cost.rdtsc, now, phase::read);
      return true;
    case opcode::cpuid:
      core_.run_for(cost.cpuid, now, phase::read);
      return true;
    case opcode::xsave:
      core_.run_for(cost.xsave, now, phase::read);
      return true;
    case opcode::xrstor:
      core_.run_for(cost.xrstor, now, phase::read);
      return true;
    case opcode::switch_to:
      core_.run_for(cost.stack_switch, now, phase::read);
      return true;
    case opcode::rdmsr:
    case opcode::wrmsr:
      core_.run_for(instructions_.duration_of_msr(i), now, phase::read);
      return true;
    case opcode::guest_access:
      if (!core_.in_guest) i.result = static_cast<guest_access_instruction&>(i).address;
      core_.run_for(core_.in_guest ? cost.load + instructions_.lookup() : cost.load, now, phase::read);
      return true;
    case opcode::mmio_read:
    case opcode::mmio_write:
      core_.run_for(virtual_apic_.duration_of_mmio(i), now, phase::read);
      return true;
    default:
      instructions_.execute(i, now);
      return true;
  }
}

// At a boundary of a spin loop, after recognition.
void cpu_engine::proceed_spin(cycles now) {
  if (!spin_.proceed(events_.steps_singly(), now)) instructions_.exit_for_pause(now);
}

// The completion of an instruction that took its time.
void cpu_engine::finish(instruction& i, cycles now) {
  if (i.fault != instruction_fault::none) {
    core_.complete(i);
    return;
  }
  switch (i.code) {
    case opcode::load:
    case opcode::store:
    case opcode::cmpxchg:
    case opcode::exchange:
    case opcode::fetch_add:
    case opcode::fetch_or:
    case opcode::fetch_and:
      finish_memory(static_cast<memory_instruction&>(i), now);
      return;
    case opcode::hlt:
      i.started = true;
      halt(now);
      return;
    case opcode::sti:
      core_.shadow = !core_.interrupts_enabled;  // STI with IF already 1 casts no shadow
      core_.interrupts_enabled = true;
      break;
    case opcode::cli:
      core_.interrupts_enabled = false;
      break;
    case opcode::rdtsc:
      i.result = core_.in_guest ? vmx::guest_tsc(core_.current_vmcs(), now.count()) : now.count();
      break;
    case opcode::mmio_read:
    case opcode::mmio_write:
      if (!finish_mmio(i, now)) return;
      break;
    case opcode::switch_to:
      switch_strand(static_cast<isa::switch_operation&>(i), now);
      return;
    case opcode::rdmsr:
    case opcode::wrmsr:
      if (!instructions_.finish_msr(i, now)) return;
      break;
    case opcode::system:
      if (!instructions_.finish(static_cast<system_instruction&>(i), now)) return;
      break;
    case opcode::vmxon:
      wait_.disarm();
      break;
    case opcode::vmxoff:
      wait_.disarm();
      if (std::exchange(core_.vmx_state.latched_init, false)) {
        core_.complete(i);
        reset_to_wait_for_sipi(now);
        return;
      }
      break;
    case opcode::vmlaunch:
    case opcode::vmresume:
      transition_.finish_failed_entry(static_cast<vm_entry_instruction&>(i), now);
      return;
    default:
      break;
  }
  core_.complete(i);
}

void cpu_engine::finish_memory(memory_instruction& i, cycles now) {
  memory& m = core_.physical;
  const auto modify = [&](auto change) {
    i.result = m.complete_load(*i.target, core_.number);
    m.complete_store(*i.target, core_.number, now, change(i.result));
  };
  switch (i.code) {
    case opcode::load:
      if (!i.hit) i.result = m.complete_load(*i.target, core_.number);
      break;
    case opcode::store:
      m.complete_store(*i.target, core_.number, now, (i.target->peek() & ~i.b) | (i.a & i.b));
      break;
    case opcode::cmpxchg:
      modify([&](std::uint64_t old) { return old == i.a ? i.b : old; });
      break;
    case opcode::exchange:
      modify([&](std::uint64_t old) { return (old & ~i.b) | (i.a & i.b); });
      i.result &= i.b;
      break;
    case opcode::fetch_add:
      modify([&](std::uint64_t old) { return old + i.a; });
      break;
    case opcode::fetch_or:
      modify([&](std::uint64_t old) { return old | i.a; });
      break;
    case opcode::fetch_and:
      modify([&](std::uint64_t old) { return old & i.a; });
      break;
    default:
      break;
  }
  if (core_.in_guest && spin_.detectors().interests().stores && i.code != opcode::load)
    spin_.detectors().on_store({now, i.target->address(), i.target->peek(), core_.active->location().cpl});
  if (i.witness != nullptr) i.witness->took_effect(*core_.active, i, now);
  core_.complete(i);
}

// False: it goes on outside, or an IPI of the guest takes its steps.
bool cpu_engine::finish_mmio(instruction& i, cycles now) {
  if (instructions_.begin_sending(i, now)) return false;
  if (virtual_apic_.goes_to_access_page(i))
    virtual_apic_.access_page(i, now);
  else if (core_.local_apic.covers(i.a))
    own_apic_.access_page(i, now);
  else
    return !begin_bus_access(i, now);
  return true;
}

// An access leaves for a device outside the machine. False: no device answers.
bool cpu_engine::begin_bus_access(instruction& i, cycles now) {
  const bool write = i.code == opcode::mmio_write;
  bus_if* bus = machine_.bus();
  if (bus != nullptr && bus->issue({core_.number, ++bus_tag_, i.a, write ? i.b : 0, i.size, write}, now)) {
    core_.activity = cpu_activity::on_bus;
    return true;
  }
  i.result = ~std::uint64_t{0} >> (64 - 8 * i.size);
  return false;
}

void cpu_engine::bus_answer(std::uint64_t tag, std::uint64_t value, cycles at) {
  if (core_.activity != cpu_activity::on_bus || tag != bus_tag_) return;
  instruction& i = *core_.active->in_flight();
  i.result = value & (~std::uint64_t{0} >> (64 - 8 * i.size));
  core_.time.arm(core_.step, at, phase::read);
}

// False: the entry has failed, and the way back to the host takes its time.
bool cpu_engine::finish_entry(cycles now) {
  using kind = vm_transition::entered::kind;
  const vm_transition::entered entry = transition_.finish_entry(now);
  switch (entry.what) {
    case kind::failed:
      return false;
    case kind::deliver:
      // As part of the entry; controls for events of its kind do not count. SDM Vol. 3C §29.6. A hardware exception
      // that the guest's program can see strikes the instruction in flight.
      if (entry.event.type != vmx::event_type::hardware_exception || !instructions_.strike(entry.event.vector, now))
        deliver(entry.event.vector, now, cycles{0});
      return true;
    case kind::wait:
      halt(now);
      return true;
    case kind::execute:
      break;
  }
  return true;
}

void cpu_engine::switch_strand(isa::switch_operation& op, cycles now) {
  strand* from = core_.active;
  strand* to = op.to;
  if (from != to) {
    if (to->on_cpu() != nullptr)
      throw invariant_error(
          "strand '" + to->name() + "' is switched to while it is on CPU " + std::to_string(to->on_cpu()->number()),
          now);
    core_.record(now, switch_fact{from->id(), to->id(), static_cast<std::uint8_t>(core_.in_guest)});
    strand* carrier = from->carrier_;
    if (core_.in_guest && carrier != nullptr) {
      carrier->set_passenger(to, now);
    } else {
      from->set_cpu(nullptr, now);
      to->set_cpu(this, now);
    }
    core_.active = to;
  }
  if (op.follower != nullptr) op.follower->await(to, now);
  // The incoming strand's own switch completes, if it is in one; a fresh strand just starts.
  if (instruction* waiting = to->in_flight(); waiting != nullptr) {
    if (waiting->code != opcode::switch_to)
      throw invariant_error("strand '" + to->name() + "' is switched to in the middle of an instruction", now);
    static_cast<isa::switch_operation*>(waiting)->from = from;
    core_.complete(*waiting);
  }
}

void cpu_engine::close_accounting(cycles now) {
  if (core_.activity == cpu_activity::spinning) {
    spin_.close_accounting(now);
  } else {
    core_.account.close(now);
  }
}

std::unique_ptr<logical_cpu> make_logical_cpu(machine& in, unsigned number) {
  return std::make_unique<cpu_engine>(in, number);
}

}  // namespace vmxsys::cpu
