#include <gtest/gtest.h>
#include <string>

#include <vmxsys/platform/observe/trace/kvm_stat.hpp>
#include <vmxsys/platform/observe/trace/sched_map.hpp>

namespace vmxsys::models::trace {
namespace {

constexpr std::uint64_t us = 1000;
constexpr std::uint32_t cpuid = 10, hlt = 12, pause = 40, msr_write = 32;

// --- perf kvm stat

TEST(kvm_stat_report, TR_47_a_row) {
  kvm_stat stat;
  stat.on_entry(1, 0, 0);
  std::uint64_t now = 100 * us;
  for (const std::uint64_t took : {21, 22, 35}) {
    stat.on_exit(1, pause, now);
    stat.on_entry(1, 0, now += took * us);
  }
  const auto rows = stat.rows();
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(kvm_stat_row(trace_version::v7_2, rows[0], 3, 78 * us),
            "                       PAUSE_INSTRUCTION          3   100.00%   100.00%     21.00us     35.00us"
            "     26.00us ( +-  17.34% )\n");
  EXPECT_EQ(kvm_stat_row(trace_version::v6_1, rows[0], 3, 78 * us),
            "   PAUSE_INSTRUCTION          3   100.00%   100.00%     21.00us     35.00us     26.00us ( +-  17.34% )\n");
}

TEST(kvm_stat_report, TR_48_pairing) {
  kvm_stat stat;
  stat.on_exit(7, cpuid, 10 * us);
  stat.on_entry(7, 3, 20 * us);
  stat.on_exit(7, hlt, 30 * us);
  stat.on_entry(7, 3, 90 * us);
  stat.on_exit(7, cpuid, 100 * us);
  stat.on_exit(7, pause, 120 * us);
  stat.on_entry(7, 3, 150 * us);
  stat.on_entry(7, 3, 170 * us);

  const auto rows = stat.rows();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].reason, hlt);
  EXPECT_EQ(rows[0].time.total(), 60 * us);
  EXPECT_EQ(rows[1].reason, pause);
  EXPECT_EQ(rows[1].time.total(), 30 * us);
  EXPECT_NE(stat.report(trace_version::v7_2).find("\nTotal Samples:2, Total events handled time:90.00us.\n\n"),
            std::string::npos);
}

TEST(kvm_stat_report, the_whole_table) {
  kvm_stat stat;
  for (const int thread : {1, 2}) stat.on_entry(thread, static_cast<unsigned>(thread - 1), 0);
  stat.on_exit(1, hlt, 10 * us);
  stat.on_entry(1, 0, 110 * us);
  for (unsigned i = 0; i < 2; ++i) {
    stat.on_exit(2, msr_write, (10 + 10 * i) * us);
    stat.on_entry(2, 1, (12 + 10 * i) * us);
  }
  EXPECT_EQ(stat.report(trace_version::v6_1),
            "\n\nAnalyze events for all VMs, all VCPUs:\n\n"
            "             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time \n\n"
            "           MSR_WRITE          2    66.67%     3.85%      2.00us      2.00us      2.00us ( +-   0.00% )\n"
            "                 HLT          1    33.33%    96.15%    100.00us    100.00us    100.00us ( +-   0.00% )\n"
            "\nTotal Samples:3, Total events handled time:104.00us.\n\n");
  EXPECT_EQ(stat.report(trace_version::v6_1, 0),
            "\n\nAnalyze events for all VMs, VCPU 0:\n\n"
            "             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time \n\n"
            "                 HLT          1   100.00%   100.00%    100.00us    100.00us    100.00us ( +-   0.00% )\n"
            "\nTotal Samples:1, Total events handled time:100.00us.\n\n");
  EXPECT_TRUE(stat.rows(9).empty());
}

TEST(kvm_stat_report, equal_counts_are_ordered_by_reason) {
  kvm_stat stat;
  stat.on_entry(1, 0, 0);
  for (const std::uint32_t reason : {pause, cpuid, hlt}) {
    stat.on_exit(1, reason, us);
    stat.on_entry(1, 0, 2 * us);
  }
  const auto rows = stat.rows();
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].reason, cpuid);
  EXPECT_EQ(rows[2].reason, pause);
}

// --- perf sched map

TEST(sched_map_picture, TR_46_a_new_thread_on_one_of_three_cpus) {
  sched_map map(3);
  EXPECT_EQ(map.on_switch(0, 0, "swapper/0", 276'700'000'000), "  *.              276.700000 secs .  => swapper:0");
  EXPECT_EQ(map.on_switch(1, 2679, "CPU 2/KVM", 276'731'819'000),
            "   .  *A0         276.731819 secs A0 => CPU 2/KVM:2679");
  EXPECT_EQ(map.on_switch(0, 2679, "CPU 2/KVM", 276'731'900'000), "  *A0  A0         276.731900 secs ")
      << "known threads are not announced again";
}

TEST(sched_map_picture, TR_49_names_wrap_around) {
  sched_map map(1);
  const auto name_of = [&](int nth) {
    std::string line;
    for (static int tid = 0; tid < nth;) line = map.on_switch(0, ++tid, "t", 0);
    return line.substr(3, 2);
  };
  EXPECT_EQ(name_of(1), "A0");
  EXPECT_EQ(name_of(26), "Z0");
  EXPECT_EQ(name_of(27), "A1");
  EXPECT_EQ(name_of(260), "Z9");
  EXPECT_EQ(name_of(261), "A0");
}

TEST(sched_map_picture, a_new_name_is_announced) {
  sched_map map(1);
  map.on_switch(0, 5, "qemu", 0);
  EXPECT_TRUE(map.on_switch(0, 5, "CPU 0/KVM", 0).ends_with("A0 => CPU 0/KVM:5"));
}

}  // namespace
}  // namespace vmxsys::models::trace
