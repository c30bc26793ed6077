#include "vcpu_timer.hpp"

#include <utility>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kvm/detail/exit_handlers.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/detail/posted_run.hpp>
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>

namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

vcpu_timer::vcpu_timer(vcpu& of, std::unique_ptr<timer_advance> advance)
    : host_timer_{of}, advance_{std::move(advance)} {}

cycles vcpu_timer::deadline() const { return of().lapic().registers().next_timer_event(); }

bool vcpu_timer::needs_host_timer() const {
  const virtual_lapic& lapic = of().lapic();
  return deadline() != cycles::never() && !host_timer_.armed() && !(lapic.has_page() && lapic.memory().timer_pending);
}

cycles vcpu_timer::lead() const {
  if (!advance_ || of().lapic().registers().timer().mode() != apic::timer_mode::tsc_deadline) return cycles{0};
  return preemption_timer_lead();
}

cycles vcpu_timer::preemption_timer_lead() const {
  return advance_ ? advance_->lead(of().host().config().tsc_khz) : cycles{0};
}

cpu::program vcpu_timer::expired(cycles early, bool on_time) {
  const cycles now = of().host().hardware().time().now();
  apic::local_apic& registers = of().lapic().registers();
  const cycles due = registers.next_timer_event();
  if (due == cycles::never() || due > now + max(lead(), early)) co_return;
  const bool by_preemption_timer = early != cycles{0};
  if (advance_ && (by_preemption_timer || registers.timer().mode() == apic::timer_mode::tsc_deadline)) {
    advance_->expired(due);
    if (on_time) co_await settle_deadline();
  }
  registers.timer_fire(max(of().host().hardware().time().now(), due));
  if (of().posts()) co_await deliver_accepted(of());
}

cpu::program vcpu_timer::note() {
  of().lapic().memory().timer_pending = true;
  co_await of().kick();
}

cpu::program vcpu_timer::host_timer_event::expire() { return of_.hypervisor().timers().expired(of_); }

// apic_timer_fn
cpu::program vcpu_timer::host_timer_expired() {
  auto here = co_await isa::in(code::apic_timer_fn);
  co_await isa::compute(of().hypervisor().costs().program_timer);
  if (of().posts()) {
    co_await note();
  } else {
    co_await expired();
    co_await of().kick();
  }
}

// vmx_update_hv_timer. The deadline may be more than the timer can count: then it exits too early, and starts anew.
cpu::program vcpu_timer::load_preemption_timer() {
  const cpu::machine& hw = of().host().hardware();
  const std::uint64_t now = of().host().hardware().time().now().count();
  const unsigned shift = hw.config().capabilities.preemption_timer_shift();
  const cycles due = deadline();
  std::optional<std::uint64_t> tsc;
  if (due != cycles::never()) {
    const auto set = set_preemption_deadline(due.count(), now, now, preemption_timer_lead().count(), shift);
    tsc = set ? set->tsc : due.count();
  }
  const std::optional<std::uint32_t> value = preemption_timer_.at_entry(tsc, now, shift);
  if (value) co_await isa::vmwrite(field::vmx_preemption_timer_value, *value);
}

cpu::program handle_preemption_timer(vcpu& v) {
  auto here = co_await isa::in(code::handle_preemption_timer);
  co_await isa::compute(v.hypervisor().costs().program_timer);
  // The timer counts in steps of 2^shift cycles and is early by less than one.
  const cycles step{std::uint64_t{1} << v.host().hardware().config().capabilities.preemption_timer_shift()};
  co_await v.timer().expired(v.timer().preemption_timer_lead() + step);
}

cpu::program vcpu_timer::wait_for_deadline() {
  virtual_lapic& lapic = of().lapic();
  const std::uint8_t vector = lapic.timer_vector();
  const bool delivered_by_this_entry =
      lapic.posts() ? lapic.memory().page.requested(vector) : lapic.registers().in_service().test(vector);
  if (delivered_by_this_entry) co_await settle_deadline();
}

cpu::program vcpu_timer::settle_deadline() {
  const std::optional<cycles> deadline = advance_->awaited();
  if (!deadline) co_return;
  auto here = co_await isa::in(code::wait_lapic_expire);
  kernel& host = of().host();
  const unsigned cpu = host.index_of(co_await isa::this_cpu());
  const cycles now = host.hardware().time().now();
  const std::int64_t delta = static_cast<std::int64_t>(now.count()) - static_cast<std::int64_t>(deadline->count());
  const vcpu_id id = of().id();
  host.record(cpu, wait_lapic_expire_fact{id.vm, id.vcpu, delta});
  const cycles left = advance_->settle(now, host.config().tsc_khz);
  if (left != cycles{0}) co_await isa::compute(left);
}

}  // namespace vmxsys::models
