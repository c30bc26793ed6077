#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <vmxsys/platform/experiments/detail/study_ipi_ladder.hpp>
#include <vmxsys/platform/experiments/detail/study_kit.hpp>
#include <vmxsys/platform/experiments/detail/study_timer_ladder.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/observe/bench_timing.hpp>
#include <vmxsys/platform/presets/preset.hpp>

// What the microbenchmarks' observers make of facts that a test writes, and of machines on which every part is known.
namespace vmxsys::platform {
namespace {

using models::ipi_bench_fact;
using models::ipi_step;
using models::timer_bench_fact;
using models::timer_step;

TEST(cycle_samples, a_summary_of_what_was_added) {
  cycle_samples s;
  EXPECT_EQ(s.summary().count, 0u);
  for (std::uint64_t i = 1; i <= 100; ++i) s.add(cycles{i});
  const cycle_summary all = s.summary();
  EXPECT_EQ(all.count, 100u);
  EXPECT_EQ(all.median, 50u);
  EXPECT_EQ(all.p99, 99u);
  EXPECT_EQ(all.max, 100u);
  EXPECT_DOUBLE_EQ(all.mean, 50.5);
}

TEST(exit_samples, the_usual_exits_and_the_mean) {
  using vmx::exit_reason;
  exit_samples s;
  EXPECT_EQ(s.summary().reasons, "");
  for (int i = 0; i < 3; ++i) s.add({exit_reason::wrmsr, exit_reason::wrmsr, exit_reason::hlt});
  s.add({});
  const exit_summary all = s.summary();
  EXPECT_EQ(all.usual, 3u);
  EXPECT_EQ(all.reasons, "2 x MSR_WRITE, HLT");
  EXPECT_DOUBLE_EQ(all.mean, 9.0 / 4);
  EXPECT_DOUBLE_EQ(all.share, 0.75);
}

/// Facts of two CPUs of a machine, sources 0 and 1; the kernel states its own as source 2.
struct written {
  cpu::fact_bus bus;
  ipi_timing timing{cycles{1000}};
  std::uint32_t cpu0 = bus.add_source(), cpu1 = bus.add_source(), kernel = bus.add_source();

