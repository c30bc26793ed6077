#include <utility>

#include <vmxsys/models/kvm/detail/exit_handlers.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

// A VMCALL of a guest: the PV service that answers it, and what that sees and can do.
namespace vmxsys::models {

namespace isa = cpu::isa;
using cpu::gpr;

namespace {

constexpr std::uint64_t unknown = static_cast<std::uint64_t>(-1000);  // -KVM_ENOSYS

class vcpu_pv_context final : public pv_context {
 public:
  explicit vcpu_pv_context(vcpu& me) : me_{me} {}

  unsigned vcpus() const override { return me_.vm().vcpus(); }
  unsigned me() const override { return me_.index(); }
  cycles now() const override { return me_.host().hardware().time().now(); }
  bool blocking(unsigned i) const override { return sibling(i).blocking(); }
  cpu::program interrupt(unsigned i, std::uint8_t vector) override {
    return me_.hypervisor().path().accept(sibling(i), vector);
  }
  cpu::program unhalt(unsigned i) override {
    vcpu& target = sibling(i);
    target.unhalt();
    co_await target.kick();
  }
  cpu::task<int> yield_to(unsigned i) override { return me_.host().yield_to(sibling(i).thread(), true); }

 private:
  vcpu& sibling(unsigned i) const {
    if (i >= vcpus())
      throw cpu::invariant_error("a PV service names vCPU " + std::to_string(i) + ", and '" + me_.vm().name() +
                                     "' has " + std::to_string(vcpus()) + " (numbered from 0)",
                                 now());
    return me_.vm().cpu(i);
  }

  vcpu& me_;
};

}  // namespace

cpu::program handle_hypercall(vcpu& v) {
  auto here = co_await isa::in(code::kvm_emulate_hypercall);
  co_await isa::compute(v.hypervisor().costs().emulate_hypercall);
  cpu::strand& guest = v.guest();
  const hypercall call{guest.reg(gpr::rax),
                       {guest.reg(gpr::rbx), guest.reg(gpr::rcx), guest.reg(gpr::rdx), guest.reg(gpr::rsi)}};
  std::uint64_t answer = unknown;
  if (pv_service* service = v.vm().service_for(call.number)) {
    vcpu_pv_context context{v};
    answer = co_await service->on_hypercall(context, call);
  }
  v.guest().reg(gpr::rax) = answer;
  co_await v.skip_instruction(3);
}

}  // namespace vmxsys::models
