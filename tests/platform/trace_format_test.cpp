#include <algorithm>
#include <cstdint>
#include <gtest/gtest.h>
#include <string>
#include <string_view>
#include <utility>

#include <vmxsys/platform/observe/trace/trace_format.hpp>

namespace vmxsys::models::trace {
namespace {

using enum trace_version;

constexpr std::uint64_t pause_rip = 0xffffffff810b29e3;
constexpr std::uint64_t next_rip = 0xffffffff810b29e5;
constexpr std::string_view vcpu_comm = "CPU 2/KVM";
constexpr std::uint64_t example_time = 276'731'819'000;

kvm_exit_event exit_of(unsigned vcpu, std::uint32_t reason) {
  kvm_exit_event e;
  e.vcpu = vcpu;
  e.reason = reason;
  e.rip = pause_rip;
  return e;
}

// --- KVM

TEST(kvm_entry_text, TR_01) {
  EXPECT_EQ(kvm_entry(v7_2, {2, next_rip}),
            "vcpu 2, rip 0xffffffff810b29e5 intr_info 0x00000000 error_code 0x00000000");
}
TEST(kvm_entry_text, TR_02) {
  EXPECT_EQ(kvm_entry(v7_2, {2, next_rip, 0x800000ec, 0, true}),
            "vcpu 2, rip 0xffffffff810b29e5 intr_info 0x800000ec error_code 0x00000000[immediate exit]");
}
TEST(kvm_entry_text, TR_03) {
  EXPECT_EQ(kvm_entry(v6_1, {2, next_rip}), "vcpu 2, rip 0xffffffff810b29e5");
  EXPECT_EQ(kvm_entry(v6_12, {2, next_rip}), "vcpu 2, rip 0xffffffff810b29e5");
}
TEST(kvm_entry_text, TR_04) {
  EXPECT_EQ(kvm_entry(v6_1, {2, next_rip, 0, 0, true}), "vcpu 2, rip 0xffffffff810b29e5[immediate exit]");
  EXPECT_EQ(kvm_entry(v5_10, {2, next_rip, 0, 0, true}), "vcpu 2, rip 0xffffffff810b29e5");
}
TEST(kvm_entry_text, TR_05) {
  EXPECT_EQ(kvm_entry(v4_19, {2, next_rip}), "vcpu 2");
  EXPECT_EQ(kvm_entry(v5_6, {2, next_rip}), "vcpu 2");
  EXPECT_EQ(kvm_entry(v3_4, {2, next_rip}), "vcpu 2");
}

TEST(kvm_exit_text, TR_06) {
  EXPECT_EQ(kvm_exit(v7_2, exit_of(2, 40)),
            "vcpu 2 reason PAUSE_INSTRUCTION rip 0xffffffff810b29e3 info1 0x0000000000000000 info2 0x0000000000000000 "
            "intr_info 0x00000000 error_code 0x00000000 requests 0x0000000000000000");
}
TEST(kvm_exit_text, TR_07) {
  kvm_exit_event e = exit_of(0, 1);
  e.intr_info = 0x800000ec;
  for (const trace_version version : {v5_10, v6_1, v6_12})
    EXPECT_EQ(kvm_exit(version, e),
              "vcpu 0 reason EXTERNAL_INTERRUPT rip 0xffffffff810b29e3 info1 0x0000000000000000 info2 "
              "0x0000000000000000 intr_info 0x800000ec error_code 0x00000000");
}
TEST(kvm_exit_text, TR_08) {
  kvm_exit_event e = exit_of(1, 48);
  e.info1 = 0x181;
  EXPECT_EQ(kvm_exit(v6_1, e),
            "vcpu 1 reason EPT_VIOLATION rip 0xffffffff810b29e3 info1 0x0000000000000181 info2 0x0000000000000000 "
            "intr_info 0x00000000 error_code 0x00000000");
}
TEST(kvm_exit_text, TR_09) {
  EXPECT_EQ(kvm_exit(v5_6, exit_of(3, 32)), "vcpu 3 reason MSR_WRITE rip 0xffffffff810b29e3 info 0 0");
}
TEST(kvm_exit_text, TR_10) {
  EXPECT_EQ(kvm_exit(v4_19, exit_of(3, 32)), "reason MSR_WRITE rip 0xffffffff810b29e3 info 0 0");
  EXPECT_EQ(kvm_exit(v3_4, exit_of(3, 32)), "reason MSR_WRITE rip 0xffffffff810b29e3 info 0 0");
}
TEST(kvm_exit_text, before_5_10_the_second_number_is_the_interruption_information) {
  kvm_exit_event e = exit_of(0, 1);
  e.info1 = 0x181;
  e.info2 = 0x800000fb;
  e.intr_info = 0x800000ec;
  EXPECT_EQ(kvm_exit(v5_6, e), "vcpu 0 reason EXTERNAL_INTERRUPT rip 0xffffffff810b29e3 info 181 800000ec");
  EXPECT_EQ(kvm_exit(v3_4, e), "reason EXTERNAL_INTERRUPT rip 0xffffffff810b29e3 info 181 800000ec");
  EXPECT_NE(kvm_exit(v5_10, e).find("info2 0x00000000800000fb intr_info 0x800000ec"), std::string::npos);
}
TEST(kvm_exit_text, TR_11) {
  EXPECT_EQ(kvm_exit(v6_1, exit_of(0, 0x80000021)),
            "vcpu 0 reason INVALID_STATE FAILED_VMENTRY rip 0xffffffff810b29e3 info1 0x0000000000000000 info2 "
            "0x0000000000000000 intr_info 0x00000000 error_code 0x00000000");
}
TEST(kvm_exit_text, TR_12) { EXPECT_TRUE(kvm_exit(v6_1, exit_of(0, 76)).starts_with("vcpu 0 reason 0x4c rip")); }
TEST(kvm_exit_text, TR_13) {
  EXPECT_TRUE(kvm_exit(v6_1, exit_of(0, 12 | 1u << 27)).starts_with("vcpu 0 reason HLT 0x8000000 rip"));
}

TEST(kvm_exit_text, names_of_all_reasons) {
  const std::pair<unsigned, const char*> names[] = {{0, "EXCEPTION_NMI"},
                                                    {1, "EXTERNAL_INTERRUPT"},
                                                    {2, "TRIPLE_FAULT"},
                                                    {3, "INIT_SIGNAL"},
                                                    {4, "SIPI_SIGNAL"},
                                                    {6, "0x6"},
                                                    {7, "INTERRUPT_WINDOW"},
                                                    {8, "NMI_WINDOW"},
                                                    {9, "TASK_SWITCH"},
                                                    {10, "CPUID"},
                                                    {12, "HLT"},
                                                    {13, "INVD"},
                                                    {14, "INVLPG"},
                                                    {15, "RDPMC"},
                                                    {16, "RDTSC"},
                                                    {18, "VMCALL"},
                                                    {19, "VMCLEAR"},
                                                    {20, "VMLAUNCH"},
                                                    {21, "VMPTRLD"},
                                                    {22, "VMPTRST"},
                                                    {23, "VMREAD"},
                                                    {24, "VMRESUME"},
                                                    {25, "VMWRITE"},
                                                    {26, "VMOFF"},
                                                    {27, "VMON"},
                                                    {28, "CR_ACCESS"},
                                                    {29, "DR_ACCESS"},
                                                    {30, "IO_INSTRUCTION"},
                                                    {31, "MSR_READ"},
                                                    {32, "MSR_WRITE"},
                                                    {33, "INVALID_STATE"},
                                                    {34, "MSR_LOAD_FAIL"},
                                                    {36, "MWAIT_INSTRUCTION"},
                                                    {37, "MONITOR_TRAP_FLAG"},
                                                    {39, "MONITOR_INSTRUCTION"},
                                                    {40, "PAUSE_INSTRUCTION"},
                                                    {41, "MCE_DURING_VMENTRY"},
                                                    {43, "TPR_BELOW_THRESHOLD"},
                                                    {44, "APIC_ACCESS"},
                                                    {45, "EOI_INDUCED"},
                                                    {46, "GDTR_IDTR"},
                                                    {47, "LDTR_TR"},
                                                    {48, "EPT_VIOLATION"},
                                                    {49, "EPT_MISCONFIG"},
                                                    {50, "INVEPT"},
                                                    {51, "RDTSCP"},
                                                    {52, "PREEMPTION_TIMER"},
                                                    {53, "INVVPID"},
                                                    {54, "WBINVD"},
                                                    {55, "XSETBV"},
                                                    {56, "APIC_WRITE"},
                                                    {57, "RDRAND"},
                                                    {58, "INVPCID"},
                                                    {59, "VMFUNC"},
                                                    {60, "ENCLS"},
                                                    {61, "RDSEED"},
                                                    {62, "PML_FULL"},
                                                    {63, "XSAVES"},
                                                    {64, "XRSTORS"},
                                                    {67, "UMWAIT"},
                                                    {68, "TPAUSE"},
                                                    {74, "BUS_LOCK"},
                                                    {75, "NOTIFY"},
                                                    {76, "0x4c"},
                                                    {77, "TDCALL"},
                                                    {84, "MSR_READ_IMM"},
                                                    {85, "MSR_WRITE_IMM"}};
  for (const auto& [number, name] : names) EXPECT_EQ(exit_reason_text(v7_2, number), name) << number;
  EXPECT_EQ(exit_reason_text(v4_19, 7), "PENDING_INTERRUPT");
  EXPECT_EQ(exit_reason_text(v6_1, 77), "0x4d");
}

TEST(ple_window_text, TR_14) {
  EXPECT_EQ(ple_window(v6_1, 2, 4096, 8192, true), "vcpu 2 old 4096 new 8192 (growed)");
  EXPECT_STREQ(ple_window_event_name(v6_1), "kvm_ple_window_update");
}
TEST(ple_window_text, TR_15) {
  EXPECT_EQ(ple_window(v4_19, 2, 4096, 8192, true), "vcpu 2: ple_window 8192 (grow 4096)");
  EXPECT_STREQ(ple_window_event_name(v4_19), "kvm_ple_window");
}

TEST(kvm_inj_virq_text, TR_16) { EXPECT_EQ(kvm_inj_virq(v6_1, 0xec, false, false), "IRQ 0xec"); }
TEST(kvm_inj_virq_text, TR_17) { EXPECT_EQ(kvm_inj_virq(v7_2, 0xec, true, true), "Soft/INTn 0xec [reinjected]"); }
TEST(kvm_inj_virq_text, TR_18) {
  for (const trace_version version : {v3_4, v4_19, v5_10})
    EXPECT_EQ(kvm_inj_virq(version, 0xec, true, true), "irq 236");
}

TEST(kvm_apic_ipi_text, TR_19) {
  EXPECT_EQ(kvm_apic_ipi(0xfd, 3), "dst 3 vec 253 (Fixed|physical|de-assert|edge|dst)");
}
TEST(kvm_apic_ipi_text, TR_20) {
  EXPECT_EQ(kvm_apic_ipi(0x000c40fc, 0), "dst 0 vec 252 (Fixed|physical|assert|edge|all-but-self)");
}
TEST(kvm_apic_ipi_text, TR_21) {
  EXPECT_EQ(kvm_apic_ipi(0x400, 0x1f), "dst 1f vec 0 (NMI|physical|de-assert|edge|dst)");
}
TEST(kvm_apic_ipi_text, TR_22) {
  EXPECT_EQ(kvm_apic_ipi(0x8f6, 0x10003), "dst 10003 vec 246 (Fixed|logical|de-assert|edge|dst)");
}
TEST(kvm_apic_ipi_text, other_fields) {
  EXPECT_EQ(kvm_apic_ipi(0x0004'8000 | 5 << 8, 0), "dst 0 vec 0 (INIT|physical|de-assert|level|self)");
  EXPECT_EQ(kvm_apic_ipi(0x0008'0000 | 6 << 8 | 0x9a, 0), "dst 0 vec 154 (SIPI|physical|de-assert|edge|all)");
}
TEST(kvm_apic_text, TR_23) { EXPECT_EQ(kvm_apic_accept_irq(11, 0xfd, 0, false), "apicid b vec 253 (Fixed|edge)"); }
TEST(kvm_apic_text, TR_24) {
  EXPECT_EQ(kvm_eoi(2, -1), "apicid 2 vector -1");
  EXPECT_EQ(kvm_eoi(0x1f, 236), "apicid 1f vector 236");
}
TEST(kvm_apic_text, TR_25) { EXPECT_EQ(kvm_apic(true, "APIC_ICR", 0xfd), "apic_write APIC_ICR = 0xfd"); }
TEST(kvm_msr_text, TR_26) { EXPECT_EQ(kvm_msr(true, 0x6e0, 0x123456789, false), "msr_write 6e0 = 0x123456789"); }
TEST(kvm_msr_text, TR_27) { EXPECT_EQ(kvm_msr(false, 0xc0000080, 0, true), "msr_read c0000080 = 0x0 (#GP)"); }
TEST(kvm_hypercall_text, TR_28) { EXPECT_EQ(kvm_hypercall(10, 5, 0, 3, 0xfc), "nr 0xa a0 0x5 a1 0x0 a2 0x3 a3 0xfc"); }
TEST(kvm_halt_text, TR_29) {
  EXPECT_EQ(kvm_halt_poll_ns(4, 10000, 20000, true), "vcpu 4: halt_poll_ns 20000 (grow 10000)");
  EXPECT_EQ(kvm_halt_poll_ns(4, 20000, 0, false), "vcpu 4: halt_poll_ns 0 (shrink 20000)");
}
TEST(kvm_halt_text, TR_30) {
  EXPECT_EQ(kvm_vcpu_wakeup(true, 70'000, true), "wait time 70000 ns, polling valid");
  EXPECT_EQ(kvm_vcpu_wakeup(false, 1'500, false), "poll time 1500 ns, polling invalid");
}
TEST(kvm_timer_text, TR_31) { EXPECT_EQ(kvm_hv_timer_state(10, true), "vcpu_id a hv_timer 1"); }
TEST(kvm_timer_text, lapic_expire) {
  EXPECT_EQ(kvm_wait_lapic_expire(1, -200), "vcpu 1: delta -200 (early)");
  EXPECT_EQ(kvm_wait_lapic_expire(1, 0), "vcpu 1: delta 0 (late)");
}
TEST(kvm_pi_text, TR_32) {
  EXPECT_EQ(kvm_pi_irte_update(true, 50, 1, 0x18, 0x31),
            "PI is enabled and being updated for irq 50, vcpu 1, gsi: 0x18, gvec: 0x31");
  EXPECT_EQ(kvm_pi_irte_update(false, 50, 1, 0x18, 0x31), "PI is disabled for irq 50, vcpu 1, gsi: 0x18, gvec: 0x31");
}
TEST(kvm_userspace_text, TR_33) { EXPECT_EQ(kvm_userspace_exit("KVM_EXIT_IO", 2), "reason KVM_EXIT_IO (2)"); }
TEST(kvm_userspace_text, TR_34) {
  EXPECT_EQ(kvm_userspace_exit("", 0, -4), "reason restart (4)");
  EXPECT_EQ(kvm_userspace_exit("", 0, -14), "reason error (14)");
}
TEST(kvm_pv_text, tlb_flush) { EXPECT_EQ(kvm_pv_tlb_flush(3, true), "vcpu 3 need_flush_tlb true"); }

// --- scheduler

TEST(sched_switch_text, TR_35) {
  EXPECT_EQ(sched_switch({vcpu_comm, 2679}, "R+", {"ksoftirqd/6", 46}),
            "prev_comm=CPU 2/KVM prev_pid=2679 prev_prio=120 prev_state=R+ ==> next_comm=ksoftirqd/6 next_pid=46 "
            "next_prio=120");
}
TEST(sched_switch_text, TR_36) {
  EXPECT_EQ(sched_switch({vcpu_comm, 2679}, "R", {"CPU 0/KVM", 2677}),
            "prev_comm=CPU 2/KVM prev_pid=2679 prev_prio=120 prev_state=R ==> next_comm=CPU 0/KVM next_pid=2677 "
            "next_prio=120");
}
TEST(sched_switch_text, TR_37) {
  EXPECT_EQ(sched_switch({vcpu_comm, 2679}, "S", {"swapper/6", 0}),
            "prev_comm=CPU 2/KVM prev_pid=2679 prev_prio=120 prev_state=S ==> next_comm=swapper/6 next_pid=0 "
            "next_prio=120");
}
TEST(sched_switch_text, TR_50) {
  EXPECT_EQ(sched_switch({vcpu_comm, 2679}, "R", {"ksoftirqd/6", 46}),
            "prev_comm=CPU 2/KVM prev_pid=2679 prev_prio=120 prev_state=R ==> next_comm=ksoftirqd/6 next_pid=46 "
            "next_prio=120");
}
TEST(sched_wakeup_text, TR_38) {
  EXPECT_EQ(sched_wakeup(v4_19, {vcpu_comm, 2679}, 6), "comm=CPU 2/KVM pid=2679 prio=120 target_cpu=006");
  EXPECT_EQ(sched_wakeup(v7_2, {vcpu_comm, 2679}, 6), "comm=CPU 2/KVM pid=2679 prio=120 target_cpu=006");
}
TEST(sched_wakeup_text, TR_39) {
  EXPECT_EQ(sched_wakeup(v3_4, {vcpu_comm, 2679}, 6), "comm=CPU 2/KVM pid=2679 prio=120 success=1 target_cpu=006");
}
TEST(sched_stat_text, TR_40) {
  EXPECT_EQ(sched_stat_runtime(v6_12, {vcpu_comm, 2679}, 25'000, 1), "comm=CPU 2/KVM pid=2679 runtime=25000 [ns]");
  EXPECT_EQ(sched_stat_runtime(v7_2, {vcpu_comm, 2679}, 25'000, 1), "comm=CPU 2/KVM pid=2679 runtime=25000 [ns]");
}
TEST(sched_stat_text, TR_41) {
  for (const trace_version version : {v3_4, v6_1})
    EXPECT_EQ(sched_stat_runtime(version, {vcpu_comm, 2679}, 25'000, 88'000'000),
              "comm=CPU 2/KVM pid=2679 runtime=25000 [ns] vruntime=88000000 [ns]");
}
TEST(sched_text, the_rest) {
  EXPECT_EQ(sched_migrate_task({vcpu_comm, 2679}, 1, 12), "comm=CPU 2/KVM pid=2679 prio=120 orig_cpu=1 dest_cpu=12");
  EXPECT_EQ(sched_stat_delay({vcpu_comm, 2679}, 5), "comm=CPU 2/KVM pid=2679 delay=5 [ns]");
  EXPECT_EQ(sched_wake_idle_without_ipi(3), "cpu=3");
  EXPECT_EQ(sched_migrate_task({"qemu-system-x86_64", 7}, 0, 1),
            "comm=qemu-system-x86 pid=7 prio=120 orig_cpu=0 dest_cpu=1")
      << "comms are cut at 15 bytes";
}
TEST(cpu_idle_text, TR_42) {
  EXPECT_EQ(cpu_idle(1, 6), "state=1 cpu_id=6");
  EXPECT_EQ(cpu_idle(leave_idle, 6), "state=4294967295 cpu_id=6");
}

// --- lines

constexpr std::size_t entry_exit_width = std::string_view("kvm:kvm_entry").size();

TEST(perf_script_text, TR_43) {
  EXPECT_EQ(perf_script_line(v7_2, vcpu_comm, 2679, 6, example_time, "kvm:kvm_entry", entry_exit_width, "vcpu 2"),
            "       CPU 2/KVM    2679 [006]   276.731819: kvm:kvm_entry: vcpu 2");
  EXPECT_EQ(perf_script_line(v7_2, vcpu_comm, 2679, 6, 276'731'784'000, "kvm:kvm_exit", entry_exit_width,
                             kvm_exit(v5_6, exit_of(2, 40))),
            "       CPU 2/KVM    2679 [006]   276.731784:  kvm:kvm_exit: vcpu 2 reason PAUSE_INSTRUCTION rip "
            "0xffffffff810b29e3 info 0 0");
}
TEST(perf_script_text, TR_44) {
  EXPECT_EQ(perf_script_line(v6_1, vcpu_comm, 2679, 6, example_time, "kvm:kvm_entry", entry_exit_width, "vcpu 2"),
            "       CPU 2/KVM  2679 [006]   276.731819: kvm:kvm_entry: vcpu 2");
}
TEST(ftrace_text, TR_45) {
  ftrace_flags flags;
  flags.irqs = 'd';
  flags.preempt_depth = 1;
  EXPECT_EQ(ftrace_line(v7_2, vcpu_comm, 2679, 6, flags, example_time, "kvm_entry", "vcpu 2"),
            "       CPU 2/KVM-2679    [006] d..1.   276.731819: kvm_entry: vcpu 2");
  EXPECT_EQ(ftrace_line(v5_10, vcpu_comm, 2679, 6, flags, example_time, "kvm_entry", "vcpu 2"),
            "       CPU 2/KVM-2679    [006] d..1   276.731819: kvm_entry: vcpu 2")
      << "no migrate-disable column";
}
TEST(trace_times, perf_cuts_and_ftrace_rounds) {
  EXPECT_NE(perf_script_line(v7_2, "x", 1, 0, 1'999, "e:e", 3, "").find(" 0.000001:"), std::string::npos);
  EXPECT_NE(ftrace_line(v7_2, "x", 1, 0, {}, 1'500, "e", "").find(" 0.000002:"), std::string::npos);
}
TEST(ftrace_text, header) {
  const std::string header = ftrace_header(7, 9, 64);
  EXPECT_TRUE(header.starts_with("# tracer: nop\n#\n# entries-in-buffer/entries-written: 7/9   #P:64\n#\n#      "));
  EXPECT_TRUE(
      header.ends_with("#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION\n"
                       "#              | |         |   |||||     |         |\n"));
  EXPECT_EQ(std::count(header.begin(), header.end(), '\n'), 12);
}

}  // namespace
}  // namespace vmxsys::models::trace
