#include <algorithm>
#include <utility>

#include <vmxsys/apic/destination.hpp>
#include <vmxsys/apic/register_map.hpp>
#include <vmxsys/vmx/control.hpp>
#include <vmxsys/vmx/event.hpp>
#include <vmxsys/vmx/exit_qualification.hpp>

#include "kvm.hpp"
#include "kvm_code.hpp"
#include "kvm_facts.hpp"

// Exit handlers.
namespace vmxsys::models {

namespace isa = cpu::isa;
using cpu::gpr;
using vmx::field;

namespace {
constexpr std::uint64_t hypercall_unknown = static_cast<std::uint64_t>(-1000);  // -KVM_ENOSYS

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
}  // namespace

cpu::program vcpu::announce_exit(const vmx::exit_info& exit) {
  kernel& host = vm_.kvm_.host_;
  const unsigned cpu = host.index_of(co_await isa::this_cpu());
  const vmx::vmcs& active = *host.hardware().active_vmcs().find(vmcs_);
  host.state(cpu,
             kvm_exit_fact{static_cast<std::uint16_t>(vm_.number_), static_cast<std::uint16_t>(index_),
                           static_cast<std::uint16_t>(cpu), thread_->pid, exit.reason, active.read(field::guest_rip),
                           exit.qualification, exit.interruption_information},
             thread_->strand.on_cpu()->last_cause());
  co_await host.trace();
}

cpu::program vcpu::handle_exit(const vmx::exit_info& exit) {
  co_await isa::compute(vm_.kvm_.costs().exit_dispatch);
  // With interrupts still off: the interrupt that the exit acknowledged.
  if (exit.reason == vmx::exit_reason::external_interrupt) co_await handle_external_interrupt(exit);
  co_await isa::sti();
  switch (exit.reason) {
    case vmx::exit_reason::external_interrupt:
      break;
    case vmx::exit_reason::pause:
      co_await handle_pause();
      break;
    case vmx::exit_reason::hlt:
      co_await handle_hlt();
      break;
    case vmx::exit_reason::rdmsr:
      co_await handle_msr(false);
      break;
    case vmx::exit_reason::wrmsr:
      co_await handle_msr(true);
      break;
    case vmx::exit_reason::control_register_access:
      co_await handle_cr(exit);
      break;
    case vmx::exit_reason::cpuid:
      co_await handle_cpuid();
      break;
    case vmx::exit_reason::vmcall:
      co_await handle_hypercall();
      break;
    case vmx::exit_reason::preemption_timer:
      co_await handle_preemption_timer();
      break;
    case vmx::exit_reason::interrupt_window:
      window_exiting_ = false;
      co_await isa::vmwrite(field::primary_processor_based_controls, primary_controls_);
      break;
    case vmx::exit_reason::tpr_below_threshold:
      break;  // the next entry looks what may be injected now
    case vmx::exit_reason::apic_access:
      co_await handle_apic_access(exit);
      break;
    case vmx::exit_reason::apic_write:
      co_await handle_apic_write(exit);
      break;
    case vmx::exit_reason::virtualized_eoi:
      co_await handle_virtualized_eoi(exit);
      break;
    default:
      throw cpu::invariant_error(std::string{"KVM has no handler for the exit '"} + vmx::name_of(exit.reason) + "'",
                                 vm_.kvm_.host_.hardware().time().now());
  }
}

// kvm_skip_emulated_instruction: RIP past it, and no more shadow of STI.
cpu::program vcpu::skip_instruction(std::uint32_t length) {
  const std::uint64_t rip = co_await isa::vmread(field::guest_rip);
  co_await isa::vmwrite(field::guest_rip, rip + length);
  const vmx::vmcs& active = *(co_await isa::this_cpu()).vmx_state().current;
  constexpr std::uint64_t shadows = vmx::interruptibility::sti | vmx::interruptibility::mov_ss;
  const std::uint64_t state = active.read(field::guest_interruptibility_state);
  if ((state & shadows) != 0) co_await isa::vmwrite(field::guest_interruptibility_state, state & ~shadows);
}

cpu::program vcpu::handle_external_interrupt(const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_external_interrupt);
  co_await vm_.kvm_.host_.handle_irq(static_cast<std::uint8_t>(exit.interruption_information));
}

