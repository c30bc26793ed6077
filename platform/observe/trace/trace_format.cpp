#include "trace_format.hpp"

#include <array>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>

#include <vmxsys/vmx/vmcs/exit.hpp>

namespace vmxsys::models::trace {
namespace {

constexpr std::size_t comm_bytes = 15;
constexpr std::uint32_t reason_number_bits = 0xffff;
constexpr std::array<const char*, 8> delivery_names{"Fixed", "LowPrio", "SMI", "Res3", "NMI", "INIT", "SIPI", "ExtINT"};
constexpr std::array<const char*, 4> shorthand_names{"dst", "self", "all", "all-but-self"};

[[gnu::format(printf, 1, 2)]] std::string print(const char* format, ...) {
  std::va_list args;
  va_start(args, format);
  std::va_list again;
  va_copy(again, args);
  const int length = std::vsnprintf(nullptr, 0, format, args);
  va_end(args);
  std::string text(static_cast<std::size_t>(length), '\0');
  std::vsnprintf(text.data(), text.size() + 1, format, again);
  va_end(again);
  return text;
}

std::string cut(std::string_view comm) { return std::string(comm.substr(0, comm_bytes)); }

std::string seconds(std::uint64_t microseconds) {
  return print("%" PRIu64 ".%06" PRIu64, microseconds / 1'000'000, microseconds % 1'000'000);
}

// Names that came after some of the versions; before that the number is printed.
bool name_known(trace_version version, std::uint32_t number) {
  switch (static_cast<vmx::exit_reason>(number)) {
    case vmx::exit_reason::umwait:
    case vmx::exit_reason::tpause:
      return version >= trace_version::v5_6;
    case vmx::exit_reason::bus_lock:
    case vmx::exit_reason::instruction_timeout:
      return version >= trace_version::v6_1;
    case vmx::exit_reason::tdcall:
    case vmx::exit_reason::rdmsr_immediate:
    case vmx::exit_reason::wrmsrns_immediate:
      return version >= trace_version::v7_2;
    default:
      return true;
  }
}

std::string reason_name(trace_version version, std::uint32_t number) {
  const vmx::exit_reason_info* row = vmx::find_exit_reason(number);
  if (!row || !row->kvm_name || !name_known(version, number)) return print("0x%" PRIx32, number);
  if (row->reason == vmx::exit_reason::interrupt_window && version < trace_version::v5_6) return "PENDING_INTERRUPT";
  return row->kvm_name;
}

std::string reason_flags(std::uint32_t flags) {
  const std::uint32_t rest = flags & ~vmx::exit_reason_flag::entry_failure;
  std::string text = flags != rest ? "FAILED_VMENTRY" : "";
  if (rest != 0) text += print("0x%" PRIx32, rest);
  return text;
}

const char* trigger(bool level_triggered) { return level_triggered ? "level" : "edge"; }

std::string depth(unsigned nesting) { return nesting == 0 ? "." : print("%x", nesting & 0xf); }

}  // namespace

std::string kvm_entry(trace_version version, const kvm_entry_event& e) {
  const char* forced = e.immediate_exit ? "[immediate exit]" : "";
  if (version >= trace_version::v7_2)
    return print("vcpu %u, rip 0x%" PRIx64 " intr_info 0x%08" PRIx32 " error_code 0x%08" PRIx32 "%s", e.vcpu, e.rip,
                 e.intr_info, e.error_code, forced);
  if (version >= trace_version::v6_1) return print("vcpu %u, rip 0x%" PRIx64 "%s", e.vcpu, e.rip, forced);
  if (version >= trace_version::v5_10) return print("vcpu %u, rip 0x%" PRIx64, e.vcpu, e.rip);
  return print("vcpu %u", e.vcpu);
}

std::string exit_reason_text(trace_version version, std::uint32_t reason) {
  if (version < trace_version::v5_10) return reason_name(version, reason);
  const std::uint32_t flags = reason & ~reason_number_bits;
  const std::string name = reason_name(version, reason & reason_number_bits);
  return flags == 0 ? name : name + " " + reason_flags(flags);
}

std::string kvm_exit(trace_version version, const kvm_exit_event& e) {
  const std::string reason = exit_reason_text(version, e.reason);
  if (version < trace_version::v5_10) {
    const std::string tail =
        print("reason %s rip 0x%" PRIx64 " info %" PRIx64 " %" PRIx32, reason.c_str(), e.rip, e.info1, e.intr_info);
    return version >= trace_version::v5_6 ? print("vcpu %u ", e.vcpu) + tail : tail;
  }
  std::string text = print("vcpu %u reason %s rip 0x%" PRIx64 " info1 0x%016" PRIx64 " info2 0x%016" PRIx64
                           " intr_info 0x%08" PRIx32 " error_code 0x%08" PRIx32,
                           e.vcpu, reason.c_str(), e.rip, e.info1, e.info2, e.intr_info, e.error_code);
  if (version >= trace_version::v7_2) text += print(" requests 0x%016" PRIx64, e.requests);
  return text;
}

std::string ple_window(trace_version version, unsigned vcpu, std::uint32_t before, std::uint32_t after, bool grew) {
  if (version >= trace_version::v5_6)
    return print("vcpu %u old %" PRIu32 " new %" PRIu32 " (%s)", vcpu, before, after, grew ? "growed" : "shrinked");
  return print("vcpu %u: ple_window %" PRId32 " (%s %" PRId32 ")", vcpu, static_cast<std::int32_t>(after),
               grew ? "grow" : "shrink", static_cast<std::int32_t>(before));
}

const char* ple_window_event_name(trace_version version) noexcept {
  return version >= trace_version::v5_6 ? "kvm_ple_window_update" : "kvm_ple_window";
}

bool ple_window_traced(trace_version version, std::uint32_t before, std::uint32_t after) noexcept {
  return version < trace_version::v5_6 || before != after;
}

std::string kvm_inj_virq(trace_version version, unsigned vector, bool soft, bool reinjected) {
  if (version < trace_version::v6_1) return print("irq %u", vector);
  return print("%s 0x%x%s", soft ? "Soft/INTn" : "IRQ", vector, reinjected ? " [reinjected]" : "");
}

std::string kvm_apic_ipi(std::uint32_t icr_low, std::uint32_t destination) {
  const bool logical = icr_low & 1u << 11;
  const bool asserted = icr_low & 1u << 14;
  const bool level_triggered = icr_low & 1u << 15;
  return print("dst %" PRIx32 " vec %" PRIu32 " (%s|%s|%s|%s|%s)", destination, icr_low & 0xff,
               delivery_names[icr_low >> 8 & 7], logical ? "logical" : "physical", asserted ? "assert" : "de-assert",
               trigger(level_triggered), shorthand_names[icr_low >> 18 & 3]);
}

std::string kvm_apic_accept_irq(unsigned apic_id, unsigned vector, unsigned delivery_mode, bool level_triggered) {
  return print("apicid %x vec %u (%s|%s)", apic_id, vector, delivery_names[delivery_mode & 7],
               trigger(level_triggered));
}

std::string kvm_eoi(unsigned apic_id, int vector) { return print("apicid %x vector %d", apic_id, vector); }

std::string kvm_apic(bool write, std::string_view register_name, std::uint64_t value) {
  return print("apic_%s %s = 0x%" PRIx64, write ? "write" : "read", std::string(register_name).c_str(), value);
}

std::string kvm_msr(bool write, std::uint32_t index, std::uint64_t value, bool faulted) {
  return print("msr_%s %" PRIx32 " = 0x%" PRIx64 "%s", write ? "write" : "read", index, value, faulted ? " (#GP)" : "");
}

std::string kvm_hypercall(std::uint64_t number, std::uint64_t a0, std::uint64_t a1, std::uint64_t a2,
                          std::uint64_t a3) {
  return print("nr 0x%" PRIx64 " a0 0x%" PRIx64 " a1 0x%" PRIx64 " a2 0x%" PRIx64 " a3 0x%" PRIx64, number, a0, a1, a2,
               a3);
}

std::string kvm_halt_poll_ns(unsigned vcpu, unsigned before, unsigned after, bool grew) {
  return print("vcpu %u: halt_poll_ns %u (%s %u)", vcpu, after, grew ? "grow" : "shrink", before);
}

std::string kvm_vcpu_wakeup(bool waited, std::int64_t ns, bool polling_valid) {
  return print("%s time %" PRId64 " ns, polling %s", waited ? "wait" : "poll", ns, polling_valid ? "valid" : "invalid");
}

std::string kvm_hv_timer_state(unsigned vcpu, bool on) { return print("vcpu_id %x hv_timer %x", vcpu, on ? 1u : 0u); }

std::string kvm_wait_lapic_expire(unsigned vcpu, std::int64_t delta) {
  return print("vcpu %u: delta %" PRId64 " (%s)", vcpu, delta, delta < 0 ? "early" : "late");
}

std::string kvm_pv_tlb_flush(unsigned vcpu, bool need_flush) {
  return print("vcpu %u need_flush_tlb %s", vcpu, need_flush ? "true" : "false");
}

std::string kvm_userspace_exit(std::string_view reason_name, unsigned reason, int error) {
  constexpr int interrupted = 4;
  if (error < 0) return print("reason %s (%d)", -error == interrupted ? "restart" : "error", -error);
  return print("reason %s (%u)", std::string(reason_name).c_str(), reason);
}

std::string kvm_pi_irte_update(bool enabled, unsigned host_irq, unsigned vcpu, unsigned gsi, unsigned vector) {
  const char* state = enabled ? "enabled and being updated" : "disabled";
  return print("PI is %s for irq %u, vcpu %u, gsi: 0x%x, gvec: 0x%x", state, host_irq, vcpu, gsi, vector);
}

std::string sched_switch(const task_name& previous, std::string_view previous_state, const task_name& next) {
  return print("prev_comm=%s prev_pid=%d prev_prio=%d prev_state=%s ==> next_comm=%s next_pid=%d next_prio=%d",
               cut(previous.comm).c_str(), previous.pid, previous.prio, std::string(previous_state).c_str(),
               cut(next.comm).c_str(), next.pid, next.prio);
}

std::string sched_wakeup(trace_version version, const task_name& task, unsigned target_cpu) {
  return print("comm=%s pid=%d prio=%d%s target_cpu=%03u", cut(task.comm).c_str(), task.pid, task.prio,
               version < trace_version::v4_19 ? " success=1" : "", target_cpu);
}

std::string sched_migrate_task(const task_name& task, unsigned from_cpu, unsigned to_cpu) {
  return print("comm=%s pid=%d prio=%d orig_cpu=%u dest_cpu=%u", cut(task.comm).c_str(), task.pid, task.prio, from_cpu,
               to_cpu);
}

std::string sched_stat_runtime(trace_version version, const task_name& task, std::uint64_t runtime,
                               std::uint64_t vruntime) {
  const std::string text = print("comm=%s pid=%d runtime=%" PRIu64 " [ns]", cut(task.comm).c_str(), task.pid, runtime);
  return version >= trace_version::v6_12 ? text : text + print(" vruntime=%" PRIu64 " [ns]", vruntime);
}

std::string sched_stat_delay(const task_name& task, std::uint64_t delay) {
  return print("comm=%s pid=%d delay=%" PRIu64 " [ns]", cut(task.comm).c_str(), task.pid, delay);
}

std::string sched_wake_idle_without_ipi(unsigned cpu) { return print("cpu=%u", cpu); }

std::string cpu_idle(std::uint32_t state, unsigned cpu) { return print("state=%" PRIu32 " cpu_id=%u", state, cpu); }

std::string perf_script_line(trace_version version, std::string_view comm, int tid, unsigned cpu, std::uint64_t time,
                             std::string_view event, std::size_t event_width, std::string_view payload,
                             perf_time unit) {
  const int tid_width = version >= trace_version::v7_2 ? 7 : 5;
  constexpr std::uint64_t second = 1'000'000'000;
  const std::string at = unit == perf_time::nanoseconds ? print("%5" PRIu64 ".%09" PRIu64, time / second, time % second)
                                                        : seconds(time / 1000);
  return print("%16s %*d [%03u] %12s: %*s: ", cut(comm).c_str(), tid_width, tid, cpu, at.c_str(),
               static_cast<int>(event_width), std::string(event).c_str()) +
         std::string(payload);
}

std::string ftrace_header(std::uint64_t entries, std::uint64_t written, unsigned cpus) {
  return "# tracer: nop\n#\n" +
         print("# entries-in-buffer/entries-written: %" PRIu64 "/%" PRIu64 "   #P:%u\n#\n", entries, written, cpus) +
         "#                                _-----=> irqs-off/BH-disabled\n"
         "#                               / _----=> need-resched\n"
         "#                              | / _---=> hardirq/softirq\n"
         "#                              || / _--=> preempt-depth\n"
         "#                              ||| / _-=> migrate-disable\n"
         "#                              |||| /     delay\n"
         "#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
         "#              | |         |   |||||     |         |\n";
}

std::string ftrace_line(trace_version version, std::string_view comm, int pid, unsigned cpu, const ftrace_flags& flags,
                        std::uint64_t time, std::string_view event, std::string_view payload) {
  const std::uint64_t microseconds = (time + 500) / 1000;
  const int pid_width = version >= trace_version::v5_10 ? 7 : 5;
  const std::string migrate = version >= trace_version::v6_1 ? depth(flags.migrate_depth) : "";
  return print("%16s-%-*d [%03u] %c%c%c%s%s %5" PRIu64 ".%06" PRIu64 ": %s: ", cut(comm).c_str(), pid_width, pid, cpu,
               flags.irqs, flags.resched, flags.context, depth(flags.preempt_depth).c_str(), migrate.c_str(),
               microseconds / 1'000'000, microseconds % 1'000'000, std::string(event).c_str()) +
         std::string(payload);
}

}  // namespace vmxsys::models::trace
