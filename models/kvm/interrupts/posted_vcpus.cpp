#include "posted_vcpus.hpp"

#include <algorithm>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/models/kvm/detail/posted_run.hpp>
#include <vmxsys/models/kvm/vcpu.hpp>

namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

posted_vcpus::posted_vcpus(kernel& host) : host_{host} {
  running_.assign(host.cpus(), no_vcpu);
  waiting_.resize(host.cpus());
  for (waiters& w : waiting_) w.lock = host.make_lock();
}

std::uint16_t posted_vcpus::add(vcpu& v) {
  numbered_.push_back(&v);
  return static_cast<std::uint16_t>(numbered_.size() - 1);
}

cpu::task<std::uint64_t> posted_vcpus::perform(posting_action a) {
  using op = posting_operation;
  namespace layout = apic::posted_interrupt_descriptor;
  vcpu& v = *numbered_.at(a.vcpu);
  virtual_apic_memory& m = v.lapic().memory();
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
      if (v.loaded_vmcs().active()) {
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
      v.set_mode(static_cast<vcpu_mode>(a.value));
      co_return 0;
    case op::exchange_mode:
      result = co_await isa::cmpxchg(*m.mode, a.expected, a.value);
      if (result == a.expected) v.set_mode(static_cast<vcpu_mode>(a.value));
      co_return result;
    case op::load_cpu:
      co_return m.last_cpu;
    case op::load_requests:
      result = v.event_pending();
      if (!v.blocking()) result |= v.must_not_enter(host_.index_of(co_await isa::this_cpu()));
      co_return result;
    case op::serve_requests:
      co_await serve_requests(v);
      co_return 0;
    case op::announce_wait:
      v.prepare_to_wait();
      co_return 0;
    case op::cancel_wait:
      host_.cancel_sleep(v.thread());
      co_return 0;
    case op::sleep:
      co_await host_.schedule();
      co_return 0;
    case op::wake_up:
      if (v.blocking()) result = co_await v.wake();
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
      co_await enter_from_posting(v);
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

}  // namespace vmxsys::models