cpu::program vcpu::handle_hlt() {
  auto here = co_await isa::in(code::kvm_vcpu_block);
  co_await isa::compute(vm_.kvm_.costs().emulate_hlt);
  co_await skip_instruction(1);
  const std::uint64_t rflags = co_await isa::vmread(field::guest_rflags);
  halted_with_interrupts_ = (rflags & vmx::rflags_bits::interrupt_flag) != 0;
  state_ = mp_state::halted;
}

// CR8 only: no other access of a control register is made to exit.
cpu::program vcpu::handle_cr(const vmx::exit_info& exit) {
  auto here = co_await isa::in(code::handle_cr);
  co_await isa::compute(vm_.kvm_.costs().emulate_msr);
  const vmx::qualification::cr_access access = vmx::qualification::decode_cr_access(exit.qualification);
  std::uint64_t& operand = guest_->reg(access.gpr);
  if (access.type == vmx::qualification::cr_access_type::mov_from_cr) {
    operand = apic_.cr8();
  } else if (operand > 15) {
    throw cpu::invariant_error("a guest writes " + std::to_string(operand) + " to CR8: KVM does not emulate #GP yet",
                               vm_.kvm_.host_.hardware().time().now());
  } else {
    apic_.set_cr8(static_cast<std::uint8_t>(operand));
  }
  co_await skip_instruction(exit.instruction_length);
}

cpu::program vcpu::handle_cpuid() {
  auto here = co_await isa::in(code::kvm_emulate_cpuid);
  co_await isa::compute(vm_.kvm_.costs().emulate_cpuid);
  guest_->reg(gpr::rax) = guest_->reg(gpr::rbx) = guest_->reg(gpr::rcx) = guest_->reg(gpr::rdx) = 0;
  co_await skip_instruction(2);
}

cpu::program vcpu::handle_hypercall() {
  auto here = co_await isa::in(code::kvm_emulate_hypercall);
  co_await isa::compute(vm_.kvm_.costs().emulate_hypercall);
  guest_->reg(gpr::rax) = hypercall_unknown;
  co_await skip_instruction(3);
}

cpu::program vcpu::handle_msr(bool write) {
  auto here = co_await isa::in(code::kvm_emulate_wrmsr);
  co_await isa::compute(vm_.kvm_.costs().emulate_msr);
  const auto msr = static_cast<std::uint32_t>(guest_->reg(gpr::rcx));
  const cycles now = vm_.kvm_.host_.hardware().time().now();
  apic::register_outcome outcome;
  if (apic::local_apic::handles(msr)) {
    outcome = write ? apic_.write_msr(msr, guest_->reg(gpr::rdx) << 32 | (guest_->reg(gpr::rax) & 0xFFFFFFFF), now)
                    : apic_.read_msr(msr, now);
  } else {
    outcome = apic::register_outcome::general_protection();
  }
  if (outcome.fault)
    throw cpu::invariant_error("a guest accesses MSR " + std::to_string(msr) + ", which KVM does not emulate yet", now);
  if (!write) {
    guest_->reg(gpr::rax) = outcome.value & 0xFFFFFFFF;
    guest_->reg(gpr::rdx) = outcome.value >> 32;
  }
  if (write && virtual_apic_ && apic::is_x2apic_msr(msr)) {
    show_register(msr);
    if (msr == apic::msr::lvt_timer) co_await vm_.kvm_.timers_->configured(*this);
  }
  co_await act_on(outcome);
  co_await skip_instruction(2);
}

// What a write of a register of the virtual local APIC brings about.
cpu::program vcpu::act_on(const apic::register_outcome& outcome) {
  if (outcome.timer_rearmed) co_await vm_.kvm_.timers_->rearmed(*this);
  if (outcome.ipi) co_await send_interrupts(*outcome.ipi);
  if (outcome.eoi && vm_.on_eoi) co_await vm_.on_eoi(index_, outcome.eoi->vector);
  if (posts()) co_await deliver_accepted();
}

