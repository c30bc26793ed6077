#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "detail/exit_handlers.hpp"
#include "detail/kvm_code.hpp"
#include "detail/posted_run.hpp"
#include "detail/vcpu_halt_context.hpp"
#include "kvm.hpp"
#include "kvm_facts.hpp"

// The life of a vCPU's thread: create, enter, exit, block.
namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

cpu::program vcpu::run() {
  co_await create();
  for (;;) {
    if (state_ != mp_state::runnable) {
      co_await block();
    } else if (posts()) {
      co_await enter_posted(*this);
    } else {
      co_await enter_guest();
    }
    co_await host().cond_resched();
  }
}

cpu::program vcpu::create() {
  auto here = co_await isa::in(code::vmx_create_vcpu);
  const kvm& k = hypervisor();
  guest_ = &vm_.config().boot(index_);

  vmx::minimal_vmcs_options options;
  options.guest_rip = guest_->location().rip();
  options.guest_rsp = guest_->rsp();
  options.guest_rflags = vmx::rflags_bits::one;
  options.host_rsp = thread_->strand.rsp();
  options.pin = vmx::pin_based::external_interrupt_exiting | vmx::pin_based::nmi_exiting;
  options.primary = vmx::primary::hlt_exiting | vmx::primary::use_msr_bitmaps;
  options.secondary = k.pause_loop_exiting() ? vmx::secondary::pause_loop_exiting : 0;
  options.ple_gap = k.config().ple_gap;
  options.ple_window = window_.value();
  k.path().select_controls(options, vm_.apic_mode());
  k.timers().select_controls(options);

  const bool enabled = co_await host().irq_save();
  co_await loaded_vmcs_.create(options);
  co_await isa::vmwrite(field::msr_bitmap_address, vm_.msr_bitmap());
  if ((options.pin & vmx::pin_based::activate_vmx_preemption_timer) != 0)
    co_await isa::vmwrite(field::vmx_preemption_timer_value, preemption_timer_load::longest);
  co_await k.path().init_vmcs(*this);
  co_await k.timers().init_vmcs(*this);
  if (posts()) co_await load_posting(*this);
  co_await host().irq_restore(enabled);
}

// -- entering ---------------------------------------------------------------------------------------------------------

// Only this frame stays while the guest runs.
cpu::program vcpu::enter_guest() {
  auto here = co_await isa::in(code::vcpu_enter_guest);
  const bool ready = co_await get_ready();
  if (!ready) co_return;
  const vmx::exit_info exit = co_await loaded_vmcs_.entry();
  guest_left();
  // The processor keeps the TPR; whether the vCPU may sleep depends on it.
  if (lapic_.has_page()) lapic_.registers().set_task_priority(lapic_.memory().page.vtpr());
  co_await announce_exit(*this, exit);
  if (lines_) co_await lines_->set_mode();
  mode_ = vcpu_mode::outside_guest;
  co_await handle_exit(*this, exit);
}

// Up to the entry, with interrupts off at the end. False: something else has to be done first, and they are on.
cpu::task<bool> vcpu::get_ready() {
  if (!thread_->extended_state_loaded) co_await host().load_extended_state(*thread_);
  co_await isa::cli();
  co_await prepare_entry();
  const unsigned cpu = host().index_of(co_await isa::this_cpu());
  if (host().need_resched(cpu) || state_ != mp_state::runnable) {
    co_await isa::sti();
    co_return false;
  }
  if (lines_) co_await lines_->set_mode();
  mode_ = vcpu_mode::in_guest;
  if (prepared_too_early()) {  // kvm_vcpu_exit_request
    mode_ = vcpu_mode::outside_guest;
    co_await isa::sti();
    co_return false;
  }
  co_await announce_entry();
  co_return true;
}

// An interrupt has come after the look at the local APIC, and its sender saw the vCPU outside the guest.
bool vcpu::prepared_too_early() const {
  return (lapic_.registers().highest_request() >= 0 && !loaded_vmcs_.window_exiting()) ||
         (lapic_.has_page() && lapic_.tpr_threshold_changed());
}

// From here on nothing keeps it from entering.
cpu::program vcpu::announce_entry() {
  const unsigned cpu = host().index_of(co_await isa::this_cpu());
  const vmx::vmcs& active = *(co_await isa::this_cpu()).vmx_state().current;
  host().record(cpu, kvm_entry_fact{id().vm, id().vcpu, static_cast<std::uint16_t>(cpu), thread_->pid,
                                    active.read(field::guest_rip)});
  co_await host().trace();
  co_await hypervisor().timers().before_entry(*this);  // the last thing before the entry: it may count from there
  if (timer_.advanced()) co_await timer_.wait_for_deadline();
}

