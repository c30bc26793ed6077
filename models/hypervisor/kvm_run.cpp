#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/vmx/control.hpp>
#include <vmxsys/vmx/event.hpp>
#include <vmxsys/vmx/minimal_vmcs.hpp>

#include "kvm.hpp"
#include "kvm_code.hpp"
#include "kvm_facts.hpp"

// The life of a vCPU thread: create, enter, exit, block; and what a context switch does to it.
namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

cpu::program vcpu::run() {
  kernel& host = vm_.kvm_.host_;
  co_await create();
  for (;;) {
    if (state_ != mp_state::runnable) {
      co_await block();
    } else if (posts()) {
      co_await enter_posted();
    } else {
      co_await enter_guest();
    }
    co_await host.cond_resched();
  }
}

// A fresh VMCS, made current and filled, as vmx_create_vcpu and vmx_vcpu_reset do.
cpu::program vcpu::create() {
  auto here = co_await isa::in(code::vmx_create_vcpu);
  kvm& k = vm_.kvm_;
  cpu::machine& hw = k.host_.hardware();
  const vmx::capabilities& caps = hw.config().capabilities;
  guest_ = &vm_.config_.boot(index_);

  vmx::minimal_vmcs_options options;
  options.guest_rip = guest_->location().rip();
  options.guest_rsp = guest_->rsp();
  options.guest_rflags = vmx::rflags_bits::one;
  options.host_rsp = thread_->strand.rsp();
  options.pin = vmx::pin_based::external_interrupt_exiting | vmx::pin_based::nmi_exiting;
  options.primary = vmx::primary::hlt_exiting | vmx::primary::use_msr_bitmaps;
  options.secondary = k.pause_loop_exiting() ? vmx::secondary::pause_loop_exiting : 0;
  options.ple_gap = k.config_.ple_gap;
  options.ple_window = window_.value();
  k.path_->ask_for(options, vm_.apic_mode());
  k.timers_->ask_for(options);

  const bool enabled = co_await k.host_.irq_save();
  hw.physical().write<std::uint32_t>(vmcs_, caps.revision());
  co_await isa::vmclear(vmcs_);
  co_await load_on(k.host_.index_of(co_await isa::this_cpu()));
  for (const auto& [f, value] : vmx::minimal_vmcs_fields(caps, options)) {
    co_await isa::vmwrite(f, value);
    if (f == field::primary_processor_based_controls) primary_controls_ = static_cast<std::uint32_t>(value);
  }
  co_await isa::vmwrite(field::msr_bitmap_address, vm_.msr_bitmap_ != 0 ? vm_.msr_bitmap_ : k.msr_bitmap_);
  if ((options.pin & vmx::pin_based::activate_vmx_preemption_timer) != 0)
    co_await isa::vmwrite(field::vmx_preemption_timer_value, preemption_timer_load::longest);
  co_await k.path_->set_up(*this);
  co_await k.timers_->set_up(*this);
  if (posts()) co_await load_posting();
  co_await k.host_.irq_restore(enabled);
}

// Makes the VMCS current here. One that is active on another CPU is cleared there first (loaded_vmcs_clear): SDM
// Vol. 3C §27.11.1 forbids two.
cpu::program vcpu::load_on(unsigned cpu) {
  kvm& k = vm_.kvm_;
  if (loaded_on_ >= 0 && loaded_on_ != static_cast<int>(cpu)) {
    const auto from = static_cast<unsigned>(loaded_on_);
    co_await isa::sti();  // the other CPU may be calling this one
    co_await k.host_.call_on(from, [this, from]() -> cpu::program {
      if (loaded_on_ != static_cast<int>(from)) co_return;
      co_await isa::vmclear(vmcs_);
      if (vm_.kvm_.current_vmcs_[from] == vmcs_) vm_.kvm_.current_vmcs_[from] = 0;
      loaded_on_ = -1;
    });
    co_await isa::cli();
    launched_ = false;
  }
  if (k.current_vmcs_[cpu] != vmcs_) {
    co_await isa::vmptrld(vmcs_);
    k.current_vmcs_[cpu] = vmcs_;
  }
  if (loaded_on_ != static_cast<int>(cpu)) {
    loaded_on_ = static_cast<int>(cpu);
    const cpu::logical_cpu& c = co_await isa::this_cpu();
    co_await isa::vmwrite(field::host_gs_base, c.gs_base());
    co_await isa::vmwrite(field::host_idtr_base, c.idtr_base());
  }
}

// -- context switches (kvm_sched_out, kvm_sched_in) -------------------------------------------------------------------