// kvm_vector_to_index: of the vCPUs that a lowest-priority interrupt addresses, its vector chooses one (vector_hashing,
// the default). nullptr if there is none that is enabled.
vcpu* vcpu::choose_by_vector(const apic::interrupt_command& command) const {
  std::vector<vcpu*> addressed;
  for (auto& target : vm_.vcpus_)
    if (target->apic_.software_enabled() && apic::addresses(command, index_, target->apic_.address()))
      addressed.push_back(target.get());
  return addressed.empty() ? nullptr : addressed[command.vector % addressed.size()];
}

// kvm_irq_delivery_to_apic: every vCPU that the command addresses.
cpu::program vcpu::send_interrupts(const apic::interrupt_command& command) {
  const apic::interrupt_command sent = command;
  if (sent.mode == apic::delivery_mode::lowest_priority) {
    vcpu* chosen = choose_by_vector(sent);
    co_await isa::compute(vm_.kvm_.costs().apic_send);
    if (chosen != nullptr) co_await vm_.kvm_.path_->accept(*chosen, sent.vector);
    co_return;
  }
  for (auto& target : vm_.vcpus_) {
    if (!apic::addresses(sent, index_, target->apic_.address())) continue;
    co_await isa::compute(vm_.kvm_.costs().apic_send);
    switch (sent.mode) {
      case apic::delivery_mode::fixed:
        co_await vm_.kvm_.path_->accept(*target, sent.vector);
        continue;
      case apic::delivery_mode::startup:
        if (target->state_ != mp_state::uninitialized) continue;
        if (!std::exchange(target->start_pending_, true) && ++vm_.started_ == vm_.vcpus())
          vm_.kvm_.path_->all_started(vm_);
        break;
      default:
        if (sent.mode == apic::delivery_mode::init && target->state_ == mp_state::uninitialized) continue;
        throw cpu::invariant_error("vCPU " + std::to_string(index_) + " of '" + vm_.name() + "' sends " +
                                       word_for(sent.mode) + " to vCPU " + std::to_string(target->index_) +
                                       ", which runs: KVM does not emulate that yet",
                                   vm_.kvm_.host_.hardware().time().now());
    }
    if (target.get() != this) co_await target->kick();
  }
}

// kvm_vcpu_kick: out of its sleep, or out of the guest.
cpu::program vcpu::kick() {
  kernel& host = vm_.kvm_.host_;
  if (posts()) {
    const unsigned cpu = host.index_of(co_await isa::this_cpu());
    posting_kick kick{virtual_apic_->number, cpu, vm_.kvm_.running_[cpu]};
    co_await vm_.kvm_.run(kick);
    co_return;
  }
  if (blocking_) {
    if (thread_->state == thread_state::sleeping) {
      ready_ = true;
      co_await host.wake_up(*thread_);
    }
    co_return;
  }
  if (mode_ != run_mode::in_guest) co_return;
  mode_ = run_mode::exiting;
  const unsigned on = thread_->entity->cpu;
  if (on != host.index_of(co_await isa::this_cpu())) co_await host.send_ipi(on, vector::reschedule);
}

// -- PAUSE exits ------------------------------------------------------------------------------------------------------

/// What the spin policy may see and do, for one exit of one vCPU.
class on_spin_context final : public spin_context {
 public:
  /// `handler` is what the handler itself costs.
  on_spin_context(vcpu& me, cycles handler)
      : me_{me}, vm_{me.vm_}, kernel_mode_{me.guest_in_kernel_mode()}, owed_{handler} {}

  unsigned vcpus() const override { return vm_.vcpus(); }
  unsigned me() const override { return me_.index_; }
  bool kernel_mode() const override { return kernel_mode_; }
  unsigned& last_boosted() override { return vm_.last_boosted_; }
  bool& in_spin_loop(unsigned i) override { return candidate(i).in_spin_loop_; }
  bool& dy_eligible(unsigned i) override { return candidate(i).dy_eligible_; }

