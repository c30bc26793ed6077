#include <utility>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kvm/detail/exit_handlers.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/detail/posted_run.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

// handle_fastpath_set_msr_irqoff, handle_fastpath_preemption_timer: true if the guest is to go on at once.
cpu::task<bool> fast_path(vcpu& v) {
  const kvm& k = v.hypervisor();
  if (!k.fast_paths()) co_return false;
  const vmx::exit_info& exit = v.lapic().memory().exit;
  if (exit.reason == vmx::exit_reason::preemption_timer) {
    co_await isa::compute(k.costs().fast_path);
    co_await handle_preemption_timer(v);
    co_return true;
  }
  if (exit.reason != vmx::exit_reason::wrmsr) co_return false;
  const auto msr = static_cast<std::uint32_t>(v.guest().reg(cpu::gpr::rcx));
  const std::uint64_t value = v.guest().reg(cpu::gpr::rdx) << 32 | (v.guest().reg(cpu::gpr::rax) & 0xFFFFFFFF);
  const apic::interrupt_command command = apic::decode_icr(value);
  const bool unicast = msr == apic::msr::icr && command.mode == apic::delivery_mode::fixed &&
                       command.to == apic::destination_mode::physical && command.group == apic::shorthand::none &&
                       command.destination != apic::broadcast_destination;
  if (!unicast && msr != apic::msr::tsc_deadline) co_return false;
  auto here = co_await isa::in(code::kvm_emulate_wrmsr);
  co_await isa::compute(k.costs().fast_path);
  const apic::register_outcome outcome = v.lapic().registers().write_msr(msr, value, v.host().hardware().time().now());
  if (outcome.fault) co_return false;  // the usual way finds it again
  if (unicast) v.lapic().show(msr);
  co_await act_on(v, outcome);
  co_await v.skip_instruction(2);
  co_return true;
}

}  // namespace

cpu::program enter_posted(vcpu& v) {
  auto here = co_await isa::in(code::vcpu_enter_guest);
  posted_vcpus& posted = v.hypervisor().posted();
  const std::uint16_t number = v.lapic().memory().number;
  if (!v.thread().extended_state_loaded) co_await v.host().load_extended_state(v.thread());
  posting_entry entry{number};
  for (;;) {
    co_await posted.run(entry);
    if (!entry.entered()) co_return;
    const bool again = co_await fast_path(v);
    if (!again) break;
    entry = posting_entry::again(number);
  }
  posting_leave leave{number};
  const std::uint64_t left = co_await posted.perform(leave.next());
  leave.done(left);
  co_await handle_exit(v, v.lapic().memory().exit);  // which does the rest of it: interrupts on
}

// After the sync, with interrupts off. The trace has an entry and an exit for each, fast path or not.
cpu::program enter_from_posting(vcpu& v) {
  co_await v.announce_entry();
  const vmx::exit_info exit = co_await v.loaded_vmcs().entry();
  v.lapic().memory().exit = exit;
  v.guest_left();
  co_await announce_exit(v, exit);
}

cpu::program serve_requests(vcpu& v) {
  co_await v.prepare_entry();
  if (!std::exchange(v.lapic().memory().timer_pending, false)) co_return;
  co_await v.timer().expired();
  const timer_backend& timers = v.hypervisor().timers();
  if (timers.must_restart(v)) co_await timers.restart(v);
}

// A timer that expires ends the sleep, but the halt only if its interrupt can be taken (kvm_vcpu_check_block).
cpu::program wait_for_posting(vcpu& v) {
  virtual_apic_memory& m = v.lapic().memory();
  for (;;) {
    posting_block wait{m.number};
    co_await v.hypervisor().posted().run(wait);
    const bool only_timer = m.timer_pending && !v.start_pending() && v.deliverable() == 0;
    if (!only_timer || v.can_take(v.lapic().timer_vector())) co_return;
    m.timer_pending = false;
    co_await v.timer().expired();
    co_await v.hypervisor().timers().before_block(v);
  }
}

cpu::program deliver_accepted(vcpu& v) {
  apic::local_apic& registers = v.lapic().registers();
  while (registers.highest_request() >= 0) {
    const std::uint8_t vector = registers.acknowledge();
    registers.end_of_interrupt();
    co_await v.hypervisor().path().accept(v, vector);
  }
}

cpu::program load_posting(vcpu& v) {
  kernel& host = v.host();
  virtual_apic_memory& m = v.lapic().memory();
  const unsigned cpu = host.index_of(co_await isa::this_cpu());
  v.hypervisor().posted().set_running_on(cpu, m.number);
  const bool xapic = host.apic_mode() == apic::apic_mode::xapic;
  posting_load load{m.number, cpu, m.last_cpu, xapic ? cpu << 8 : cpu};
  m.last_cpu = cpu;
  co_await v.hypervisor().posted().run(load);
}

// Where only software posts, it wakes the vCPU that it finds waiting.
cpu::program put_posting(vcpu& v, bool preempted) {
  kvm& k = v.hypervisor();
  const unsigned cpu = k.host().index_of(co_await isa::this_cpu());
  k.posted().set_running_on(cpu, no_vcpu);
  if (!k.path().posts_by_hardware() && !v.vm().devices_post()) co_return;
  posting_put put{v.lapic().memory().number, cpu, {preempted, v.blocking(), !v.halted_with_interrupts()}};
  co_await k.posted().run(put);
}

}  // namespace vmxsys::models
