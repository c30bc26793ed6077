#include <vmxsys/models/kvm/detail/vcpu_halt_context.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

namespace vmxsys::models {

namespace isa = cpu::isa;

unsigned vcpu_halt_context::vcpus() const { return me_.vm().vcpus(); }
unsigned vcpu_halt_context::me() const { return me_.index(); }
cycles vcpu_halt_context::now() const { return me_.host().hardware().time().now(); }
halt_vm_state& vcpu_halt_context::state() { return *me_.vm().halt_state(); }
bool vcpu_halt_context::runnable() const { return me_.runnable(); }

cpu::task<bool> vcpu_halt_context::poll(cycles end) {
  slept_ = false;
  co_await isa::sti();
  while (!runnable() && now() < end && !me_.host().need_resched(me_.host_cpu())) co_await isa::pause();
  co_await isa::cli();
  co_return runnable();
}

cpu::program vcpu_halt_context::block() {
  slept_ = true;
  return me_.wait();
}

}  // namespace vmxsys::models
