#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <sstream>

#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/platform/observe/trace/trace_sink.hpp>
#include <vmxsys/platform/observe/trace/traced_kernel.hpp>

#include "execution_fixture.hpp"

// Trace formats by name: their texts for facts that a test states, and whole runs.
namespace vmxsys::platform::testing {
namespace {

using models::kvm_entry_fact;
using models::kvm_exit_fact;
using models::sched_switch_fact;

/// A machine that does not run: 2 GHz, its CPUs idle. vCPU threads are 1 and 2 of "db", 3 and 4 of "web".
class stated : public ::testing::Test {
 protected:
  void attach(const component<trace_format_entry>& format, std::vector<std::string> tracepoints = {}) {
    sink = trace_formats().select(format).make(trace_environment{machine.observed(), text, std::move(tracepoints)});
    machine.hardware().facts().attach(*sink);
  }
  template <class F>
  void record(unsigned cpu, std::uint64_t us, const F& fact) {
    machine.hardware().facts().record(machine.host().fact_source(cpu), cycles{2000 * us}, fact);
  }
  void exit(std::uint32_t pid, vmx::exit_reason reason, std::uint64_t us, std::uint32_t interrupt = 0) {
    record(0, us, kvm_exit_fact{0, 0, 0, pid, reason, 0xffffffff810b29e3, 0, interrupt});
  }
  void entry(std::uint32_t pid, std::uint64_t us) { record(0, us, kvm_entry_fact{0, 0, 0, pid, 0xffffffff810b29e5}); }