cpu::program vcpu::sched_out(models::thread& self) {
  auto here = co_await isa::in(code::vcpu_put);
  if (self.state == thread_state::runnable) {
    preempted_ = true;
    ready_ = true;
    preempted_in_kernel_ = guest_in_kernel_mode();
  }
  co_await isa::compute(vm_.kvm_.costs().vcpu_put);
  if (posts()) co_await put_posting(self.state == thread_state::runnable);
  co_await isa::store(*line_, 1);
}

/// CPL 0 when the guest was left (vmx_get_cpl: the DPL of SS). Takes no time of its own: what the read costs is part of
/// the cost of where it is asked. False before the vCPU is made.
bool vcpu::guest_in_kernel_mode() const {
  const vmx::vmcs* v = vm_.kvm_.host_.hardware().active_vmcs().find(vmcs_);
  return v != nullptr && (v->read(field::guest_ss_access_rights) & vmx::access_rights::dpl) == 0;
}

cpu::program vcpu::sched_in(models::thread&) {
  auto here = co_await isa::in(code::vcpu_load);
  preempted_ = false;
  ready_ = false;
  co_await isa::store(*line_, 0);
  if (vm_.kvm_.pause_loop_exiting()) {
    const ple_window_change change = window_.on_sched_in();
    if (change.changed()) vm_.kvm_.host_.state(host_cpu(), window_fact(change));
  }
  co_await isa::compute(vm_.kvm_.costs().vcpu_load);
  if (guest_ == nullptr) co_return;
  co_await load_on(vm_.kvm_.host_.index_of(co_await isa::this_cpu()));
  if (posts()) co_await load_posting();
}

ple_window_fact vcpu::window_fact(const ple_window_change& change) const {
  return {static_cast<std::uint16_t>(vm_.number_), static_cast<std::uint16_t>(index_), change.before, change.after};
}

unsigned vcpu::host_cpu() const {
  const cpu::logical_cpu* on = thread_->strand.on_cpu();
  return on == nullptr ? 0 : vm_.kvm_.host_.index_of(*on);
}

// -- entering ---------------------------------------------------------------------------------------------------------

// Only this frame stays while the guest runs.
cpu::program vcpu::enter_guest() {
  auto here = co_await isa::in(code::vcpu_enter_guest);
  const bool ready = co_await get_ready();
  if (!ready) co_return;
  const vmx::exit_info exit = co_await entry_instruction();
  mode_ = run_mode::outside_guest;
  guest_ = thread_->strand.passenger();
  // The processor keeps the TPR; whether the vCPU may sleep depends on it.
  if (virtual_apic_) apic_.set_task_priority(virtual_apic_->page.vtpr());
  co_await announce_exit(exit);
  co_await handle_exit(exit);
}

cpu::vm_entry_instruction vcpu::entry_instruction() {
  if (launched_) return isa::vmresume();
  launched_ = true;
  return isa::vmlaunch();
}

// Up to the entry, with interrupts off at the end. False: something else has to be done first, and they are on.
cpu::task<bool> vcpu::get_ready() {
  kernel& host = vm_.kvm_.host_;
  if (!thread_->extended_state_loaded) co_await host.load_extended_state(*thread_);
  co_await isa::cli();
  co_await prepare_entry();
  const unsigned cpu = host.index_of(co_await isa::this_cpu());
  if (host.need_resched(cpu) || state_ != mp_state::runnable) {
    co_await isa::sti();
    co_return false;
  }
  mode_ = run_mode::in_guest;
  if (prepared_too_early()) {  // kvm_vcpu_exit_request
    mode_ = run_mode::outside_guest;
    co_await isa::sti();
    co_return false;
  }
  co_await announce_entry();
  co_return true;
}

// An interrupt has come after the look at the local APIC, and whoever brought it saw the vCPU outside the guest.
bool vcpu::prepared_too_early() const {
  return (apic_.highest_request() >= 0 && !window_exiting_) ||
         (virtual_apic_ && wanted_tpr_threshold() != virtual_apic_->tpr_threshold);
}

// From here on nothing keeps it from entering.
cpu::program vcpu::announce_entry() {
  kernel& host = vm_.kvm_.host_;
  const unsigned cpu = host.index_of(co_await isa::this_cpu());
  const vmx::vmcs& active = *(co_await isa::this_cpu()).vmx_state().current;
  host.state(cpu, kvm_entry_fact{static_cast<std::uint16_t>(vm_.number_), static_cast<std::uint16_t>(index_),
                                 static_cast<std::uint16_t>(cpu), thread_->pid, active.read(field::guest_rip)});
  co_await host.trace();
  co_await vm_.kvm_.timers_->before_entry(*this);  // the last thing before the entry: it may count from there
  if (advance_) co_await wait_for_deadline();
}