  written() { bus.attach(timing); }
  void step(std::uint64_t at, ipi_step s, std::uint16_t cpu, std::uint64_t round) {
    bus.record(kernel, cycles{at}, ipi_bench_fact{1, cpu, cpu, s, round});
  }
  cpu::fact_id sent(std::uint64_t at, std::uint32_t by) {
    return bus.record(by, cycles{at}, cpu::ipi_sent_fact{1, 0xf7, 0, 0});
  }
  void arrived(std::uint64_t at, cpu::fact_id cause) {
    bus.record(cpu1, cycles{at}, cpu::ipi_arrived_fact{0xf7, 0}, cause);
  }
  void exit(std::uint64_t at, std::uint32_t on, vmx::exit_reason why) {
    cpu::vm_exit_fact f{};
    f.reason = why;
    bus.record(on, cycles{at}, f);
  }
};

TEST(cycle_samples, without_any_there_are_no_figures) {
  namespace json = boost::json;
  const cycle_summary none = cycle_samples{}.summary();
  EXPECT_TRUE(none.empty());
  EXPECT_TRUE(json::value_from(none).is_null());
  EXPECT_TRUE(json::value_to<cycle_summary>(json::value{}).empty());
  EXPECT_EQ(shown(none, &cycle_summary::median), "n/a");
  const exit_summary no_step = exit_samples{}.summary();
  EXPECT_TRUE(json::value_from(no_step).is_null());
  EXPECT_EQ(shown(no_step), "n/a");
  EXPECT_EQ(shown_count(no_step), "n/a");

  cycle_samples at_once;
  at_once.add(cycles{0});
  EXPECT_EQ(shown(at_once.summary(), &cycle_summary::median), "0") << "no time is a figure";
  const auto again = json::value_to<cycle_summary>(json::value_from(at_once.summary()));
  EXPECT_EQ(again.count, 1u);
  exit_samples without_exits;
  without_exits.add({});
  EXPECT_EQ(shown(without_exits.summary()), "-") << "and so is no exit";
  EXPECT_EQ(shown_count(without_exits.summary()), "0");
  EXPECT_EQ(json::value_to<exit_summary>(json::value_from(without_exits.summary())).count, 1u);
}

TEST(ipi_timing, parts_of_one_round) {
  written w;
  w.step(2000, ipi_step::issued, 0, 1);
  w.exit(2100, w.cpu0, vmx::exit_reason::wrmsr);
  w.exit(2150, w.cpu1, vmx::exit_reason::hlt);  // before anything has arrived
  const cpu::fact_id other = w.sent(2250, w.cpu1);
  const cpu::fact_id ipi = w.sent(2300, w.cpu0);
  EXPECT_EQ(other.index, ipi.index) << "only the source tells them apart";
  w.step(2500, ipi_step::left, 0, 1);
  w.exit(2600, w.cpu0, vmx::exit_reason::hlt);  // the sender's own business by now
  w.arrived(2800, ipi);
  w.arrived(2850, other);
  w.exit(2900, w.cpu1, vmx::exit_reason::external_interrupt);
  w.step(3100, ipi_step::entered, 1, 1);
  w.exit(3200, w.cpu1, vmx::exit_reason::wrmsr);
  w.step(3300, ipi_step::handled, 1, 1);
  w.exit(3400, w.cpu1, vmx::exit_reason::hlt);
  w.step(4000, ipi_step::issued, 0, 2);
  const ipi_timing_result r = w.timing.result();
  EXPECT_EQ(r.rounds, 1u);
  EXPECT_EQ(r.send.median, 300u);
  EXPECT_EQ(r.flight.median, 500u);
  EXPECT_EQ(r.receive.median, 300u);
  EXPECT_EQ(r.latency.median, 1100u);
  EXPECT_EQ(r.last.median, 1100u);
  EXPECT_EQ(r.sender.median, 500u);
  EXPECT_EQ(r.sending.reasons, "MSR_WRITE");
  EXPECT_EQ(r.receiving.reasons, "EXTERNAL_INTERRUPT, MSR_WRITE");
}

TEST(ipi_timing, what_another_cpu_sends_under_the_same_number_does_not_count) {
  written w;
  w.step(2000, ipi_step::issued, 0, 1);
  const cpu::fact_id ipi = w.sent(2300, w.cpu0);
  const cpu::fact_id other = w.sent(2400, w.cpu1);
  EXPECT_EQ(other.index, ipi.index);
  w.step(2500, ipi_step::left, 0, 1);
  w.arrived(2800, ipi);
  w.step(3100, ipi_step::entered, 1, 1);
  w.step(3300, ipi_step::handled, 1, 1);
  w.step(4000, ipi_step::issued, 0, 2);
  EXPECT_EQ(w.timing.result().send.median, 300u);
  EXPECT_EQ(w.timing.result().flight.median, 500u);
}

TEST(ipi_timing, rounds_of_the_warm_up_do_not_count) {
  for (const std::uint64_t issued : {999u, 1000u}) {
    written w;
    w.step(issued, ipi_step::issued, 0, 1);
    const cpu::fact_id ipi = w.sent(1010, w.cpu0);
    w.step(1020, ipi_step::left, 0, 1);
    w.arrived(1030, ipi);
    w.step(1040, ipi_step::entered, 1, 1);
    EXPECT_EQ(w.timing.result().rounds, issued == 1000 ? 1u : 0u);
    EXPECT_EQ(w.timing.result().latency.count, issued == 1000 ? 1u : 0u);
  }
}

TEST(timer_timing, parts_of_one_round) {
  cpu::fact_bus bus;
  timer_timing timing{cycles{0}};
  const std::uint32_t cpu = bus.add_source(), kernel = bus.add_source();
  bus.attach(timing);
  const auto step = [&](std::uint64_t at, timer_step s) {
    bus.record(kernel, cycles{at}, timer_bench_fact{1, 0, 0, s, 1, cycles{500}});
  };
  const auto exit = [&](std::uint64_t at, vmx::exit_reason why) {
    cpu::vm_exit_fact f{};
    f.reason = why;
    bus.record(cpu, cycles{at}, f);
  };
  exit(50, vmx::exit_reason::hlt);
  step(100, timer_step::arming);
  exit(120, vmx::exit_reason::wrmsr);
  step(150, timer_step::armed);
  exit(520, vmx::exit_reason::preemption_timer);
  step(560, timer_step::entered);
  step(580, timer_step::expired);
  exit(600, vmx::exit_reason::wrmsr);
  const timer_timing_result r = timing.result();
  EXPECT_EQ(r.rounds, 1u);
  EXPECT_EQ(r.arm.median, 50u);
  EXPECT_EQ(r.late.median, 60u);
  EXPECT_EQ(r.arming.reasons, "MSR_WRITE");
  EXPECT_EQ(r.firing.reasons, "PREEMPTION_TIMER");
}

run_config small(const char* study, const std::vector<std::string>& more) {
  std::vector<std::string> overrides{"until=3ms", "measure_from=1ms", "machine.preset=flat"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  const loaded_config c = load_config_text(study_configuration(study), overrides);
  EXPECT_TRUE(c.ok()) << c.report();
  return c.config;
}

TEST(ipi_timing, on_bare_metal_every_part_is_a_number_of_the_preset) {
  const cpu::hardware_costs& costs = find_preset("flat")->costs;
  run_config c = small("ipi_ladder", {"machine.sockets=2", "machine.cores=2", "machine.threads=1", "vms[0].vcpus=4",
                                      "bare_metal=true", "vms[0].workload.targets=3"});
  const ipi_timing_result r = run_ipi(c, true);
  ASSERT_GT(r.rounds, 50u);
  EXPECT_EQ(r.latency.count, 3 * r.rounds);
  EXPECT_EQ(r.sender.median, 3 * costs.instruction.wrmsr_x2apic.count());
  EXPECT_EQ(r.receive.median, costs.instruction.interrupt.count());
  EXPECT_EQ(r.receive.max, costs.instruction.interrupt.count());
  EXPECT_EQ(r.flight.max, costs.interrupt.flight_other_socket.count());
  EXPECT_DOUBLE_EQ(r.send.mean, 2.0 * static_cast<double>(costs.instruction.wrmsr_x2apic.count()));
  EXPECT_EQ(r.sending.mean, 0);
  EXPECT_EQ(r.receiving.mean, 0);
  c.vms[0].workload.set("targets", 1u);
  const ipi_timing_result near = run_ipi(c, true);
  EXPECT_EQ(near.flight.max, costs.interrupt.flight_same_socket.count());
  EXPECT_EQ(
      near.latency.median,
      (costs.instruction.wrmsr_x2apic + costs.interrupt.flight_same_socket + costs.instruction.interrupt).count());
}

// On the direct path the guest's vectors are not Linux' (kernel_config::ipi_vector_shift).
TEST(ipi_timing, calls_are_followed_with_any_vectors_of_the_kernel) {
  for (const char* path : {"direct", "injected"})
    for (const char* targets : {"1", "3"}) {
      SCOPED_TRACE(std::string{path} + " to " + targets);
      run_config c =
          small("ipi_ladder", {"machine.sockets=1", "machine.cores=4", "machine.threads=1", "vms[0].vcpus=4",
                               "vms[0].workload.send=call", std::string{"vms[0].workload.targets="} + targets});
      c.host.interrupt_path = path;
      const ipi_timing_result r = run_ipi(c, true);
      ASSERT_GT(r.rounds, 20u);
      EXPECT_GE(r.latency.count, r.rounds);
      EXPECT_EQ(r.latency.count, r.receive.count);
      EXPECT_GT(r.latency.median, 0u);
      EXPECT_FALSE(r.receiving.empty());
    }
}

TEST(timer_timing, on_bare_metal_every_part_is_a_number_of_the_preset) {
  const cpu::hardware_costs& costs = find_preset("flat")->costs;
  run_config c = small("timer_ladder", {"machine.cores=1", "bare_metal=true"});
  const timer_timing_result computing = run_timer(c, true);
  ASSERT_GT(computing.rounds, 50u);
  EXPECT_EQ(computing.arm.median, costs.instruction.wrmsr.count());
  EXPECT_EQ(computing.late.median, costs.instruction.interrupt.count());
  const timer_timing_result halted = run_timer(while_halted(c), true);
  EXPECT_EQ(halted.late.median, (costs.instruction.interrupt + costs.idle_states.front().exit_latency).count());
}

}  // namespace
}  // namespace vmxsys::platform
