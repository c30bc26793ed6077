#include <vmxsys/models/schedulers/round_robin.hpp>

#include "kernel_rig.hpp"
#include "source_text.hpp"

// A scheduling policy from outside: the example of models/schedulers/README.md, and that it is the README's.
namespace vmxsys::models::testing {
namespace {

// clang-format off
// begin
/// Lets the CPUs follow CPU 0: each prefers the siblings of the thread that runs there.
class gang final : public round_robin_scheduler {
 public:
  using round_robin_scheduler::round_robin_scheduler;
  std::unique_ptr<sched_entity> make_entity(std::uint32_t id, int nice) override {
    auto made = round_robin_scheduler::make_entity(id, nice);
    all_.push_back(made.get());
    return made;
  }
  sched_entity* pick_next(unsigned cpu, nanoseconds now) override {
    const sched_entity* leader = current(0);
    const auto follows = [&](const sched_entity* e) { return e && leader && e->group == leader->group; };
    if (cpu != 0 && !follows(current(cpu)))
      for (sched_entity* e : all_)
        if (e->on_rq && e->cpu == cpu && follows(e) && yield_to(cpu, *e, now)) break;
    return round_robin_scheduler::pick_next(cpu, now);
  }

 private:
  std::vector<sched_entity*> all_;  // all that run or wait: `cpu` and `on_rq` say where
};
// end
// clang-format on

constexpr scheduler_entry gang_entry{{"gang", "CPUs prefer the siblings of what runs on CPU 0", {}, nullptr},
                                     [](const void*, const scheduler_environment& e) -> std::unique_ptr<scheduler> {
                                       return std::make_unique<gang>(e.cpus,
                                                                     round_robin_tunables{.quantum = 1'000'000});
                                     }};

/// Two groups of one thread per CPU, started in opposite order on the two CPUs: how much of the time both CPUs run the
/// same group.
double together(const selection<scheduler_entry>& policy) {
  kernel_rig r{2, fair(), [&](kernel_config& c) {
                 c.scheduler = policy;
                 c.hz = 1000;
               }};
  for (const auto& [group, cpu] : {std::pair{1u, 0u}, {2u, 0u}, {2u, 1u}, {1u, 1u}})
    r.hog("g" + std::to_string(group) + "/" + std::to_string(cpu), {cpu}).entity->group =
        static_cast<std::uint16_t>(group);
  unsigned same = 0, samples = 0;
  for (cycles at = 20 * ms; at < 120 * ms; at += 250 * us, ++samples) {
    r.run_until(at);
    const sched_entity* a = r.k().policy().current(0);
    const sched_entity* b = r.k().policy().current(1);
    same += a != nullptr && b != nullptr && a->group == b->group;
  }
  return static_cast<double>(same) / samples;
}

TEST(own_scheduler, a_gang_scheduler_runs_siblings_together) {
  catalogue<scheduler_entry> mine = schedulers();
  mine.add(gang_entry);
  const double alone = together(mine.select("round_robin", {{"quantum", duration::ms(1)}}));
  const double gangs = together(mine.select("gang"));
  EXPECT_GT(gangs, 0.4) << "CPU 1 follows at its next tick";
  EXPECT_GT(gangs, alone + 0.2);
}

TEST(own_scheduler, the_readme_shows_it) {
  const std::string self = vmxsys::testing::source_text("tests/models/own_scheduler_test.cpp");
  const std::string readme = vmxsys::testing::source_text("models/schedulers/README.md");
  const std::size_t begin = self.find("// begin\n") + 9;
  const std::string code = self.substr(begin, self.find("// end\n") - begin);
  ASSERT_GT(code.size(), 500u);
  EXPECT_NE(readme.find("```cpp\n" + code + "```"), std::string::npos);
}

}  // namespace
}  // namespace vmxsys::models::testing
