#pragma once
#include <boost/describe.hpp>

#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::models {

/// Straight-line work of a Linux-like kernel's own paths, in TSC cycles, without the locks, line transfers and
/// interrupts those paths wait for: these come out of the machine. One table for hosts and guests. No cost of this
/// kind is published per step; all are assumed, with a range in the preset.
struct kernel_costs {
  cycles interrupt_entry{150};  ///< irq_enter, vector dispatch
  cycles interrupt_exit{120};   ///< irq_exit, need_resched test
  cycles tick{1200};            ///< scheduler_tick and timer bookkeeping, without the run-queue lock
  cycles hrtimer{300};          ///< one expired high-resolution timer
  cycles schedule{250};         ///< __schedule around pick and switch
  cycles pick_next{150};        ///< pick_next_task
  cycles switch_mm{200};        ///< switch of the address space
  cycles switch_to{100};        ///< register switch, per-CPU variables
  cycles enqueue{150};          ///< enqueue_task
  cycles dequeue{150};          ///< dequeue_task
  cycles try_to_wake_up{300};   ///< without select and enqueue
  cycles select_cpu{100};       ///< select_task_rq, per CPU looked at
  cycles balance{150};          ///< load balancing, per CPU looked at
  cycles yield_to{150};         ///< yield_to around its two locks
  cycles tlb_flush{500};        ///< flush_tlb_func with its invalidations, on each CPU concerned
  cycles idle_entry{200};       ///< into the idle loop's HLT
  cycles idle_exit{200};        ///< from the idle loop to schedule
  cycles tracepoint{1500};      ///< one enabled tracepoint with its record; kvm_entry and kvm_exit when tracing is on
};
BOOST_DESCRIBE_STRUCT(kernel_costs, (),
                      (interrupt_entry, interrupt_exit, tick, hrtimer, schedule, pick_next, switch_mm, switch_to,
                       enqueue, dequeue, try_to_wake_up, select_cpu, balance, yield_to, tlb_flush, idle_entry,
                       idle_exit, tracepoint))

}  // namespace vmxsys::models
