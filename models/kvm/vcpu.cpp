#include "vcpu.hpp"

#include <utility>

#include <vmxsys/vmx/vmcs/event.hpp>

#include "detail/kvm_code.hpp"
#include "detail/posted_run.hpp"
#include "kvm.hpp"
#include "kvm_facts.hpp"

// What a vCPU is, what others see of it and do to it, and what a context switch does.
namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

vcpu::vcpu(virtual_machine& of, unsigned index)
    : vm_{of},
      index_{index},
      lapic_{index, of.apic_mode(), of.hypervisor().host()},
      loaded_vmcs_{of.hypervisor().current_vmcs()},
      line_{&host().hardware().physical().word_at(host().memory().take(64, 64))},
      timer_{*this, hypervisor().make_timer_advance()},
      window_{ple_window_era::vmx, hypervisor().config().ple_window} {
  const bool posted = hypervisor().path().posts();
  if (!posted && of.apic_mode() == apic::apic_mode::x2apic) return;
  lapic_.make_page();
  if (posted) lapic_.make_descriptor(hypervisor().posted().add(*this));
}

void vcpu::make_thread(std::vector<unsigned> affinity) {
  thread_ = &host().add_thread(
      "CPU " + std::to_string(index_) + "/KVM", [this](models::thread&) { return run(); }, code::vcpu_enter_guest,
      std::move(affinity));
  thread_->notifier = this;
  thread_->extended_state = true;
  thread_->address_space = vm_.number() + 1;
  thread_->entity->group = static_cast<std::uint16_t>(vm_.number() + 1);
}

kvm& vcpu::hypervisor() const { return vm_.hypervisor(); }
kernel& vcpu::host() const { return vm_.hypervisor().host(); }

vcpu_id vcpu::id() const { return {static_cast<std::uint16_t>(vm_.number()), static_cast<std::uint16_t>(index_)}; }

// -- its state --------------------------------------------------------------------------------------------------------

bool vcpu::runnable() const {
  return state_ == mp_state::runnable || event_pending() ||
         (interrupt_pending() && (state_ != mp_state::halted || halted_with_interrupts_));
}

bool vcpu::event_pending() const {
  return start_pending_ || (unhalted_ && state_ == mp_state::halted) || (posts() && lapic_.memory().timer_pending);
}

bool vcpu::interrupt_pending() const {
  if (!posts()) return lapic_.registers().highest_request() >= 0;
  return state_ != mp_state::uninitialized && (deliverable() != 0 || lapic_.interrupt_posted());
}

std::uint8_t vcpu::deliverable() const {
  const int highest = lapic_.memory().page.highest_requested();
  return can_take(highest) ? static_cast<std::uint8_t>(highest) : std::uint8_t{0};
}

bool vcpu::can_take(int vector) const {
  if (state_ == mp_state::uninitialized || (state_ == mp_state::halted && !halted_with_interrupts_)) return false;
  return lapic_.can_take(vector);
}

bool vcpu::must_not_enter(unsigned cpu) const {
  return host().need_resched(cpu) || state_ != mp_state::runnable || lapic_.must_load(vm_.eoi_exits());
}

bool vcpu::guest_in_kernel_mode() const {
  const vmx::vmcs* v = loaded_vmcs_.peek();
  return v != nullptr && (v->read(field::guest_ss_access_rights) & vmx::access_rights::dpl) == 0;
}

// -- what others do to it ---------------------------------------------------------------------------------------------

cpu::program vcpu::kick() {
  if (posts()) {
    posted_vcpus& posted = hypervisor().posted();
    const unsigned cpu = host().index_of(co_await isa::this_cpu());
    posting_kick kick{lapic_.memory().number, cpu, posted.running_on(cpu)};
    co_await posted.run(kick);
    co_return;
  }
  interrupt_lines* lines = lines_seen_by(co_await isa::this_cpu());
  if (lines != nullptr) co_await lines->make_request();
  if (blocking_) {
    co_await wake();
    co_return;
  }
  if (mode_ != vcpu_mode::in_guest) co_return;
  mode_ = vcpu_mode::exiting;
  const unsigned on = thread_->entity->cpu;
  if (on != host().index_of(co_await isa::this_cpu())) co_await host().send_ipi(on, vector::reschedule);
}

interrupt_lines* vcpu::lines_seen_by(const cpu::logical_cpu& sender) {
  if (!lines_ && thread_->entity->cpu != host().index_of(sender)) lines_ = std::make_unique<interrupt_lines>(host());
  return lines_.get();
}

cpu::task<bool> vcpu::wake() {
  if (thread_->state != thread_state::sleeping) co_return false;
  ready_ = true;
  co_return co_await host().wake_up(*thread_);
}

void vcpu::note_ipi_to(unsigned sibling, cycles at) {
  ipis_.receiver = static_cast<std::uint16_t>(sibling);
  ipis_.sent = at;
}

void vcpu::note_ipi_from(unsigned sibling, cycles at) {
  ipis_.sender = static_cast<std::uint16_t>(sibling);
  ipis_.received = at;
}

void vcpu::start() {
  if (!std::exchange(start_pending_, true)) vm_.vcpu_started();
}

// -- context switches (kvm_sched_out, kvm_sched_in) -------------------------------------------------------------------

cpu::program vcpu::sched_out(models::thread& self) {
  auto here = co_await isa::in(code::vcpu_put);
  if (self.state == thread_state::runnable) {
    preempted_ = true;
    ready_ = true;
    preempted_in_kernel_ = guest_in_kernel_mode();
  }
  co_await isa::compute(hypervisor().costs().vcpu_put);
  if (posts()) co_await put_posting(*this, self.state == thread_state::runnable);
  co_await isa::store(*line_, 1);
}

cpu::program vcpu::sched_in(models::thread&) {
  auto here = co_await isa::in(code::vcpu_load);
  preempted_ = false;
  ready_ = false;
  co_await isa::store(*line_, 0);
  if (hypervisor().pause_loop_exiting()) {
    const ple_window_change change = window_.on_sched_in();
    if (change.changed()) host().record(host_cpu(), ple_window_fact{id().vm, id().vcpu, change.before, change.after});
  }
  co_await isa::compute(hypervisor().costs().vcpu_load);
  if (guest_ == nullptr) co_return;
  co_await loaded_vmcs_.load_on(host().index_of(co_await isa::this_cpu()));
  if (posts()) co_await load_posting(*this);
}

unsigned vcpu::host_cpu() const {
  const cpu::logical_cpu* on = thread_->strand.on_cpu();
  return on == nullptr ? 0 : host().index_of(*on);
}

}  // namespace vmxsys::models
