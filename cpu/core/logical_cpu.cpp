#include "logical_cpu.hpp"

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

/// What a processor is in when software of the model starts on it: 64-bit mode at CPL 0, segments flat.
vmx::processor_state logical_cpu::running_state() {
  vmx::processor_state r;
  using vmx::segment_name;
  r[segment_name::cs] = {0x10, 0xFFFF'FFFF, 0xA09B, 0};
  r[segment_name::ss] = {0x18, 0xFFFF'FFFF, 0xC093, 0};
  r[segment_name::tr] = {0x40, 0x67, 0x8B, 0};
  return r;
}

logical_cpu::logical_cpu(machine& in, unsigned number)
    : machine_{in},
      time_{in.time()},
      number_{number},
      source_{in.add_fact_source()},
      step_{time_.add_slot(this, on_step)},
      inbox_slot_{time_.add_slot(this, on_inbox)},
      apic_timer_slot_{time_.add_slot(this, on_apic_timer)},
      guest_timers_slot_{time_.add_slot(this, on_guest_timers)},
      apic_{number, number == 0, in.config().timer_clock},
      registers_{running_state()},
      msrs_{registers_, vmx_, in.config().capabilities},
      vmx_unit_{vmx_, in.config().capabilities, in.physical(), in.active_vmcs(), number},
      entry_context_{in.config().capabilities, in.physical()},
      detectors_{in.config().make_detector, in.config().observers} {
  truth_wanted_ = detectors_.any_watching() || detectors_.interests().truth;
  if (truth_wanted_) subject_slot_ = time_.add_slot(this, on_subject_change);
  if (in.config().boot_apic == apic::apic_mode::x2apic)
    apic_.enter_x2apic();
  else
    in.note_apic_mode(false);
}

logical_cpu::~logical_cpu() = default;

void logical_cpu::connect(boot_if& software) {
  software_ = &software;
  if (number_ == 0) time_.arm(step_, cycles{0}, phase::read);
}

void logical_cpu::start_at(physical_address entry, cycles now) {
  if (software_ == nullptr) throw invariant_error("CPU " + std::to_string(number_) + " starts without software", now);
  active_ = &software_->boot(*this, entry);
  if (active_->on_cpu() != nullptr)
    throw invariant_error("strand '" + active_->name() + "' is started on CPU " + std::to_string(number_) +
                              " while it is on CPU " + std::to_string(active_->on_cpu()->number()),
                          now);
  active_->set_cpu(this, now);
  interrupts_enabled_ = false;
  activity_ = activity::executing;
  proceed(now);
}

// -- the engine -------------------------------------------------------------------------------------------------------

void logical_cpu::step(cycles now) {
  ++steps_;
  switch (activity_) {
    case activity::wait_for_sipi:
      start_at(reset_vector, now);
      return;
    case activity::executing:
      finish(*active_->in_flight(), now);
      if (activity_ != activity::executing && activity_ != activity::halted) return;
      break;
    case activity::computing:
      if (now < until_) {  // behind the shadow of an STI
        if (!recognise(now)) time_.arm(step_, until_, phase::read);
        return;
      }
      end_compute(now);
      break;
    case activity::spinning:
      spin_boundary(now);
      return;
    case activity::halted:
      return;
    case activity::waiting:
      end_wait(now);
      return;
    case activity::waking:
      machine_.facts().state(source_, now, halt_fact{began_, static_cast<std::uint8_t>(in_guest_)}, cause_);
      if (!in_guest_) end_halt();
      break;
    case activity::delivering:
      break;
    case activity::returning:
      interrupts_enabled_ = active_->pop();
      if (in_guest_)
        nmi_.iret(*nmi_rule_);
      else
        nmi_.iret();
      break;
    case activity::entering:
      if (!finish_entry(now)) return;
      break;
    case activity::exiting:
      finish_exit(now);
      if (activity_ == activity::shutdown) return;
      break;
    case activity::shutdown:
      return;
    case activity::on_bus:
      complete(*active_->in_flight());
      break;
    case activity::posting:
      if (!continue_posting(now)) return;
      break;
    case activity::sending:
      if (!continue_sending(now)) return;
      break;
    case activity::guest_timer:
      end_guest_timer_event(now);
      break;
  }
  if (activity_ == activity::halted) return;
  activity_ = activity::executing;
  proceed(now);
}

// From a boundary on: recognise, or let the strand issue what comes next.
void logical_cpu::proceed(cycles now) {
  for (unsigned without_time = 0; without_time < most_instructions_without_time; ++without_time) {
    if (recognise(now)) return;
    switch (active_->run()) {
      case strand::state::issued:
        if (begin(*active_->in_flight(), now)) return;
        break;
      case strand::state::handler_done:
        return_from_interrupt(now);
        return;
      case strand::state::ended:
        throw invariant_error("the program of strand '" + active_->name() + "' ended", now);
      case strand::state::lost:
        throw invariant_error(
            "a program of strand '" + active_->name() +
                "' stopped without awaiting anything; g++ 12 miscompiles a coroutine that has no local "
                "variable and awaits in the condition of an if, while, for or switch: give the "
                "awaited value a name",
            now);
      case strand::state::endless:
        without_time = most_instructions_without_time;
        break;
    }
  }
  throw invariant_error("strand '" + active_->name() + "' issues instructions without end that take no time", now);
}

// Stops an interruptible activity so that another may begin; the instruction keeps what is left of it.
void logical_cpu::leave_activity(cycles now) {
  if (activity_ == activity::computing) {
    report_work(now);
    active_->in_flight()->a = (until_ - now).count();
  } else if (activity_ == activity::spinning) {
    materialise(now);
    leave_spin(now);
  } else if (activity_ == activity::waiting) {
    disarm_monitor();
    complete(*active_->in_flight());
  }
  time_.disarm(step_);
  activity_ = activity::executing;
}

// Issues an instruction, or goes on with one that was interrupted. False: it completed without taking time.
bool logical_cpu::begin(instruction& i, cycles now) {
  if (in_guest_ && held_back(i, now)) return true;
  return execute(i, now);
}

bool logical_cpu::execute(instruction& i, cycles now) {
  const instruction_costs& cost = machine_.costs().instruction;
  memory& m = machine_.physical();
  const auto target = [&i]() -> word& { return *static_cast<memory_instruction&>(i).target; };
  switch (i.code) {
    case opcode::compute:
      compute(i, now);
      return activity_ == activity::computing;
    case opcode::spin_while:
      begin_spin(static_cast<spin_instruction&>(i), now);
      return true;
    default:
      break;
  }
  book(now);
  switch (i.code) {
    case opcode::load:
      i.hit = m.load_hits(target(), number_);
      if (i.hit) i.result = target().peek();
      run_for(m.issue_load(target(), number_, now) - now, now, phase::read);
      return true;
    case opcode::store:
      run_for(m.issue_store(target(), number_, now) - now, now, phase::effect);
      return true;
    case opcode::cmpxchg:
    case opcode::exchange:
    case opcode::fetch_add:
    case opcode::fetch_or:
    case opcode::fetch_and:
      run_for(m.issue_locked(target(), number_, now) - now, now, phase::effect);
      return true;
    case opcode::pause:
      run_for(cost.pause, now, phase::read);
      return true;
    case opcode::hlt:
      run_for(cost.hlt, now, phase::read);
      return true;
    case opcode::sti:
    case opcode::cli:
      run_for(cost.interrupt_flag, now, phase::read);
      return true;
    case opcode::rdtsc:
      run_for(cost.rdtsc, now, phase::read);
      return true;
    case opcode::cpuid:
      run_for(cost.cpuid, now, phase::read);
      return true;
    case opcode::xsave:
      run_for(cost.xsave, now, phase::read);
      return true;
    case opcode::xrstor:
      run_for(cost.xrstor, now, phase::read);
      return true;
    case opcode::switch_to:
      run_for(cost.stack_switch, now, phase::read);
      return true;
    case opcode::rdmsr:
    case opcode::wrmsr:
      run_for(duration_of_msr(i), now, phase::read);
      return true;
    case opcode::guest_access:
      if (!in_guest_) i.result = static_cast<guest_access_instruction&>(i).address;
      run_for(in_guest_ ? cost.load + lookup_ : cost.load, now, phase::read);
      return true;
    case opcode::mmio_read:
    case opcode::mmio_write:
      run_for(duration_of_mmio(i), now, phase::read);
      return true;
    default:
      return execute_system(i, now);
  }
}

void logical_cpu::compute(instruction& i, cycles now) {
  if (i.a == 0) {
    complete(i);
    return;
  }
  book(now);
  activity_ = activity::computing;
  until_ = now + cycles{i.a};
  // An STI before the block shadows its first instruction only: what waits for the shadow to end comes one cycle later.
  const bool held = (shadowed_ && wakes()) || mtf_ == mtf_state::armed;
  time_.arm(step_, held && i.a > 1 ? now + cycles{1} : until_, phase::read);
}

void logical_cpu::end_compute(cycles now) {
  report_work(now);
  active_->in_flight()->a = 0;
  complete(*active_->in_flight());
}

/// Tells detectors what the part of a compute that ends now has retired.
void logical_cpu::report_work(cycles now) {
  if (!in_guest_ || !detectors_.interests().work) return;
  const instruction& i = *active_->in_flight();
  const std::uint64_t done = i.a - (until_ - now).count();
  const auto profile = work_profile::unpack(i.b);
  detectors_.on_work({now, active_->location().cpl, profile.instructions(done), profile.unique_stores(done),
                      profile.backward_branches(done)});
}

// The completion of an instruction that took its time.
void logical_cpu::finish(instruction& i, cycles now) {
  if (i.fault != instruction_fault::none) {
    complete(i);
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
      shadow_ = !interrupts_enabled_;  // STI with IF already 1 casts no shadow
      interrupts_enabled_ = true;
      break;
    case opcode::cli:
      interrupts_enabled_ = false;
      break;
    case opcode::rdtsc:
      i.result = in_guest_ ? vmx::guest_tsc(current_vmcs(), now.count()) : now.count();
      break;
    case opcode::mmio_read:
    case opcode::mmio_write:
      if (begin_sending(i, now)) return;
      if (goes_to_access_page(i))
        access_page(i, now);
      else if (apic_.covers(i.a))
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
      if (std::exchange(vmx_.latched_init, false)) {
        complete(i);
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
  complete(i);
}

void logical_cpu::finish_memory(memory_instruction& i, cycles now) {
  memory& m = machine_.physical();
  const auto modify = [&](auto change) {
    i.result = m.complete_load(*i.target, number_);
    m.complete_store(*i.target, number_, now, change(i.result));
  };
  switch (i.code) {
    case opcode::load:
      if (!i.hit) i.result = m.complete_load(*i.target, number_);
      break;
    case opcode::store:
      m.complete_store(*i.target, number_, now, (i.target->peek() & ~i.b) | (i.a & i.b));
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
  if (in_guest_ && detectors_.interests().stores && i.code != opcode::load)
    detectors_.on_store({now, i.target->address(), i.target->peek(), active_->location().cpl});
  if (i.witness != nullptr) i.witness->took_effect(*active_, i, now);
  complete(i);
}

// An access leaves for a device outside the machine. False: nobody is there to answer.
bool logical_cpu::begin_bus_access(instruction& i, cycles now) {
  const bool write = i.code == opcode::mmio_write;
  bus_if* bus = machine_.bus();
  if (bus != nullptr && bus->issue({number_, ++bus_tag_, i.a, write ? i.b : 0, i.size, write}, now)) {
    activity_ = activity::on_bus;
    return true;
  }
  i.result = ~std::uint64_t{0} >> (64 - 8 * i.size);
  return false;
}

void logical_cpu::bus_answer(std::uint64_t tag, std::uint64_t value, cycles at) {
  if (activity_ != activity::on_bus || tag != bus_tag_) return;
  instruction& i = *active_->in_flight();
  i.result = value & (~std::uint64_t{0} >> (64 - 8 * i.size));
  time_.arm(step_, at, phase::read);
}

void logical_cpu::switch_strand(isa::switch_operation& op, cycles now) {
  strand* from = active_;
  strand* to = op.to;
  if (from != to) {
    if (to->on_cpu() != nullptr)
      throw invariant_error(
          "strand '" + to->name() + "' is switched to while it is on CPU " + std::to_string(to->on_cpu()->number()),
          now);
    machine_.facts().state(source_, now, switch_fact{from->id(), to->id(), static_cast<std::uint8_t>(in_guest_)});
    strand* carrier = from->carrier_;
    if (in_guest_ && carrier != nullptr) {
      carrier->set_passenger(to, now);
    } else {
      from->set_cpu(nullptr, now);
      to->set_cpu(this, now);
    }
    active_ = to;
  }
  if (op.follower != nullptr) op.follower->await(to, now);
  // The incoming strand's own switch completes, if it is in one; a fresh strand just starts.
  if (instruction* waiting = to->in_flight(); waiting != nullptr) {
    if (waiting->code != opcode::switch_to)
      throw invariant_error("strand '" + to->name() + "' is switched to in the middle of an instruction", now);
    static_cast<isa::switch_operation*>(waiting)->from = from;
    complete(*waiting);
  }
}

void logical_cpu::close_books(cycles now) {
  if (activity_ == activity::spinning) {
    settle_spin(now);
    const auto& spin = static_cast<const spin_instruction&>(*active_->in_flight());
    if (spin.subject != nullptr) spin_mark_ = spin.subject->running(now);
  } else {
    account_.close(now);
  }
}

}  // namespace vmxsys::cpu