cpu::program vcpu::prepare_entry() {
  const kvm& k = hypervisor();
  co_await isa::compute(k.costs().entry_prepare);
  if (start_pending_) {  // a SIPI told where to start; the guest begins anew
    start_pending_ = false;
    co_await isa::vmwrite(field::guest_rip, guest_->location().rip());
    co_await isa::vmwrite(field::guest_rsp, guest_->rsp());
    co_await isa::vmwrite(field::guest_rflags, vmx::rflags_bits::one);
  }
  if (lapic_.must_load(vm_.eoi_exits())) co_await lapic_.load(vm_.eoi_exits());
  if (window_.take_dirty() && k.pause_loop_exiting()) co_await isa::vmwrite(field::ple_window, window_.value());
  if (k.timers().must_restart(*this)) co_await k.timers().restart(*this);
  if (lines_) co_await lines_->take_requests();
  if (lapic_.registers().highest_request() >= 0) co_await inject();
  if (lapic_.has_page() && !posts()) co_await lapic_.update_tpr_threshold();
}

// Injects the highest pending interrupt, or asks for the window in which it can be (inject_pending_event).
cpu::program vcpu::inject() {
  auto here = co_await isa::in(code::inject_interrupt);
  const vmx::vmcs& active = *loaded_vmcs_.peek();
  // An entry that was called off has left one staged: it goes first.
  const bool staged =
      vmx::is_injecting(static_cast<std::uint32_t>(active.read(field::vm_entry_interruption_information)));
  if (lines_) co_await lines_->find_irr(static_cast<std::uint8_t>(lapic_.registers().highest_request()));
  const std::uint64_t rflags = co_await isa::vmread(field::guest_rflags);
  const std::uint64_t blocked = co_await isa::vmread(field::guest_interruptibility_state);
  constexpr std::uint64_t shadows = vmx::interruptibility::sti | vmx::interruptibility::mov_ss;
  if (!staged && (rflags & vmx::rflags_bits::interrupt_flag) != 0 && (blocked & shadows) == 0) {
    co_await isa::compute(hypervisor().costs().apic_inject);
    const std::uint8_t vec = lapic_.registers().acknowledge();
    if (lines_) co_await lines_->clear_irr(vec);
    host().record(host_cpu(), inject_fact{id().vm, id().vcpu, vec});
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x80000000u | vec);
  }
  if (lapic_.registers().highest_request() >= 0 && !loaded_vmcs_.window_exiting())
    co_await loaded_vmcs_.set_window_exiting(true);
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

// -- blocking ---------------------------------------------------------------------------------------------------------

void vcpu::halt(bool with_interrupts) {
  halted_with_interrupts_ = with_interrupts;
  state_ = mp_state::halted;
}

// kvm_vcpu_block: sleeps until something is there to run for.
cpu::program vcpu::block() {
  auto here = co_await isa::in(code::kvm_vcpu_block);
  const timer_backend& timers = hypervisor().timers();
  const cycles began = host().hardware().time().now();
  co_await isa::compute(hypervisor().costs().block);
  co_await isa::cli();
  vcpu_halt_context context{*this};
  if (state_ == mp_state::halted) {
    co_await timers.before_block(*this);
    co_await hypervisor().halts().on_halt(context);
    unhalted_ = false;
  }
  // What a policy has seen without sleeping may be of too low a priority to end the halt.
  if (!context.slept()) co_await wait();
  blocking_ = false;
  co_await timers.after_block(*this);
  state_ = mp_state::runnable;
  host().record(host_cpu(), vcpu_block_fact{id().vm, id().vcpu, host().hardware().time().now() - began});
  co_await isa::sti();
}

// No coroutine, nor is what a halt context makes of it: every frame stays as long as the guest halts.
cpu::program vcpu::wait() { return posts() ? wait_for_posting(*this) : wait_for_event(); }

void vcpu::prepare_to_wait() {
  blocking_ = true;
  host().prepare_to_sleep(*thread_);
}

cpu::program vcpu::wait_for_event() {
  while (!runnable()) {
    prepare_to_wait();
    if (runnable()) {
      host().cancel_sleep(*thread_);
      break;
    }
    co_await host().schedule();
  }
}

cpu::program vcpu::sleep_timer::expire() { co_await of_.host().wake_up(of_.thread()); }

cpu::program vcpu::sleep(cycles time) {
  if (!sleep_timer_) sleep_timer_ = std::make_unique<sleep_timer>(*this);
  co_await isa::cli();
  co_await host().arm(*sleep_timer_, host().hardware().time().now() + time);
  blocking_ = true;
  if (!interrupt_pending()) {
    host().prepare_to_sleep(*thread_);
    co_await host().schedule();
  }
  blocking_ = false;
  host().cancel(*sleep_timer_);
  co_await isa::sti();
}

}  // namespace vmxsys::models
