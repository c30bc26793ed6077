#pragma once
// What a hypervisor does when a vCPU's PAUSE loop makes it exit: the policy, and what it may see and do.
//
// A policy is a program over a small context, because its decisions depend on how long looking and yielding take. One
// policy object serves a whole VM or host: it keeps no state between calls, the VM does.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include <vmxsys/cpu/program.hpp>

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
  bool in_spin_loop = false;              ///< inside its own spin handler
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
  virtual unsigned& last_boosted() = 0;  ///< of the VM: the last vCPU that was yielded to; 0 at first

  /// Reads a candidate's state, `me` included; takes the time of reading its line.
  virtual cpu::task<spin_candidate> check(unsigned vcpu) = 0;
  virtual bool& in_spin_loop(unsigned vcpu) = 0;
  virtual bool& dy_eligible(unsigned vcpu) = 0;

  /// kvm_vcpu_yield_to: above 0 if the host scheduler took the hint (which does not mean that the target ran), 0 if
  /// not, below 0 (-ESRCH) if both run queues hold one task. The caller's thread is switched out in here.
  virtual cpu::task<int> yield_to(unsigned vcpu) = 0;
  /// Sleeps on the vCPU's wait queue; a wake-up of the vCPU ends it early.
  virtual cpu::program sleep(std::uint64_t nanoseconds) = 0;
};

/// How kvm_vcpu_yield_to of a policy's kernel works; for the implementation of `spin_context::yield_to`.
struct vcpu_yield_rules {
  bool rejects_guest_mode = false;  ///< gives up (0) on a target that executes guest code, before any queue is locked
  bool esrch_test = true;           ///< the scheduler has a negative result (see yield_to_rules)
};

class spin_policy {
 public:
  virtual ~spin_policy() = default;
  virtual const char* name() const noexcept = 0;
  /// False: PAUSE-loop exiting stays off, `on_spin` is never called.
  virtual bool wants_exits() const { return true; }
  virtual vcpu_yield_rules yield_rules() const { return {}; }
  /// The handler of one exit; the vCPU re-enters the guest after it.
  virtual cpu::program on_spin(spin_context& context) = 0;
};

using spin_policy_maker = std::function<std::unique_ptr<spin_policy>()>;

/// A built-in policy.
struct spin_policy_entry {
  const char* name;
  const char* kernel;  ///< the first Linux release that was read with these rules; empty if not a matter of releases
  const char* description;
  spin_policy_maker make;
};

/// The name of the policy of a hypervisor that is not told another.
inline constexpr const char* default_spin_policy = "kernel_mode";

/// The built-in policies, in the order of their history.
std::span<const spin_policy_entry> spin_policies();

/// nullptr when no built-in policy has this name.
std::unique_ptr<spin_policy> make_spin_policy(std::string_view name);

}  // namespace vmxsys::models
