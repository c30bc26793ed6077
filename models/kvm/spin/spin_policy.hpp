#pragma once
// What a hypervisor does when a vCPU's PAUSE loop makes it exit: the policy, and what it may see and do.
//
// A policy is a program over a small context, because its decisions depend on how long looking and yielding take. One
// policy object serves all VMs of a hypervisor; what it keeps of a VM between calls is in the state that it makes for
// each.

#include <cstdint>
#include <memory>
#include <optional>

#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/models/kvm/affinity/vcpu_id.hpp>
#include <vmxsys/models/schedulers/scheduler.hpp>
#include <vmxsys/vmx/base/catalogue.hpp>
#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::models {

/// One look at a candidate vCPU, as the handler sees it at that moment. Names as in KVM.
struct spin_candidate {
  bool exists_task = true;                ///< has a host thread
  bool running_in_guest = false;          ///< executes guest code on some CPU (PF_VCPU of its thread)
  bool preempted = false;                 ///< switched out while runnable
  bool ready = false;                     ///< wants a CPU: preempted, or woken from a halt and not yet run
  bool preempted_in_kernel = false;       ///< CPL 0 when it was preempted; stale in a vCPU that blocked
  bool blocking = false;                  ///< its thread is on its wait queue
  bool runnable = false;                  ///< has an event to handle (kvm_arch_vcpu_runnable, vcpu_dy_runnable)
  bool pending_posted_interrupt = false;  ///< an interrupt is posted to it and not yet delivered
};

/// The last IPIs of a vCPU that its hypervisor has emulated, by index of the sibling. A hypervisor knows nothing of
/// IPIs that leave without an exit.
struct ipi_history {
  static constexpr std::uint16_t none = 0xFFFF;
  std::uint16_t receiver = none;  ///< of the last one that it sent
  std::uint16_t sender = none;    ///< of the last one that it got
  cycles sent{0};
  cycles received{0};
};

/// What a policy keeps of one VM: of its vCPUs, or of the VM as a whole.
class spin_vm_state {
 public:
  virtual ~spin_vm_state() = default;
};

/// What a spin policy can see and do. Implemented by the hypervisor over the instruction set. vCPUs are numbered in the
/// order of their creation.
class spin_context {
 public:
  virtual ~spin_context() = default;

  virtual unsigned vcpus() const = 0;  ///< online vCPUs of the VM
  virtual unsigned me() const = 0;     ///< the vCPU that spins
  /// Its PAUSE was at CPL 0. Always true for PAUSE-loop exiting, which counts no other; AMD's filter and other
  /// detectors count at CPL 3, too.
  virtual bool kernel_mode() const = 0;
  virtual unsigned vm() const = 0;  ///< the number of its VM
  virtual cycles now() const = 0;   ///< the TSC of the host
  /// What the policy made for this VM.
  virtual spin_vm_state& state() = 0;

  /// Reads a candidate's state, `me` included; takes the time of reading its line.
  virtual cpu::task<spin_candidate> check(unsigned vcpu) = 0;
  /// The last IPIs of a vCPU, `me` included. Takes no time: `check` has read the line.
  virtual ipi_history ipis(unsigned vcpu) const = 0;
  /// The CPU of the host on whose run queue a vCPU's thread is, or was last.
  virtual unsigned host_cpu(unsigned vcpu) const = 0;
  /// The vCPU, of any VM, whose thread runs on a CPU of the host; none: another thread, or idle.
  virtual std::optional<vcpu_id> running_on(unsigned host_cpu) const = 0;
  /// The vCPU whose thread an entity of the host's scheduler is; none: another thread.
  virtual std::optional<vcpu_id> vcpu_of(const sched_entity& entity) const = 0;

  /// kvm_vcpu_yield_to: above 0 if the host scheduler took the hint (which does not mean that the target ran), 0 if
  /// not, below 0 (-ESRCH) if both run queues hold one task. The caller's thread is switched out in here.
  virtual cpu::task<int> yield_to(unsigned vcpu) = 0;
  /// sched_yield of the vCPU's thread: the host's scheduler decides what runs.
  virtual cpu::program yield() = 0;
  /// Sleeps on the vCPU's wait queue; a wake-up of the vCPU ends it early.
  virtual cpu::program sleep(duration time) = 0;
};

/// How kvm_vcpu_yield_to of a policy's kernel works; for the implementation of `spin_context::yield_to`.
struct vcpu_yield_rules {
  bool rejects_guest_mode = false;  ///< gives up (0) on a target that executes guest code, before any queue is locked
  bool esrch_test = true;           ///< the scheduler has a negative result (see yield_to_rules)
};

class spin_policy {
 public:
  virtual ~spin_policy() = default;
  /// False: PAUSE-loop exiting stays off, `on_spin` is never called.
  virtual bool wants_exits() const { return true; }
  virtual vcpu_yield_rules yield_rules() const { return {}; }
  /// For a new VM of `vcpus` vCPUs. Null: it keeps none.
  virtual std::unique_ptr<spin_vm_state> make_vm_state(unsigned vcpus) const {
    static_cast<void>(vcpus);
    return nullptr;
  }
  /// The handler of one exit; the vCPU re-enters the guest after it.
  virtual cpu::program on_spin(spin_context& context) = 0;
};

struct spin_policy_entry : entry {
  const char* kernel;  ///< the first Linux release that was read with these rules; empty if not a matter of releases
  std::unique_ptr<spin_policy> (*make)(const void* options);
};

/// The built-in policies; the first is the default.
catalogue<spin_policy_entry> spin_policies();

}  // namespace vmxsys::models
