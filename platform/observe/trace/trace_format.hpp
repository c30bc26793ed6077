#pragma once
// The text of Linux trace events: what follows "event: " in a trace, and the lines around it. Pure formatting, byte
// for byte as the kernel, trace-cmd and perf print it, so that existing tools and habits apply.
//
// Sources: arch/x86/kvm/trace.h, include/trace/events/{kvm,sched,power}.h, kernel/trace/trace_output.c,
// tools/perf/builtin-script.c, of the kernel versions named in trace_version.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace vmxsys::models::trace {

/// Kernel whose texts are wanted. Each event's text is the one of the newest version not later than this.
enum class trace_version { v3_4, v3_18, v4_19, v5_6, v5_10, v6_1, v6_12, v7_2 };

// --- kvm events

struct kvm_entry_event {
  unsigned vcpu = 0;
  std::uint64_t rip = 0;        ///< of the next guest instruction
  std::uint32_t intr_info = 0;  ///< VM-entry interruption information
  std::uint32_t error_code = 0;
  bool immediate_exit = false;  ///< KVM forces an exit right after this entry
};
std::string kvm_entry(trace_version version, const kvm_entry_event& event);

struct kvm_exit_event {
  unsigned vcpu = 0;
  std::uint32_t reason = 0;     ///< the whole VMCS field, flags included
  std::uint64_t rip = 0;        ///< of the instruction that exited
  std::uint64_t info1 = 0;      ///< exit qualification
  std::uint64_t info2 = 0;      ///< IDT-vectoring information; not printed before v5.10
  std::uint32_t intr_info = 0;  ///< VM-exit interruption information; before v5.10 the second number after "info"
  std::uint32_t error_code = 0;
  std::uint64_t requests = 0;  ///< pending KVM requests of the vCPU
};
std::string kvm_exit(trace_version version, const kvm_exit_event& event);

/// The reason as kvm_exit prints it: name of the low 16 bits and names of the flags, numbers where there is no name.
std::string exit_reason_text(trace_version version, std::uint32_t reason);

/// kvm_ple_window_update since v5.1 (kernels of v5_6 and later), kvm_ple_window before. The newer event is only
/// recorded when the value changes, the older one always: ple_window_traced().
std::string ple_window(trace_version version, unsigned vcpu, std::uint32_t before, std::uint32_t after, bool grew);
const char* ple_window_event_name(trace_version version) noexcept;
bool ple_window_traced(trace_version version, std::uint32_t before, std::uint32_t after) noexcept;

/// `soft` is a software interrupt; v3.4 to v5.10 print the vector only, in decimal.
std::string kvm_inj_virq(trace_version version, unsigned vector, bool soft, bool reinjected);

/// `icr_low` is bits 31:0 of the interrupt command register, `destination` the 32-bit APIC ID or logical destination.
std::string kvm_apic_ipi(std::uint32_t icr_low, std::uint32_t destination);

/// Also kvm_apicv_accept_irq. `delivery_mode` 0 ... 7 as in the ICR.
std::string kvm_apic_accept_irq(unsigned apic_id, unsigned vector, unsigned delivery_mode, bool level_triggered);

/// Also kvm_pv_eoi. `vector` is -1 if nothing was in service.
std::string kvm_eoi(unsigned apic_id, int vector);

/// `register_name` with its prefix, for example "APIC_ICR".
std::string kvm_apic(bool write, std::string_view register_name, std::uint64_t value);

std::string kvm_msr(bool write, std::uint32_t index, std::uint64_t value, bool faulted);
std::string kvm_hypercall(std::uint64_t number, std::uint64_t a0, std::uint64_t a1, std::uint64_t a2, std::uint64_t a3);