// vcpu_enter_guest with interrupts off: what must be in the VMCS before the entry.
cpu::program vcpu::prepare_entry() {
  co_await isa::compute(vm_.kvm_.costs().entry_prepare);
  if (start_pending_) {  // a SIPI told where to start; the guest begins anew
    start_pending_ = false;
    co_await isa::vmwrite(field::guest_rip, guest_->location().rip());
    co_await isa::vmwrite(field::guest_rsp, guest_->rsp());
    co_await isa::vmwrite(field::guest_rflags, vmx::rflags_bits::one);
  }
  if (eoi_exits_changed()) co_await load_eoi_exits();
  if (window_.take_dirty() && vm_.kvm_.pause_loop_exiting()) co_await isa::vmwrite(field::ple_window, window_.value());
  if (vm_.kvm_.timers_->must_restart(*this)) co_await vm_.kvm_.timers_->restart(*this);
  if (apic_.highest_request() >= 0) co_await inject();
  if (virtual_apic_ && !posts()) co_await update_tpr_threshold();
}

// Injects the highest pending interrupt, or asks for the window in which it can be (inject_pending_event).
cpu::program vcpu::inject() {
  auto here = co_await isa::in(code::inject_interrupt);
  const vmx::vmcs& active = *vm_.kvm_.host_.hardware().active_vmcs().find(vmcs_);
  // An entry that was called off has left one staged: it goes first.
  const bool staged =
      vmx::is_injecting(static_cast<std::uint32_t>(active.read(field::vm_entry_interruption_information)));
  const std::uint64_t rflags = co_await isa::vmread(field::guest_rflags);
  const std::uint64_t blocked = co_await isa::vmread(field::guest_interruptibility_state);
  constexpr std::uint64_t shadows = vmx::interruptibility::sti | vmx::interruptibility::mov_ss;
  if (!staged && (rflags & vmx::rflags_bits::interrupt_flag) != 0 && (blocked & shadows) == 0) {
    co_await isa::compute(vm_.kvm_.costs().apic_inject);
    const std::uint8_t vec = apic_.acknowledge();
    kernel& host = vm_.kvm_.host_;
    host.state(host_cpu(),
               inject_fact{static_cast<std::uint16_t>(vm_.number_), static_cast<std::uint16_t>(index_), vec});
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x80000000u | vec);
  }
  if (apic_.highest_request() >= 0 && !window_exiting_) {
    window_exiting_ = true;
    co_await isa::vmwrite(field::primary_processor_based_controls,
                          primary_controls_ | vmx::primary::interrupt_window_exiting);
  }
}

// -- blocking ---------------------------------------------------------------------------------------------------------

// A halted guest with interrupts off wakes for nothing that this APIC can bring.
bool vcpu::runnable() const {
  return state_ == mp_state::runnable || event_pending() ||
         (interrupt_pending() && (state_ != mp_state::halted || halted_with_interrupts_));
}

bool vcpu::event_pending() const { return start_pending_ || (posts() && virtual_apic_->timer_pending); }

bool vcpu::interrupt_pending() const {
  if (!posts()) return apic_.highest_request() >= 0;
  return state_ != mp_state::uninitialized && (deliverable() != 0 || interrupt_posted());
}

// kvm_vcpu_block: sleeps until something is there to run for.
cpu::program vcpu::block() {
  auto here = co_await isa::in(code::kvm_vcpu_block);
  kernel& host = vm_.kvm_.host_;
  const cycles began = host.hardware().time().now();
  co_await isa::compute(vm_.kvm_.costs().block);
  co_await isa::cli();
  if (state_ == mp_state::halted) co_await vm_.kvm_.timers_->before_block(*this);
  if (posts()) {
    co_await wait_for_posting();
  } else {
    co_await wait_for_event();
  }
  blocking_ = false;
  co_await vm_.kvm_.timers_->after_block(*this);
  state_ = mp_state::runnable;
  host.state(host_cpu(), vcpu_block_fact{static_cast<std::uint16_t>(vm_.number_), static_cast<std::uint16_t>(index_),
                                         host.hardware().time().now() - began});
  co_await isa::sti();
}

cpu::program vcpu::wait_for_event() {
  kernel& host = vm_.kvm_.host_;
  while (!runnable()) {
    blocking_ = true;
    host.prepare_to_sleep(*thread_);
    if (runnable()) {
      host.cancel_sleep(*thread_);
      break;
    }
    co_await host.schedule();
  }
}

cpu::program vcpu::sleep_timer::expire() { co_await of_.vm_.kvm_.host_.wake_up(*of_.thread_); }

}  // namespace vmxsys::models
