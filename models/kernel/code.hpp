#pragma once
#include <vmxsys/cpu/facts/code.hpp>

/// Where a Linux-like kernel's code is: the symbols a profiler would show. The addresses are this model's own layout.
namespace vmxsys::models::code {

using cpu::bucket;
using cpu::code_location;

constexpr code_location kernel_text(const char* symbol, std::uint32_t at, bucket account) {
  return {symbol, 0xffffffff81000000ULL + at, 0, 0, account};
}

inline constexpr auto start_kernel = kernel_text("start_kernel", 0x1000, bucket::kernel);
inline constexpr auto start_secondary = kernel_text("start_secondary", 0x2000, bucket::kernel);
inline constexpr auto do_idle = kernel_text("do_idle", 0x3000, bucket::idle);
inline constexpr auto schedule = kernel_text("__schedule", 0x4000, bucket::scheduler);
inline constexpr auto finish_task_switch = kernel_text("finish_task_switch", 0x4800, bucket::scheduler);
inline constexpr auto try_to_wake_up = kernel_text("try_to_wake_up", 0x5000, bucket::scheduler);
inline constexpr auto yield_to = kernel_text("yield_to", 0x6000, bucket::scheduler);
inline constexpr auto do_sched_yield = kernel_text("do_sched_yield", 0x6800, bucket::scheduler);
inline constexpr auto load_balance = kernel_text("load_balance", 0x7000, bucket::scheduler);
inline constexpr auto scheduler_tick = kernel_text("scheduler_tick", 0x8000, bucket::scheduler);
inline constexpr auto irq_enter = kernel_text("irq_enter", 0x9000, bucket::interrupt);
inline constexpr auto timer_interrupt = kernel_text("sysvec_apic_timer_interrupt", 0xa000, bucket::interrupt);
inline constexpr auto reschedule_interrupt = kernel_text("sysvec_reschedule_ipi", 0xb000, bucket::interrupt);
inline constexpr auto call_function_single_interrupt =
    kernel_text("sysvec_call_function_single", 0xc000, bucket::interrupt);
inline constexpr auto call_function_interrupt = kernel_text("sysvec_call_function", 0xc800, bucket::interrupt);
inline constexpr auto smp_call_function_single = kernel_text("smp_call_function_single", 0xd000, bucket::kernel);
inline constexpr auto smp_call_function_many = kernel_text("smp_call_function_many_cond", 0xd800, bucket::kernel);
/// Where the two spin on the lock of a call: csd_lock_wait is inlined.
inline constexpr auto csd_lock_wait_single =
    code_location{"smp_call_function_single", 0xffffffff8100d000ULL, 0x9c, 0, bucket::spin};
inline constexpr auto csd_lock_wait_many =
    code_location{"smp_call_function_many_cond", 0xffffffff8100d800ULL, 0x2e4, 0, bucket::spin};
inline constexpr auto hrtimer = kernel_text("hrtimer_interrupt", 0xe000, bucket::interrupt);
inline constexpr auto fpu_switch = kernel_text("switch_fpu", 0xf000, bucket::vcpu_switch);
inline constexpr auto trace_event = kernel_text("trace_event_buffer_commit", 0x10000, bucket::tracing);
inline constexpr auto syscall_entry = kernel_text("entry_SYSCALL_64", 0x11000, bucket::kernel);
inline constexpr auto flush_tlb_mm_range = kernel_text("flush_tlb_mm_range", 0x12000, bucket::kernel);
inline constexpr auto user_main = code_location{"main", 0x401000, 0, 3, bucket::user};

}  // namespace vmxsys::models::code
