#include <cstdint>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/platform/experiments/detail/study_ple_storm.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/run/execution.hpp>

// What a run does, as against what is said about it: VM exits, VM entries and context switches, each with its cycle.
// More facts, finer micro-steps or another account of the same machine leave the projection alone.
namespace vmxsys::platform {
namespace {

class projection final : public cpu::fact_observer {
 public:
  void observe(const cpu::fact_view& fact) override {
    const std::uint64_t at = fact.header().at.count();
    const std::uint32_t source = fact.header().id.source;
    if (const auto* x = fact.as<cpu::vm_exit_fact>()) {
      add(source, {1, at, x->began.count(), static_cast<std::uint64_t>(x->reason), x->qualification, x->rip, x->cpl});
    } else if (const auto* e = fact.as<cpu::vm_entry_fact>()) {
      add(source, {2, at, e->rip, e->interruption_information, e->ple_window});
    } else if (const auto* s = fact.as<models::sched_switch_fact>()) {
      add(s->cpu + 0x100u * (s->kernel + 1u), {3, at, s->prev_pid, s->next_pid});
    }
  }
  std::uint64_t value() const {
    std::uint64_t all = 0;
    for (std::uint64_t h : hashes_) all = mix(all, h);
    return all;
  }
  std::uint64_t count() const { return count_; }

 private:
  static std::uint64_t mix(std::uint64_t hash, std::uint64_t value) {
    hash = (hash ^ value) * 0x9e3779b97f4a7c15ULL;
    return hash ^ hash >> 29;
  }
  void add(std::uint32_t source, std::initializer_list<std::uint64_t> values) {
    if (hashes_.size() <= source) hashes_.resize(source + 1);
    for (std::uint64_t v : values) hashes_[source] = mix(hashes_[source], v);
    ++count_;
  }
  std::vector<std::uint64_t> hashes_;
  std::uint64_t count_ = 0;
};

struct golden {
  const char* policy;
  const char* placement;
  std::uint64_t count, hash;
};

// Taken when the interrupts that another CPU injects got the cache lines they take; nothing else may move them.
constexpr golden storms[] = {
    {"ipi_receivers", "stacked", 66312, 12019408492209489364u},
    {"preempted_only", "spread", 1903, 2914677825909276830u},
    {"none", "stacked", 1283, 6996847468557606920u},
};

TEST(projection, exits_entries_and_switches_of_the_storm_stay_what_they_were) {
  for (const golden& g : storms) {
    const std::vector<std::string> overrides{"machine.preset=flat", std::string{"host.spin_policy="} + g.policy,
                                             std::string{"host.vcpu_affinity="} + g.placement, "until=60ms",
                                             "measure_from=0ms"};
    const loaded_config c = load_config_text(ple_storm_configuration(), overrides, "ple_storm.json");
    ASSERT_TRUE(c.ok()) << c.report();
    projection p;
    execution_options how;
    how.bare = true;
    how.observer = &p;
    execute(c.config, how);
    EXPECT_EQ(p.count(), g.count) << g.policy << ' ' << g.placement;
    EXPECT_EQ(p.value(), g.hash) << g.policy << ' ' << g.placement;
  }
}

}  // namespace
}  // namespace vmxsys::platform
