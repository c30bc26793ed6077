#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/presets/preset.hpp>

#include "execution_fixture.hpp"

// Lengths of time that come close to nothing: what must take time takes a cycle at least, and with one it runs.
namespace vmxsys::platform::testing {
namespace {

std::string document_of(const std::string& workload, const std::string& preset, const std::string& host = "{}") {
  return R"({"until": "600us", "machine": {"preset": ")" + preset + R"(", "cores": 3}, "host": )" + host +
         R"(, "vms": [{"name": "a", "vcpus": 3, "workload": )" + workload + "}]}";
}

loaded_config load(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return load_config_text(text, overrides, "test.json");
}

TEST(lengths, of_distributions_count_as_they_are_used) {
  const auto with = [](const std::string& work) {
    return load(document_of(R"({"name": "ipi", "work": )" + work + "}", "haswell_ep"));
  };
  EXPECT_TRUE(with(R"({"kind": "uniform", "min": "0", "max": "1cycles"})").ok());
  EXPECT_FALSE(with(R"({"kind": "uniform", "min": "0", "max": "1ps"})").ok());
  EXPECT_TRUE(with(R"({"kind": "exponential", "mean": "1cycles"})").ok());
  EXPECT_FALSE(with(R"({"kind": "exponential", "mean": "1ps"})").ok());
  EXPECT_FALSE(with(R"("1ps")").ok());
}

TEST(lengths, an_advance_fits_the_nanoseconds_of_kvm) {
  const auto with = [](const std::string& lead) {
    return load(
        document_of(R"("timer")", "haswell_ep", R"({"timer_advance": {"name": "fixed", "lead": ")" + lead + "\"}}"));
  };
  EXPECT_TRUE(with("1s").ok());
  EXPECT_FALSE(with("4294967296ns").ok());
}

// The shortest legal lengths, ticks as often as they may be, every way of sending and every backend.
TEST(lengths, the_shortest_legal_ones_run) {
  const std::string one = R"("1cycles")", to_one = R"({"kind": "uniform", "min": "0", "max": "1cycles"})",
                    random = R"({"kind": "exponential", "mean": "1cycles"})";
  std::vector<std::string> workloads{R"({"name": "cpu_bound", "chunk": "1ns"})"};
  for (const std::string& length : {one, to_one, random}) {
    for (const char* name : {"lock_bound", "user_spin"})
      workloads.push_back(std::string{R"({"name": ")"} + name + R"(", "work": )" + length + R"(, "hold": )" + length +
                          "}");
    workloads.push_back(R"({"name": "tlb_shootdown", "work": )" + length + R"(, "unmap": )" + length + "}");
    for (const char* halted : {"true", "false"}) {
      workloads.push_back(R"({"name": "timer", "ahead": "1cycles", "halted": )" + std::string{halted} +
                          R"(, "work": )" + length + "}");
      for (const char* send : {"interrupt", "shorthand", "call"})
        workloads.push_back(R"({"name": "ipi", "targets": 0, "halted": )" + std::string{halted} + R"(, "send": ")" +
                            send + R"(", "work": )" + length + "}");
    }
  }
  const std::vector<std::string> hosts{
      R"({"hz": 10000})", R"({"interrupt_path": "direct", "vcpu_affinity": "spread"})",
      R"({"interrupt_path": "posted", "timer_backend": {"name": "posted", "housekeeping_cpu": 2}, "hz": 10000})",
      R"({"interrupt_path": {"name": "posted", "exit_fast_paths": true}, "timer_backend": "apic_timer_virtualization"})",
      R"({"timer_backend": "hrtimer", "timer_advance": {"name": "fixed", "lead": "1ns"}, "scheduler":
          {"name": "round_robin", "quantum": "1us"}})"};
  for (const std::string& w : workloads)
    for (std::size_t h = 0; h < hosts.size(); ++h) {
      const std::vector<std::string> hz{h % 2 == 0 ? "vms[0].guest.hz=10000" : "vms[0].guest.hz=10",
                                        h == 0 ? "bare_metal=true" : "bare_metal=false"};
      const loaded_config loaded = load(document_of(w, "hypothetical_apic_timer", hosts[h]), hz);
      ASSERT_TRUE(loaded.ok()) << loaded.report();
      EXPECT_NO_THROW(EXPECT_GT(run_bare(loaded.config).vms[0].work, 0u) << w << hosts[h]) << w << hosts[h];
    }
}

}  // namespace
}  // namespace vmxsys::platform::testing
