#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>

// The virtual local APIC timer, whatever its backend.
namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

cycles vcpu::timer_lead() const {
  if (!advance_ || apic_.timer().mode() != apic::timer_mode::tsc_deadline) return cycles{0};
  return preemption_timer_lead();
}

cycles vcpu::preemption_timer_lead() const {
  return advance_ ? advance_->lead(vm_.kvm_.host_.config().tsc_khz) : cycles{0};
}

cpu::program vcpu::timer_expired(cycles early, bool on_time) {
  const cycles now = vm_.kvm_.host_.hardware().time().now();
  const cycles due = apic_.next_timer_event();
  if (due == cycles::never() || due > now + max(timer_lead(), early)) co_return;
  const bool by_preemption_timer = early != cycles{0};
  if (advance_ && (by_preemption_timer || apic_.timer().mode() == apic::timer_mode::tsc_deadline)) {
    advance_->expired(due);
    if (on_time) co_await settle_deadline();
  }
  apic_.timer_fire(max(vm_.kvm_.host_.hardware().time().now(), due));
  if (posts()) co_await deliver_accepted();
}

cpu::program vcpu::note_timer() {
  virtual_apic_->timer_pending = true;
  co_await kick();
}

std::uint8_t vcpu::timer_vector() {
  const auto entry = static_cast<std::uint32_t>(read_register(apic::msr::lvt_timer).value);
  return (entry & apic::lvt::masked) != 0 ? std::uint8_t{0} : static_cast<std::uint8_t>(entry & apic::lvt::vector_bits);
}

cpu::program vcpu::lapic_timer::expire() { return of_.vm_.kvm_.timers_->expired(of_); }

// apic_timer_fn
cpu::program vcpu::software_timer_expired() {
  auto here = co_await isa::in(code::apic_timer_fn);
  co_await isa::compute(vm_.kvm_.costs().program_timer);
  if (posts()) {
    co_await note_timer();
  } else {
    co_await timer_expired();
    co_await kick();
  }
}

// vmx_update_hv_timer. The deadline may be more than the timer can count: then it exits too early, and starts anew.
cpu::program vcpu::load_preemption_timer() {
  const cpu::machine& hw = vm_.kvm_.host_.hardware();
  const std::uint64_t now = vm_.kvm_.host_.hardware().time().now().count();
  const unsigned shift = hw.config().capabilities.preemption_timer_shift();
  const cycles due = apic_.next_timer_event();
  std::optional<std::uint64_t> deadline;
  if (due != cycles::never()) {
    const auto set = set_preemption_deadline(due.count(), now, now, preemption_timer_lead().count(), shift);
    deadline = set ? set->tsc : due.count();
  }
  const std::optional<std::uint32_t> value = preemption_timer_.at_entry(deadline, now, shift);
  if (value) co_await isa::vmwrite(field::vmx_preemption_timer_value, *value);
}

cpu::program vcpu::handle_preemption_timer() {
  auto here = co_await isa::in(code::handle_preemption_timer);
  co_await isa::compute(vm_.kvm_.costs().program_timer);
  // The timer counts in steps of 2^shift cycles and is early by less than one.
  const cycles step{std::uint64_t{1} << vm_.kvm_.host_.hardware().config().capabilities.preemption_timer_shift()};
  co_await timer_expired(preemption_timer_lead() + step);
}

// __kvm_wait_lapic_expire: the guest is not to see an interrupt before its time, but if the wait is for one that this
// entry delivers.
cpu::program vcpu::wait_for_deadline() {
  const std::uint8_t vector = timer_vector();
  const bool delivered_by_this_entry =
      posts() ? virtual_apic_->page.requested(vector) : apic_.in_service().test(vector);
  if (delivered_by_this_entry) co_await settle_deadline();
}

cpu::program vcpu::settle_deadline() {
  const std::optional<cycles> deadline = advance_->awaited();
  if (!deadline) co_return;
  auto here = co_await isa::in(code::wait_lapic_expire);
  kernel& host = vm_.kvm_.host_;
  const unsigned cpu = host.index_of(co_await isa::this_cpu());
  const cycles now = host.hardware().time().now();
  const std::int64_t delta = static_cast<std::int64_t>(now.count()) - static_cast<std::int64_t>(deadline->count());
  host.state(
      cpu, wait_lapic_expire_fact{static_cast<std::uint16_t>(vm_.number_), static_cast<std::uint16_t>(index_), delta});
  const cycles left = advance_->settle(now, host.config().tsc_khz);
  if (left != cycles{0}) co_await isa::compute(left);
}

}  // namespace vmxsys::models
