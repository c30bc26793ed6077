#pragma once
// A paravirtual service of a VM: hypercalls that its hypervisor answers, and what the guest's kernel does to use them.

#include <array>
#include <cstdint>
#include <memory>

#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/vmx/base/catalogue.hpp>
#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::models {

class kernel;

/// A VMCALL of a guest, with the calling convention of KVM (Documentation/virt/kvm/x86/hypercalls.rst): the number in
/// RAX, arguments in RBX, RCX, RDX and RSI, the answer in RAX.
struct hypercall {
  std::uint64_t number;
  std::array<std::uint64_t, 4> arguments;
};

/// The host's side of one hypercall: what a service can see and do. vCPUs are those of its VM, by index.
class pv_context {
 public:
  virtual ~pv_context() = default;

  virtual unsigned vcpus() const = 0;
  virtual unsigned me() const = 0;  ///< the vCPU that calls
  virtual cycles now() const = 0;   ///< the TSC of the host
  /// A vCPU is halted and its thread sleeps.
  virtual bool blocking(unsigned vcpu) const = 0;
  /// A fixed interrupt for a vCPU, as a virtual ICR write sends it.
  virtual cpu::program interrupt(unsigned vcpu, std::uint8_t vector) = 0;
  /// Ends the halt of a vCPU although no interrupt came, or lets its next halt end at once (KVM_HC_KICK_CPU).
  virtual cpu::program unhalt(unsigned vcpu) = 0;
  /// Directed yield to the thread of a vCPU; above 0 if the host's scheduler took the hint.
  virtual cpu::task<int> yield_to(unsigned vcpu) = 0;
};

/// One object for each VM that has the service.
class pv_service {
 public:
  virtual ~pv_service() = default;
  /// The guest's side, while the machine is built: what its kernel does from now on.
  virtual void set_up_guest(kernel& guest) { static_cast<void>(guest); }
  /// It answers hypercalls of this number. The first service of a VM that does gets them.
  virtual bool answers(std::uint64_t number) const = 0;
  /// Only for numbers that it answers; the value is that of RAX.
  virtual cpu::task<std::uint64_t> on_hypercall(pv_context& context, const hypercall& call) = 0;
};

struct pv_service_entry : entry {
  std::unique_ptr<pv_service> (*make)(const void* options);
};

/// The built-in services; the first is the default.
catalogue<pv_service_entry> pv_services();

}  // namespace vmxsys::models
