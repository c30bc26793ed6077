#include <algorithm>
#include <utility>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

// vCPUs to which interrupts are posted. What comes in which order is the posting protocol's; here its steps are
// instructions.
namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

cpu::task<std::uint64_t> kvm::perform(posting_action a) {
  using op = posting_operation;
  namespace layout = apic::posted_interrupt_descriptor;
  vcpu& v = *numbered_.at(a.vcpu);
  virtual_apic_memory& m = *v.virtual_apic_;
  std::uint64_t result = 0;
  switch (a.what) {
    case op::set_pir: {
      const std::uint64_t bit = layout::pir_bit_of(a.vector);
      result = co_await isa::fetch_or(*m.pir[a.vector >> 6], bit);
      co_return (result & bit) != 0;
    }
    case op::set_on:
      result = co_await isa::fetch_or(*m.info, layout::on);
      co_return result& layout::on;
    case op::clear_on:
      result = co_await isa::fetch_and(*m.info, ~layout::on);
      co_return result& layout::on;
    case op::set_sn:
      result = co_await isa::fetch_or(*m.info, layout::sn);
      co_return (result & layout::sn) != 0;
    case op::clear_sn:
      result = co_await isa::fetch_and(*m.info, ~layout::sn);
      co_return (result & layout::sn) != 0;
    case op::load_info:
      result = co_await isa::load(*m.info);
      co_return result;
    case op::exchange_info:
      result = co_await isa::cmpxchg(*m.info, a.expected, a.value);
      co_return result;
    case op::load_pir:
      result = co_await isa::load(*m.pir[a.word]);
      co_return result;
    case op::take_pir:
      result = co_await isa::exchange(*m.pir[a.word], 0);
      co_return result;
    case op::merge_irr:
      m.page.request_64(a.word, a.value);
      co_return 0;
    case op::update_rvi:  // vmx_set_rvi
      if (v.loaded_on_ >= 0) {
        const auto highest = static_cast<std::uint64_t>(std::max(m.page.highest_requested(), 0));
        const std::uint64_t status = co_await isa::vmread(field::guest_interrupt_status);
        if ((status & 0xFF) != highest)
          co_await isa::vmwrite(field::guest_interrupt_status, (status & ~std::uint64_t{0xFF}) | highest);
      }
      co_return v.deliverable();
    case op::load_mode:
      result = co_await isa::load(*m.mode);
      co_return result;
    case op::store_mode:
      co_await isa::exchange(*m.mode, a.value);
      v.mode_ = static_cast<vcpu_mode>(a.value);
      co_return 0;
    case op::exchange_mode:
      result = co_await isa::cmpxchg(*m.mode, a.expected, a.value);
      if (result == a.expected) v.mode_ = static_cast<vcpu_mode>(a.value);
      co_return result;
    case op::load_cpu:
      co_return m.last_cpu;
    case op::load_requests:
      result = v.event_pending();
      if (!v.blocking_) {
        const unsigned cpu = host_.index_of(co_await isa::this_cpu());
        result |= host_.need_resched(cpu) || v.state_ != vcpu::mp_state::runnable || v.eoi_exits_changed();
      }
      co_return result;
    case op::serve_requests:
      co_await v.serve_requests();
      co_return 0;
    case op::announce_wait:
      v.blocking_ = true;
      host_.prepare_to_sleep(*v.thread_);
      co_return 0;
    case op::cancel_wait:
      host_.cancel_sleep(*v.thread_);
      co_return 0;
    case op::sleep:
      co_await host_.schedule();
      co_return 0;
    case op::wake_up:
      if (v.blocking_ && v.thread_->state == thread_state::sleeping) {
        v.ready_ = true;
        result = co_await host_.wake_up(*v.thread_);
      }
      co_return result;
    case op::add_waiter:
      co_await waiting_[a.cpu].lock->acquire();
      waiting_[a.cpu].vcpus.push_back(a.vcpu);
      co_await waiting_[a.cpu].lock->release();
      co_return 0;
    case op::remove_waiter:
      co_await waiting_[a.cpu].lock->acquire();
      std::erase(waiting_[a.cpu].vcpus, a.vcpu);
      co_await waiting_[a.cpu].lock->release();
      co_return 0;
    case op::lock_waiters:
      co_await waiting_[a.cpu].lock->acquire();
      co_return 0;
    case op::next_waiter:
      co_return a.value < waiting_[a.cpu].vcpus.size() ? waiting_[a.cpu].vcpus[a.value] + 1u : 0u;
    case op::unlock_waiters:
      co_await waiting_[a.cpu].lock->release();
      co_return 0;
    case op::send_ipi:
      co_await host_.send_ipi(a.cpu, a.vector);
      co_return 0;
    case op::disable_interrupts:
      co_await isa::cli();
      co_return 0;
    case op::enable_interrupts:
      co_await isa::sti();
      co_return 0;
    case op::enter_guest:
      co_await v.enter_from_posting();
      co_return 0;
    case op::none:
    case op::set_irr:
    case op::set_request:
      break;
  }
  throw cpu::invariant_error(
      std::string{"the posting protocol asks for "} + name_of(a.what) + ", which is not for virtual APICs",
      host_.hardware().time().now());
}