  simulation machine{two_vms()};
  std::ostringstream text;
  std::unique_ptr<trace_sink> sink;
};

TEST_F(stated, kvm_prints_nanoseconds_as_its_option_says) {
  attach({"kvm", {{"ns", true}}}, {"kvm_entry"});
  entry(1, 10);
  EXPECT_TRUE(text.str().starts_with("       swapper/0     0 [000]     0.000010000: kvm:kvm_entry: vcpu 0"))
      << text.str();
}

// -- kvm --------------------------------------------------------------------------------------------------------------

TEST_F(stated, kvm_prints_every_tracepoint_of_its_group) {
  attach("kvm");
  entry(1, 10);
  exit(1, vmx::exit_reason::pause, 20);
  exit(1, vmx::exit_reason::external_interrupt, 30, 0x800000ec);
  record(0, 40, models::inject_fact{0, 0, 0xec});
  record(1, 50, models::post_fact{1, 1, 0xfd, 1, 1, 0});
  record(1, 60, models::ple_window_fact{0, 1, 4096, 8192});
  record(1, 70, models::ple_window_fact{0, 1, 8192, 4096});
  record(0, 80, models::wait_lapic_expire_fact{0, 0, -200});
  record(0, 90, sched_switch_fact{0, 0, 1, 3, 'S'});
  EXPECT_EQ(
      text.str(),
      "       swapper/0     0 [000]     0.000010:             kvm:kvm_entry: vcpu 0\n"
      "       swapper/0     0 [000]     0.000020:              kvm:kvm_exit: vcpu 0 reason PAUSE_INSTRUCTION rip "
      "0xffffffff810b29e3 info 0 0\n"
      "       swapper/0     0 [000]     0.000030:              kvm:kvm_exit: vcpu 0 reason EXTERNAL_INTERRUPT rip "
      "0xffffffff810b29e3 info 0 800000ec\n"
      "       swapper/0     0 [000]     0.000040:          kvm:kvm_inj_virq: irq 236\n"
      "       swapper/1     0 [001]     0.000050:  kvm:kvm_apicv_accept_irq: apicid 1 vec 253 (Fixed|edge)\n"
      "       swapper/1     0 [001]     0.000060: kvm:kvm_ple_window_update: vcpu 1 old 4096 new 8192 (growed)\n"
      "       swapper/1     0 [001]     0.000070: kvm:kvm_ple_window_update: vcpu 1 old 8192 new 4096 (shrinked)\n"
      "       swapper/0     0 [000]     0.000080: kvm:kvm_wait_lapic_expire: vcpu 0: delta -200 (early)\n");
}

TEST_F(stated, kvm_prints_what_was_chosen_and_is_as_wide_as_that) {
  attach("kvm", {"kvm_entry", "kvm:kvm_exit"});
  entry(1, 10);
  exit(1, vmx::exit_reason::hlt, 20);
  record(0, 30, models::inject_fact{0, 0, 0xec});
  EXPECT_EQ(text.str(),
            "       swapper/0     0 [000]     0.000010: kvm:kvm_entry: vcpu 0\n"
            "       swapper/0     0 [000]     0.000020:  kvm:kvm_exit: vcpu 0 reason HLT rip 0xffffffff810b29e3 info 0 "
            "0\n");
}

TEST_F(stated, the_scheduler_names_vcpu_threads_with_their_vm) {
  attach("kvm", {"sched"});
  record(1, 10, sched_switch_fact{0, 1, 0, 2, 'P'});
  record(1, 20, sched_switch_fact{0, 1, 2, 4, 'P'});
  record(1, 30, sched_switch_fact{0, 1, 4, 2, 'R'});
  record(1, 40, sched_switch_fact{0, 1, 2, 0, 'S'});
  record(0, 50, models::sched_wakeup_fact{0, 1, 3});
  record(0, 60, models::sched_migrate_fact{0, 3, 1, 0});
  const std::string head = "       swapper/1     0 [001]     0.0000";
  EXPECT_EQ(text.str(),
            head +
                "10:       sched:sched_switch: prev_comm=swapper/1 prev_pid=0 prev_prio=120 prev_state=R ==> "
                "next_comm=CPU 1/KVM/db next_pid=2 next_prio=120\n" +
                head +
                "20:       sched:sched_switch: prev_comm=CPU 1/KVM/db prev_pid=2 prev_prio=120 prev_state=R+ ==> "
                "next_comm=CPU 1/KVM/web next_pid=4 next_prio=120\n" +
                head +
                "30:       sched:sched_switch: prev_comm=CPU 1/KVM/web prev_pid=4 prev_prio=120 prev_state=R ==> "
                "next_comm=CPU 1/KVM/db next_pid=2 next_prio=120\n" +
                head +
                "40:       sched:sched_switch: prev_comm=CPU 1/KVM/db prev_pid=2 prev_prio=120 prev_state=S ==> "
                "next_comm=swapper/1 next_pid=0 next_prio=120\n"
                "       swapper/0     0 [000]     0.000050:       sched:sched_wakeup: comm=CPU 0/KVM/web pid=3 "
                "prio=120 target_cpu=001\n"
                "       swapper/0     0 [000]     0.000060: sched:sched_migrate_task: comm=CPU 0/KVM/web pid=3 "
                "prio=120 orig_cpu=1 dest_cpu=0\n");
}

TEST_F(stated, a_vcpu_waited_if_it_slept_after_its_exit_and_polled_if_not) {
  attach("kvm", {"kvm_vcpu_wakeup"});
  const models::vcpu_block_fact block{1, 0, cycles{140'000}};
  exit(3, vmx::exit_reason::hlt, 10);
  record(0, 20, sched_switch_fact{0, 0, 3, 0, 'S'});
  record(0, 30, sched_switch_fact{0, 0, 0, 3, 'R'});
  record(0, 90, block);
  exit(3, vmx::exit_reason::pause, 100);
  record(0, 110, sched_switch_fact{0, 0, 3, 0, 'S'});  // a policy that sleeps
  exit(3, vmx::exit_reason::hlt, 120);
  record(0, 130, sched_switch_fact{0, 0, 3, 1, 'P'});  // preempted on the way
  record(0, 190, block);
  std::istringstream lines{text.str()};
  std::string first, second;
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_TRUE(first.ends_with("kvm:kvm_vcpu_wakeup: wait time 70000 ns, polling valid")) << first;
  EXPECT_TRUE(second.ends_with("kvm:kvm_vcpu_wakeup: poll time 70000 ns, polling valid")) << second;
}

TEST_F(stated, guests_are_not_the_host) {
  attach("kvm", {"*"});
  models::kernel& guest = machine.guest(0);
  machine.hardware().facts().record(guest.fact_source(0), cycles{10}, sched_switch_fact{guest.id(), 0, 0, 1, 'R'});
  EXPECT_EQ(text.str(), "");
}

TEST_F(stated, a_pattern_that_names_nothing_is_refused) {
  EXPECT_THROW(attach("kvm", {"kvm_exit", "kvm_exti"}), std::invalid_argument);
}

TEST(vm_marks, tell_vms_apart_in_15_characters) {
  using names = std::vector<std::string>;
  EXPECT_EQ(vm_marks({"lock_bound"}, 8), names{""}) << "as QEMU names them";
  EXPECT_EQ(vm_marks({"lock_bound", "cpu_bound"}, 10), (names{"/lock_", "/cpu_b"}));
  EXPECT_EQ(vm_marks({"lock_bound", "cpu_bound"}, 11), (names{"/lock", "/cpu_"}));
  EXPECT_EQ(vm_marks({"guest1", "guest2"}, 10), (names{"/0", "/1"})) << "equal where they are cut";
  EXPECT_EQ(vm_marks({"gues1", "gues2"}, 10), (names{"/gues1", "/gues2"}));
  EXPECT_EQ(vm_marks({"a", ""}, 1), (names{"/0", "/1"}));
  EXPECT_EQ(vm_marks({"a", "b"}, 1024), (names{"/a", "/b"}));
  EXPECT_EQ(vm_marks({}, 0), names{});
}

// -- kvm_stat ---------------------------------------------------------------------------------------------------------

TEST_F(stated, kvm_stat_is_the_table_of_the_measured_interval) {
  attach("kvm_stat");
  entry(1, 10);
  exit(1, vmx::exit_reason::cpuid, 20);
  entry(1, 30);
  exit(2, vmx::exit_reason::hlt, 40);
  sink->begin(cycles{2000 * 50});
  entry(2, 60);  // its exit was before
  for (std::uint64_t at : {100, 200, 300}) {
    exit(1, vmx::exit_reason::pause, at);
    entry(1, at + (at == 300 ? 35 : at == 200 ? 22 : 21));
  }
  exit(2, vmx::exit_reason::hlt, 400);
  entry(2, 500);
  exit(1, vmx::exit_reason::hlt, 600);  // is still being handled
  EXPECT_EQ(text.str(), "");
  sink->finish(cycles{2000 * 700});
  EXPECT_EQ(text.str(),
            "\n\nAnalyze events for all VMs, all VCPUs:\n\n"
            "             VM-EXIT    Samples  Samples%     Time%    Min Time    Max Time         Avg time \n\n"
            "   PAUSE_INSTRUCTION          3    75.00%    43.82%     21.00us     35.00us     26.00us ( +-  17.34% )\n"
            "                 HLT          1    25.00%    56.18%    100.00us    100.00us    100.00us ( +-   0.00% )\n"
            "\nTotal Samples:4, Total events handled time:178.00us.\n\n");
}

TEST_F(stated, kvm_stat_shows_one_vcpu_as_its_option_says) {
  attach({"kvm_stat", {{"vcpu", 1}}});
  sink->begin(cycles{0});
  record(0, 10, kvm_exit_fact{0, 0, 0, 1, vmx::exit_reason::pause, 0, 0, 0});
  record(0, 20, kvm_entry_fact{0, 0, 0, 1, 0});
  record(1, 10, kvm_exit_fact{0, 1, 1, 2, vmx::exit_reason::hlt, 0, 0, 0});
  record(1, 20, kvm_entry_fact{0, 1, 1, 2, 0});
  sink->finish(cycles{100'000});
  EXPECT_NE(text.str().find("all VMs, VCPU 1:"), std::string::npos) << text.str();
  EXPECT_NE(text.str().find("HLT"), std::string::npos) << text.str();
  EXPECT_EQ(text.str().find("PAUSE"), std::string::npos) << text.str();
}

// -- sched_map --------------------------------------------------------------------------------------------------------

TEST_F(stated, sched_map_has_a_column_for_each_cpu) {
  attach("sched_map");
  record(0, 276'700'000, sched_switch_fact{0, 0, 1, 0, 'S'});
  record(1, 276'731'819, sched_switch_fact{0, 1, 0, 4, 'R'});
  record(0, 276'731'900, sched_switch_fact{0, 0, 0, 1, 'R'});
  record(1, 276'732'000, sched_switch_fact{0, 1, 4, 1, 'R'});
  record(0, 276'732'100, models::sched_wakeup_fact{0, 1, 4});
  EXPECT_EQ(text.str(),
            "  *.          276.700000 secs .  => swapper:0\n"
            "   .  *A0     276.731819 secs A0 => CPU 1/KVM/web:4\n"
            "  *B0  A0     276.731900 secs B0 => CPU 0/KVM/db:1\n"
            "   B0 *B0     276.732000 secs \n");
}

// -- whole runs -------------------------------------------------------------------------------------------------------

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in{text};
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

/// Counts by tracepoint.
std::map<std::string, unsigned> events_of(const std::string& text) {
  std::map<std::string, unsigned> counts;
  for (const std::string& line : lines_of(text)) {
    std::size_t end = line.find(": ", line.find(": ") + 2);
    const std::size_t begin = line.rfind(' ', end) + 1;
    ++counts[line.substr(begin, end - begin)];
  }
  return counts;
}

/// Facts of the host by name.
class counter final : public cpu::fact_observer {
 public:
  void observe(const cpu::fact_view& fact) override {
    if (const auto* s = fact.as<sched_switch_fact>()) {
      if (s->kernel == 0) ++counts["sched_switch"];
    } else if (const auto* w = fact.as<models::sched_wakeup_fact>()) {
      if (w->kernel == 0) ++counts["sched_wakeup"];
    } else if (const auto* m = fact.as<models::sched_migrate_fact>()) {
      if (m->kernel == 0) ++counts["sched_migrate_task"];
    } else {
      ++counts[fact.header().kind->name];
    }
  }
  std::map<std::string, unsigned> counts;
};

TEST(traces, all_formats_at_once_change_no_fact) {
  const run_config config = short_study({"until=30ms"});
  std::ostringstream kvm, stat, map;
  const std::vector<trace_output> all{
      {"kvm", &kvm, {"kvm", "sched"}}, {"kvm_stat", &stat, {}}, {"sched_map", &map, {}}};
  counter facts;
  const run_result r = run_bare(config, &facts, all);
  EXPECT_EQ(document(r), document(run_bare(config)));

  std::map<std::string, unsigned> events = events_of(kvm.str());
  for (const char* name : {"kvm_entry", "kvm_exit", "kvm_inj_virq", "kvm_ple_window_update"})
    EXPECT_EQ(events[std::string{"kvm:"} + name], facts.counts[name]) << name;
  for (const char* name : {"sched_switch", "sched_wakeup", "sched_migrate_task"})
    EXPECT_EQ(events[std::string{"sched:"} + name], facts.counts[name]) << name;
  EXPECT_EQ(events["kvm:kvm_vcpu_wakeup"], facts.counts["kvm_vcpu_block"]);
  EXPECT_GT(facts.counts["sched_switch"], 100u);

  EXPECT_EQ(lines_of(map.str()).size(), facts.counts["sched_switch"]);
  EXPECT_NE(map.str().find(" => CPU 3/KVM/lock_:4\n"), std::string::npos);
  EXPECT_NE(map.str().find(" => CPU 3/KVM/cpu_b:12\n"), std::string::npos);
}

TEST(traces, kvm_stat_counts_what_the_report_counts) {
  for (const char* from : {"measure_from=0", "measure_from=20ms"}) {
    std::ostringstream stat;
    const run_result r = run_bare(short_study({"until=40ms", from}), nullptr, {{"kvm_stat", &stat, {}}});
    std::map<std::string, std::uint64_t> counts;
    for (const std::string& line : lines_of(stat.str())) {
      char reason[64];
      unsigned long long count = 0;
      if (line.find("us ( +-") != std::string::npos && std::sscanf(line.c_str(), "%63s %llu", reason, &count) == 2)
        counts[reason] = count;
    }
    ASSERT_GE(r.exits.size(), 3u);
    for (const exit_row& e : r.exits) EXPECT_EQ(counts[e.reason], e.software.count) << from << ' ' << e.reason;
  }
}

TEST(traces, the_thread_in_front_is_the_one_that_the_line_is_about) {
  std::ostringstream kvm;
  run_bare(short_study({"until=25ms"}), nullptr, {{"kvm", &kvm, {"kvm_e*", "kvm_ple_window_update"}}});
  std::set<std::string> threads;
  for (const std::string& line : lines_of(kvm.str())) {
    unsigned in_front = 99, in_payload = 98;
    ASSERT_EQ(std::sscanf(line.c_str(), " CPU %u/KVM", &in_front), 1) << line;
    ASSERT_EQ(std::sscanf(line.c_str() + line.find(": vcpu "), ": vcpu %u", &in_payload), 1) << line;
    ASSERT_EQ(in_front, in_payload) << line;
    threads.insert(line.substr(0, 16));
  }
  EXPECT_EQ(threads.size(), 16u) << "two VMs of 8";
}

TEST(traces, a_single_vm_has_qemus_names) {
  std::ostringstream kvm;
  const loaded_config c = load_config_text(R"({"until": "2ms", "vms": [{"name": "alone", "vcpus": 1}]})");
  run_bare(c.config, nullptr, {{"kvm", &kvm, {"kvm_entry"}}});
  ASSERT_FALSE(lines_of(kvm.str()).empty());
  EXPECT_TRUE(lines_of(kvm.str())[0].starts_with("       CPU 0/KVM     1 [000]     0.0000")) << kvm.str();
}

TEST(traces, posted_interrupts_and_advanced_timers_have_theirs) {
  const loaded_config c = load_config_text(R"({"until": "5ms",
      "machine": {"preset": "hypothetical_apic_timer", "cores": 4, "memory": "16GiB"},
      "host": {"interrupt_path": "posted", "timer_backend": "preemption_timer", "timer_advance": "adaptive",
               "vcpu_affinity": "spread"},
      "vms": [{"name": "a", "vcpus": 2, "workload": {"name": "timer", "ahead": "10us", "work": "6us"}}]})");
  ASSERT_TRUE(c.ok()) << c.report();
  std::ostringstream kvm;
  counter facts;
  run_bare(c.config, &facts, {{"kvm", &kvm, {}}});
  std::map<std::string, unsigned> events = events_of(kvm.str());
  EXPECT_EQ(events["kvm:kvm_apicv_accept_irq"], facts.counts["kvm_post"]);
  EXPECT_EQ(events["kvm:kvm_wait_lapic_expire"], facts.counts["kvm_wait_lapic_expire"]);
  EXPECT_GT(events["kvm:kvm_apicv_accept_irq"], 10u);
  EXPECT_GT(events["kvm:kvm_wait_lapic_expire"], 10u);
  EXPECT_EQ(events.count("sched:sched_switch"), 0u);
}

TEST(traces, on_bare_metal_the_kernel_of_the_machine_is_traced) {
  const loaded_config c = load_config_text(R"({"until": "5ms", "bare_metal": true, "machine": {"cores": 2},
      "vms": [{"name": "a", "vcpus": 2, "workload": {"name": "cpu_bound", "threads": 3}}]})");
  ASSERT_TRUE(c.ok()) << c.report();
  std::ostringstream kvm, stat, map;
  run_bare(c.config, nullptr, {{"kvm", &kvm, {"sched", "kvm"}}, {"kvm_stat", &stat, {}}, {"sched_map", &map, {}}});
  EXPECT_NE(kvm.str().find("next_comm=worker/1 next_pid=2 "), std::string::npos) << kvm.str();
  EXPECT_NE(stat.str().find("Total Samples:0,"), std::string::npos);
  EXPECT_NE(map.str().find(" => worker/1:2\n"), std::string::npos) << map.str();
}

/// A format from outside the tree.
class edges final : public trace_sink {
 public:
  explicit edges(std::ostream& to) : to_{to} {}
  void begin(cycles at) override { to_ << (seen_ ? "facts, " : "") << "begin " << at.count(); }
  void observe(const cpu::fact_view&) override { seen_ = true; }
  void finish(cycles at) override { to_ << ", end " << at.count(); }

 private:
  std::ostream& to_;
  bool seen_ = false;
};

TEST(traces, a_program_may_bring_its_own_format) {
  static constexpr trace_format_entry own = entry_without<trace_format_entry>(
      "edges", "begin and end", [](const void*, const trace_environment& e) -> std::unique_ptr<trace_sink> {
        return std::make_unique<edges>(e.to);
      });
  std::ostringstream text;
  execution_options how;
  how.bare = true;
  how.names.trace_formats.add(own);
  how.traces = {{"edges", &text, {}}};
  execute(short_study({"until=2ms", "measure_from=1ms"}), how);
  EXPECT_EQ(text.str(), "facts, begin 2300000, end 4600000");
}

}  // namespace
}  // namespace vmxsys::platform::testing