  cpu::task<spin_candidate> check(unsigned i) override {
    vcpu& v = candidate(i);
    ++candidates_;
    owed_ += vm_.kvm_.costs().candidate;
    co_await isa::load(*v.line_);
    spin_candidate c;
    c.running_in_guest = v.mode_ != vcpu::run_mode::outside_guest;
    c.preempted = v.preempted_;
    c.ready = v.ready_;
    c.preempted_in_kernel = v.preempted_in_kernel_;
    c.blocking = v.blocking_;
    c.runnable = v.runnable();
    c.in_spin_loop = v.in_spin_loop_;
    c.pending_posted_interrupt = v.posts() && v.interrupt_posted();
    co_return c;
  }

  cpu::task<int> yield_to(unsigned i) override {
    vcpu& target = candidate(i);
    ++attempts_;
    owed_ += vm_.kvm_.costs().yield_target;
    co_await settle();
    const vcpu_yield_rules rules = vm_.kvm_.policy().yield_rules();
    if (rules.rejects_guest_mode && target.mode_ != vcpu::run_mode::outside_guest) co_return 0;
    const int result = co_await vm_.kvm_.host().yield_to(target.thread(), true, {.esrch_test = rules.esrch_test});
    if (result > 0) accepted_ = i + 1;
    co_return result;
  }

  cpu::program sleep(std::uint64_t ns) override {
    kernel& host = vm_.kvm_.host();
    owed_ += vm_.kvm_.costs().sleep_on_spin;
    co_await settle();
    co_await isa::cli();
    co_await host.arm(me_.sleep_timer_, host.hardware().time().now() + host.from_ns(ns));
    me_.blocking_ = true;
    if (!me_.interrupt_pending()) {
      host.prepare_to_sleep(me_.thread());
      co_await host.schedule();
    }
    me_.blocking_ = false;
    host.cancel(me_.sleep_timer_);
    co_await isa::sti();
  }

  /// Spends what the handler and looking at candidates cost besides their lines.
  isa::conditional<isa::operation<void>> settle() {
    const cycles owed = std::exchange(owed_, cycles{0});
    return isa::when(owed != cycles{0}, isa::compute(owed));
  }

  on_spin_fact fact() const {
    return {static_cast<std::uint16_t>(vm_.number_), static_cast<std::uint16_t>(me_.index_), candidates_, attempts_,
            static_cast<std::uint16_t>(accepted_)};
  }

 private:
  /// What a policy names must be there: a policy may be anybody's.
  vcpu& candidate(unsigned i) {
    if (i >= vm_.vcpus())
      throw cpu::invariant_error("spin policy '" + std::string{vm_.kvm_.policy().name()} + "' names vCPU " +
                                     std::to_string(i) + ", and '" + vm_.name() + "' has " +
                                     std::to_string(vm_.vcpus()) + " (numbered from 0)",
                                 vm_.kvm_.host().hardware().time().now());
    return vm_.cpu(i);
  }

  vcpu& me_;
  virtual_machine& vm_;
  bool kernel_mode_;
  cycles owed_;
  std::uint16_t candidates_ = 0;
  std::uint16_t attempts_ = 0;
  unsigned accepted_ = 0;
};

// The window grows before the handler runs and is written before the next entry (vmx.c, handle_pause). The mode of the
// PAUSE is that of the guest at the exit, as svm.c passes it (pause_interception: svm_get_cpl() == 0, a field of the
// VMCB in memory). vmx.c passes true without a look, because PAUSE-loop exiting counts at CPL 0 only; that is the same
// answer for the same cost.
cpu::program vcpu::handle_pause() {
  auto here = co_await isa::in(code::handle_pause);
  kvm& k = vm_.kvm_;
  const ple_window_change change = window_.on_pause_exit();
  if (change.changed()) k.host_.state(host_cpu(), window_fact(change));
  on_spin_context context{*this, k.costs().handle_pause + k.costs().on_spin};
  {
    auto inner = co_await isa::in(code::kvm_vcpu_on_spin);
    co_await k.policy_->on_spin(context);
    co_await context.settle();
  }
  k.host_.state(host_cpu(), context.fact());
  co_await skip_instruction(2);
}

}  // namespace vmxsys::models