// vcpu_enter_guest, with the loop of fast paths inside.
cpu::program vcpu::enter_posted() {
  auto here = co_await isa::in(code::vcpu_enter_guest);
  kvm& k = vm_.kvm_;
  if (!thread_->extended_state_loaded) co_await k.host_.load_extended_state(*thread_);
  posting_entry entry{virtual_apic_->number};
  for (;;) {
    co_await k.run(entry);
    if (!entry.entered()) co_return;
    const bool again = co_await fast_path();
    if (!again) break;
    entry = posting_entry::again(virtual_apic_->number);
  }
  posting_leave leave{virtual_apic_->number};
  const std::uint64_t left = co_await k.perform(leave.next());
  leave.done(left);
  co_await handle_exit(virtual_apic_->exit);  // which does the rest of it: interrupts on
}

// After the sync, with interrupts off. The trace has an entry and an exit for each, fast path or not.
cpu::program vcpu::enter_from_posting() {
  co_await announce_entry();
  const vmx::exit_info exit = co_await entry_instruction();
  virtual_apic_->exit = exit;
  guest_ = thread_->strand.passenger();
  co_await announce_exit(exit);
}

cpu::program vcpu::serve_requests() {
  co_await prepare_entry();
  if (!std::exchange(virtual_apic_->timer_pending, false)) co_return;
  co_await timer_expired();
  if (vm_.kvm_.timers_->must_restart(*this)) co_await vm_.kvm_.timers_->restart(*this);
}

// handle_fastpath_set_msr_irqoff, handle_fastpath_preemption_timer: true if the guest is to go on at once.
cpu::task<bool> vcpu::fast_path() {
  if (!vm_.kvm_.config_.fast_paths) co_return false;
  const vmx::exit_info& exit = virtual_apic_->exit;
  if (exit.reason == vmx::exit_reason::preemption_timer) {
    co_await isa::compute(vm_.kvm_.costs().fast_path);
    co_await handle_preemption_timer();
    co_return true;
  }
  if (exit.reason != vmx::exit_reason::wrmsr) co_return false;
  const auto msr = static_cast<std::uint32_t>(guest_->reg(cpu::gpr::rcx));
  const std::uint64_t value = guest_->reg(cpu::gpr::rdx) << 32 | (guest_->reg(cpu::gpr::rax) & 0xFFFFFFFF);
  const apic::interrupt_command command = apic::decode_icr(value);
  const bool unicast = msr == apic::msr::icr && command.mode == apic::delivery_mode::fixed &&
                       command.to == apic::destination_mode::physical && command.group == apic::shorthand::none &&
                       command.destination != apic::broadcast_destination;
  if (!unicast && msr != apic::msr::tsc_deadline) co_return false;
  auto here = co_await isa::in(code::kvm_emulate_wrmsr);
  co_await isa::compute(vm_.kvm_.costs().fast_path);
  const apic::register_outcome outcome = apic_.write_msr(msr, value, vm_.kvm_.host_.hardware().time().now());
  if (outcome.fault) co_return false;  // as if nobody had tried
  if (unicast) show_register(msr);
  co_await act_on(outcome);
  co_await skip_instruction(2);
  co_return true;
}

