#include <vmxsys/models/kvm/detail/halt.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

// A halt of a guest: what the halt policy sees of it and can do.
namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

class vcpu_halt_context final : public halt_context {
 public:
  explicit vcpu_halt_context(vcpu& me) : me_{me} {}

  unsigned vcpus() const override { return me_.vm().vcpus(); }
  unsigned me() const override { return me_.index(); }
  cycles now() const override { return me_.host().hardware().time().now(); }
  halt_vm_state& state() override { return *me_.vm().halt_state(); }
  bool runnable() const override { return me_.runnable(); }

  cpu::task<bool> poll(cycles end) override {
    slept_ = false;
    kernel& host = me_.host();
    co_await isa::sti();
    while (!me_.runnable() && now() < end && !host.need_resched(me_.host_cpu())) co_await isa::pause();
    co_await isa::cli();
    co_return me_.runnable();
  }

  cpu::program block() override {
    slept_ = true;
    return me_.wait();
  }

  /// The last thing that the policy did was to sleep until the halt was over.
  bool slept() const { return slept_; }

 private:
  vcpu& me_;
  bool slept_ = false;
};

}  // namespace

cpu::program halt(vcpu& v) {
  vcpu_halt_context context{v};
  co_await v.hypervisor().halts().on_halt(context);
  // What was seen without sleeping may be of too low a priority to end the halt.
  if (!context.slept()) co_await v.wait();
}

}  // namespace vmxsys::models
