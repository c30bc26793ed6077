#include "detail/cpu_engine.hpp"

#include <utility>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/name_space.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>
#include <vmxsys/vmx/events/tsc.hpp>

#include "detail/guest_apic.hpp"

namespace vmxsys::cpu {

namespace {
constexpr unsigned most_instructions_without_time = 100'000;
constexpr physical_address reset_vector = 0xFFFFFFF0;
}  // namespace

namespace {
cpu_surroundings surroundings_of(machine& in, unsigned number) {
  const machine_config& config = in.config();
  return {in.time(),          in.physical(), in.facts(),           in.names(),    in, config.costs, config.capabilities,
          config.timer_clock, number,        in.add_fact_source(), config.stepped};
}
}  // namespace

cpu_engine::cpu_engine(machine& in, unsigned number)
    : logical_cpu{in, surroundings_of(in, number), in.time().add_slot(this, on_step)},
      inbox_slot_{core_.time.add_slot(this, on_inbox)},
      apic_timer_slot_{core_.time.add_slot(this, on_apic_timer)},
      guest_timers_slot_{core_.time.add_slot(this, on_guest_timers)},
      msrs_{core_.registers, core_.vmx_state, core_.caps},
      vmx_unit_{core_.vmx_state, core_.caps, core_.physical, in.active_vmcs(), number},
      entry_context_{core_.caps, core_.physical},
      detectors_{in.config().make_detector, in.config().observers} {
  truth_wanted_ = detectors_.any_watching() || detectors_.interests().truth;
  if (truth_wanted_) subject_slot_ = core_.time.add_slot(this, on_subject_change);
  if (in.config().boot_apic == apic::apic_mode::x2apic)
    core_.local_apic.enter_x2apic();
  else
    in.note_apic_mode(false);
}

cpu_engine::~cpu_engine() = default;

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
      if (now < until_) {  // behind the shadow of an STI
        if (!recognise(now)) core_.time.arm(core_.step, until_, phase::read);
        return;
      }
      end_compute(now);
      break;
    case cpu_activity::spinning:
      spin_boundary(now);
      return;
    case cpu_activity::halted:
      return;
    case cpu_activity::waiting:
      end_wait(now);
      return;
    case cpu_activity::waking:
      core_.state(now, halt_fact{core_.began, static_cast<std::uint8_t>(core_.in_guest)}, core_.cause);
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
      finish_exit(now);
      if (core_.activity == cpu_activity::shutdown) return;
      break;
    case cpu_activity::shutdown:
      return;
    case cpu_activity::on_bus:
      core_.complete(*core_.active->in_flight());
      break;
    case cpu_activity::posting:
      if (!continue_posting(now)) return;
      break;
    case cpu_activity::sending:
      if (!continue_sending(now)) return;
      break;
    case cpu_activity::guest_timer:
      end_guest_timer_event(now);
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

// Stops an interruptible activity so that another may begin; the instruction keeps what is left of it.
void cpu_engine::leave_activity(cycles now) {
  if (core_.activity == cpu_activity::computing) {
    report_work(now);
    core_.active->in_flight()->a = (until_ - now).count();
  } else if (core_.activity == cpu_activity::spinning) {
    materialise(now);
    leave_spin(now);
  } else if (core_.activity == cpu_activity::waiting) {
    disarm_monitor();
    core_.complete(*core_.active->in_flight());
  }
  core_.time.disarm(core_.step);
  core_.activity = cpu_activity::executing;
}

// Issues an instruction, or goes on with one that was interrupted. False: it completed without taking time.
bool cpu_engine::begin(instruction& i, cycles now) {
  if (core_.in_guest && held_back(i, now)) return true;
  return execute(i, now);
}

bool cpu_engine::execute(instruction& i, cycles now) {
  const instruction_costs& cost = core_.costs.instruction;
  memory& m = core_.physical;
  const auto target = [&i]() -> word& { return *static_cast<memory_instruction&>(i).target; };
  switch (i.code) {
    case opcode::compute:
      compute(i, now);
      return core_.activity == cpu_activity::computing;
    case opcode::spin_while:
      begin_spin(static_cast<spin_instruction&>(i), now);
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
      core_.run_for(duration_of_msr(i), now, phase::read);
      return true;
    case opcode::guest_access:
      if (!core_.in_guest) i.result = static_cast<guest_access_instruction&>(i).address;
      core_.run_for(core_.in_guest ? cost.load + lookup_ : cost.load, now, phase::read);
      return true;
    case opcode::mmio_read:
    case opcode::mmio_write:
      core_.run_for(duration_of_mmio(i), now, phase::read);
      return true;
    default:
      return execute_system(i, now);
  }
}

void cpu_engine::compute(instruction& i, cycles now) {
  if (i.a == 0) {
    core_.complete(i);
    return;
  }
  core_.book(now);
  core_.activity = cpu_activity::computing;
  until_ = now + cycles{i.a};
  // An STI before the block shadows its first instruction only: what waits for the shadow to end comes one cycle later.
  const bool held = (core_.shadowed && wakes()) || mtf_ == mtf_state::armed;
  core_.time.arm(core_.step, held && i.a > 1 ? now + cycles{1} : until_, phase::read);
}

void cpu_engine::end_compute(cycles now) {
  report_work(now);
  core_.active->in_flight()->a = 0;
  core_.complete(*core_.active->in_flight());
}

/// Tells detectors what the part of a compute that ends now has retired.
void cpu_engine::report_work(cycles now) {
  if (!core_.in_guest || !detectors_.interests().work) return;
  const instruction& i = *core_.active->in_flight();
  const std::uint64_t done = i.a - (until_ - now).count();
  const auto profile = work_profile::unpack(i.b);
  detectors_.on_work({now, core_.active->location().cpl, profile.instructions(done), profile.unique_stores(done),
                      profile.backward_branches(done)});
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
      if (begin_sending(i, now)) return;
      if (goes_to_access_page(i))
        access_page(i, now);
      else if (core_.local_apic.covers(i.a))
        access_own_page(i, now);
      else if (begin_bus_access(i, now))
        return;
      break;
    case opcode::switch_to:
      switch_strand(static_cast<isa::switch_operation&>(i), now);
      return;
    case opcode::rdmsr:
    case opcode::wrmsr:
      if (begin_sending(i, now)) return;
      if (execute_msr(i, now)) break;
      if (fault_exits(instruction_fault::general_protection, now)) return;
      i.fault = instruction_fault::general_protection;
      break;
    case opcode::system:
      if (!finish_system(static_cast<system_instruction&>(i), now)) return;
      if (i.fault != instruction_fault::none && fault_exits(i.fault, now)) {
        i.fault = instruction_fault::none;
        return;
      }
      break;
    case opcode::vmxon:
      disarm_monitor();
      break;
    case opcode::vmxoff:
      disarm_monitor();
      if (std::exchange(core_.vmx_state.latched_init, false)) {
        core_.complete(i);
        reset_to_wait_for_sipi(now);
        return;
      }
      break;
    case opcode::vmlaunch:
    case opcode::vmresume:
      finish_failed_entry(static_cast<vm_entry_instruction&>(i), now);
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
  if (core_.in_guest && detectors_.interests().stores && i.code != opcode::load)
    detectors_.on_store({now, i.target->address(), i.target->peek(), core_.active->location().cpl});
  if (i.witness != nullptr) i.witness->took_effect(*core_.active, i, now);
  core_.complete(i);
}

// An access leaves for a device outside the machine. False: nobody is there to answer.
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

void cpu_engine::switch_strand(isa::switch_operation& op, cycles now) {
  strand* from = core_.active;
  strand* to = op.to;
  if (from != to) {
    if (to->on_cpu() != nullptr)
      throw invariant_error(
          "strand '" + to->name() + "' is switched to while it is on CPU " + std::to_string(to->on_cpu()->number()),
          now);
    core_.state(now, switch_fact{from->id(), to->id(), static_cast<std::uint8_t>(core_.in_guest)});
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
    settle_spin(now);
    const auto& spin = static_cast<const spin_instruction&>(*core_.active->in_flight());
    if (spin.subject != nullptr) spin_mark_ = spin.subject->running(now);
  } else {
    core_.account.close(now);
  }
}

std::unique_ptr<logical_cpu> make_logical_cpu(machine& in, unsigned number) {
  return std::make_unique<cpu_engine>(in, number);
}

}  // namespace vmxsys::cpu
