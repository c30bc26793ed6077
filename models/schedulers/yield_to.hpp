#pragma once
// The part of a directed yield that belongs to the kernel and not to a policy: who may be yielded to at all, and what
// the caller learns. The kernel program runs it in three steps around the locks it takes:
//
//   1. yield_to_before_locks(): an answer here means that no run-queue lock is taken;
//   2. take both run-queue locks, then yield_to_under_locks(): an answer here means: do not ask the policy;
//   3. scheduler::yield_to(), then yield_to_after_policy().
//
// Source: kernel/sched/core.c, yield_to(), v3.4 and v6.1 (kernel/sched/syscalls.c since v6.12).

namespace vmxsys::models {

/// What became of a directed yield.
enum class yield_to_outcome {
  yielded,              ///< the caller must now call schedule()
  nobody_to_switch,     ///< both queues hold just one task: yielding cannot change anything (-ESRCH)
  class_refuses,        ///< the caller's scheduling class has no directed yield, or the target is in another class
  target_running,       ///< the target is running on its CPU
  target_not_runnable,  ///< the target sleeps
  policy_refuses,       ///< the policy did not find the target on a queue (or its group is throttled)
};

/// The value the kernel function returns: 1 for a yield, -3 (-ESRCH) for nobody_to_switch, else 0.
constexpr int kernel_result(yield_to_outcome outcome) {
  switch (outcome) {
    case yield_to_outcome::yielded:
      return 1;
    case yield_to_outcome::nobody_to_switch:
      return -3;
    default:
      return 0;
  }
}

/// Which kernel's rule. The test for two queues of one task each came with v3.9.
struct yield_to_rules {
  bool esrch_test = true;
};

/// What the kernel sees of the target with both locks held.
struct yield_to_target {
  bool caller_class_can_yield_to = true;  ///< the fair class can; real-time, deadline, stop and idle cannot
  bool same_class = true;                 ///< caller and target are scheduled by the same class
  bool running = false;                   ///< the target is the current task of its CPU
  bool runnable = true;                   ///< its state is "running": on a queue and not about to block
};

/// One step's verdict: go on, or stop with `outcome`.
struct yield_to_verdict {
  bool go_on = true;
  yield_to_outcome outcome = yield_to_outcome::yielded;
};

/// Step 1, read without locks. nr_running counts the tasks of all classes on the caller's and on the target's queue.
constexpr yield_to_verdict yield_to_before_locks(unsigned local_nr_running, unsigned target_nr_running,
                                                 yield_to_rules rules = {}) {
  if (rules.esrch_test && local_nr_running == 1 && target_nr_running == 1)
    return {false, yield_to_outcome::nobody_to_switch};
  return {};
}

/// Step 2, with both locks held. If the target has moved to another queue meanwhile, unlock and go back to step 1.
constexpr yield_to_verdict yield_to_under_locks(const yield_to_target& target) {
  if (!target.caller_class_can_yield_to || !target.same_class) return {false, yield_to_outcome::class_refuses};
  if (target.running) return {false, yield_to_outcome::target_running};
  if (!target.runnable) return {false, yield_to_outcome::target_not_runnable};
  return {};
}

/// What is left to do after the policy has answered.
struct yield_to_completion {
  yield_to_outcome outcome = yield_to_outcome::policy_refuses;
  bool reschedule_target_cpu = false;  ///< a full reschedule request (an interrupt if that CPU is not polling)
  bool schedule_self = false;          ///< after unlocking: the caller calls schedule()
};

/// Step 3. `preempt` is the caller's wish to have the target's CPU rescheduled; KVM passes it in its directed yields.
constexpr yield_to_completion yield_to_after_policy(bool policy_yielded, bool preempt, bool same_run_queue) {
  if (!policy_yielded) return {};
  return {yield_to_outcome::yielded, preempt && !same_run_queue, true};
}

}  // namespace vmxsys::models