// A timer that expires ends the sleep, but the halt only if its interrupt can be taken (kvm_vcpu_check_block).
cpu::program vcpu::wait_for_posting() {
  for (;;) {
    posting_block wait{virtual_apic_->number};
    co_await vm_.kvm_.run(wait);
    const bool only_timer = virtual_apic_->timer_pending && !start_pending_ && deliverable() == 0;
    if (!only_timer || can_take(timer_vector())) co_return;
    virtual_apic_->timer_pending = false;
    co_await timer_expired();
    co_await vm_.kvm_.timers_->before_block(*this);
  }
}

// What the emulated local APIC has accepted goes the way of all interrupts.
cpu::program vcpu::deliver_accepted() {
  while (apic_.highest_request() >= 0) {
    const std::uint8_t vector = apic_.acknowledge();
    apic_.end_of_interrupt();
    co_await vm_.kvm_.path_->accept(*this, vector);
  }
}

// -- where notifications go -------------------------------------------------------------------------------------------

// vmx_vcpu_pi_load
cpu::program vcpu::load_posting() {
  kvm& k = vm_.kvm_;
  virtual_apic_memory& m = *virtual_apic_;
  const unsigned cpu = k.host_.index_of(co_await isa::this_cpu());
  k.running_[cpu] = m.number;
  const bool xapic = k.host_.apic_mode() == apic::apic_mode::xapic;
  posting_load load{m.number, cpu, m.last_cpu, xapic ? cpu << 8 : cpu};
  m.last_cpu = cpu;
  co_await k.run(load);
}

// vmx_vcpu_pi_put. Where only software posts, it wakes whom it finds waiting.
cpu::program vcpu::put_posting(bool preempted) {
  kvm& k = vm_.kvm_;
  const unsigned cpu = k.host_.index_of(co_await isa::this_cpu());
  k.running_[cpu] = no_vcpu;
  if (!k.path_->posts_by_hardware() && !vm_.devices_post_) co_return;
  const bool takes_interrupts = state_ == mp_state::halted && halted_with_interrupts_;
  posting_put put{virtual_apic_->number, cpu, {preempted, blocking_, !takes_interrupts}};
  co_await k.run(put);
}

bool vcpu::interrupt_posted() const {
  const virtual_apic_memory& m = *virtual_apic_;
  return has_pending_interrupt(m.info->peek(),
                               {m.pir[0]->peek(), m.pir[1]->peek(), m.pir[2]->peek(), m.pir[3]->peek()});
}

/// What an entry would deliver, or what ends a halt: 0 if there is nothing (kvm_vcpu_has_events).
std::uint8_t vcpu::deliverable() const {
  const int highest = virtual_apic_->page.highest_requested();
  return can_take(highest) ? static_cast<std::uint8_t>(highest) : std::uint8_t{0};
}

/// `vector` is -1 if there is none.
bool vcpu::can_take(int vector) const {
  if (state_ == mp_state::uninitialized || (state_ == mp_state::halted && !halted_with_interrupts_)) return false;
  const int service = virtual_apic_->page.highest_in_service();
  return vector >> 4 > std::max(virtual_apic_->page.vtpr() >> 4, service >> 4);
}

}  // namespace vmxsys::models