/// In ns. Recorded even if the value stays.
std::string kvm_halt_poll_ns(unsigned vcpu, unsigned before, unsigned after, bool grew);
/// `waited`: the vCPU's thread has slept; else the poll found the wakeup.
std::string kvm_vcpu_wakeup(bool waited, std::int64_t ns, bool polling_valid);
std::string kvm_hv_timer_state(unsigned vcpu, bool on);
/// `delta` in guest TSC cycles, negative: woken early.
std::string kvm_wait_lapic_expire(unsigned vcpu, std::int64_t delta);
std::string kvm_pv_tlb_flush(unsigned vcpu, bool need_flush);
/// `reason_name` for example "KVM_EXIT_IO". A negative `error` is shown instead (-4, EINTR, as "restart").
std::string kvm_userspace_exit(std::string_view reason_name, unsigned reason, int error = 0);
/// `enabled`: the IRTE posts; v7.2 text.
std::string kvm_pi_irte_update(bool enabled, unsigned host_irq, unsigned vcpu, unsigned gsi, unsigned vector);

// --- sched and power events

/// A thread as the sched events name it. The kernel cuts `comm` at 15 bytes; so do these texts. Priority 120 is nice 0.
struct task_name {
  std::string_view comm;
  int pid = 0;
  int prio = 120;
};

/// Letters of prev_state: "R" runnable, "R+" preempted, "S", "D", "T", "t", "X", "Z", "P", "I".
std::string sched_switch(const task_name& previous, std::string_view previous_state, const task_name& next);
/// Also sched_waking and sched_wakeup_new.
std::string sched_wakeup(trace_version version, const task_name& task, unsigned target_cpu);
std::string sched_migrate_task(const task_name& task, unsigned from_cpu, unsigned to_cpu);
/// In ns; the virtual time is printed up to v6.1.
std::string sched_stat_runtime(trace_version version, const task_name& task, std::uint64_t runtime,
                               std::uint64_t vruntime);
/// sched_stat_wait, _sleep, _iowait and _blocked; in ns.
std::string sched_stat_delay(const task_name& task, std::uint64_t delay);
std::string sched_wake_idle_without_ipi(unsigned cpu);
/// The state number with which cpu_idle reports that a CPU leaves idle.
inline constexpr std::uint32_t leave_idle = 4294967295u;
std::string cpu_idle(std::uint32_t state, unsigned cpu);

// --- lines

/// How `perf script` prints times: in microseconds (truncated), or with --ns in nanoseconds.
enum class perf_time : std::uint8_t { microseconds, nanoseconds };
/// One line of `perf script`, without the newline. `event` is "group:name"; `event_width` the length of the longest
/// event name in the file. Time in ns. The thread id has 7 columns since v7.2, 5 before.
std::string perf_script_line(trace_version version, std::string_view comm, int tid, unsigned cpu, std::uint64_t time,
                             std::string_view event, std::size_t event_width, std::string_view payload,
                             perf_time unit = perf_time::microseconds);

/// The five context columns of an ftrace line.
struct ftrace_flags {
  char irqs = '.';             ///< 'd' interrupts off, 'D' with bottom halves off too, 'b' bottom halves off, '.'
  char resched = '.';          ///< 'N' need_resched and preempt, 'n' need_resched, 'p' preempt, '.'
  char context = '.';          ///< 'h' hard interrupt, 's' soft interrupt, 'H' both, 'Z'/'z' NMI, '.'
  unsigned preempt_depth = 0;  ///< 0 ... 15, printed as hex digit, '.' for 0
  unsigned migrate_depth = 0;  ///< the same; absent before v5.16
};

/// The header that `trace` prints before the events, newlines included.
std::string ftrace_header(std::uint64_t entries, std::uint64_t written, unsigned cpus);
/// One ftrace line, without the newline. `event` without its group. Time in ns, printed in microseconds (rounded to
/// nearest, as the kernel does).
std::string ftrace_line(trace_version version, std::string_view comm, int pid, unsigned cpu, const ftrace_flags& flags,
                        std::uint64_t time, std::string_view event, std::string_view payload);

}  // namespace vmxsys::models::trace
