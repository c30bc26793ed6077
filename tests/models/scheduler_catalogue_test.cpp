#include <gtest/gtest.h>

#include <vmxsys/models/schedulers/catalogue.hpp>
#include <vmxsys/models/schedulers/cfs.hpp>

// Schedulers by name: their options reach them, and what is not given is the kernel generation's.
namespace vmxsys::models {
namespace {

constexpr scheduler_environment eight_cpus{8, 2'000'000};
constexpr nanoseconds ms = 1'000'000;

cfs_tunables tunables(const settings& with, unsigned cpus = 8) {
  const auto made = schedulers().select("cfs", with).make(scheduler_environment{cpus, 2'000'000});
  return dynamic_cast<const cfs_scheduler&>(*made).tunables();
}

TEST(schedulers, the_fair_scheduler_is_the_default) {
  const auto made = schedulers().select().make(eight_cpus);
  EXPECT_NE(dynamic_cast<const cfs_scheduler*>(made.get()), nullptr);
  EXPECT_EQ(made->cpu_count(), 8u);
  EXPECT_THROW(schedulers().select("eevdf"), catalogue_error);
}

TEST(schedulers, what_is_not_given_is_the_profiles_and_scaled) {
  for (const auto& [name, version] :
       {std::pair{"v3.4", cfs_version::v3_4}, {"v5.10", cfs_version::v5_10}, {"v6.1", cfs_version::v6_1}})
    for (const unsigned cpus : {1u, 8u}) {
      const cfs_tunables t = tunables({{"profile", name}}, cpus), expected = cfs_tunables::of(version, cpus);
      EXPECT_EQ(t.latency, expected.latency) << name;
      EXPECT_EQ(t.min_granularity, expected.min_granularity) << name;
      EXPECT_EQ(t.wakeup_granularity, expected.wakeup_granularity) << name;
      EXPECT_EQ(t.base_slice, expected.base_slice) << name;
      EXPECT_EQ(t.repick_restarts_slice, expected.repick_restarts_slice) << name;
      EXPECT_EQ(t.arithmetic, expected.arithmetic) << name;
    }
}

TEST(schedulers, what_is_given_counts_as_it_is) {
  EXPECT_EQ(tunables({{"latency", duration::ms(7)}}).latency, 7 * ms);
  EXPECT_EQ(tunables({{"latency", duration::from_cycles(7'000'000)}}).latency, 3'500'000u) << "at 2 GHz";
  EXPECT_EQ(tunables({{"min_granularity", duration::ms(1)}}).min_granularity, ms);
  EXPECT_EQ(tunables({{"wakeup_granularity", duration{}}}).wakeup_granularity, 0u);
  EXPECT_EQ(tunables({{"idle_min_granularity", duration::ms(2)}}).idle_min_granularity, 2 * ms);
  EXPECT_EQ(tunables({{"migration_cost", duration::us(5)}}).migration_cost, 5'000u);
  const std::pair<const char*, bool cfs_tunables::*> features[] = {
      {"gentle_fair_sleepers", &cfs_tunables::gentle_fair_sleepers},
      {"start_debit", &cfs_tunables::start_debit},
      {"next_buddy", &cfs_tunables::next_buddy},
      {"last_buddy", &cfs_tunables::last_buddy},
      {"cache_hot_buddy", &cfs_tunables::cache_hot_buddy},
      {"wakeup_preemption", &cfs_tunables::wakeup_preemption},
      {"alt_period", &cfs_tunables::alt_period},
      {"base_slice", &cfs_tunables::base_slice}};
  for (const auto& [name, feature] : features)
    for (const bool on : {false, true}) EXPECT_EQ(tunables({{name, on}}).*feature, on) << name;
}

TEST(schedulers, a_slice_longer_than_the_period_is_a_fault) {
  const scheduler_entry& cfs = schedulers().first();
  for (const std::uint64_t slice : {10u, 11u}) {
    const auto chosen =
        schedulers().select("cfs", {{"latency", duration::ms(10)}, {"min_granularity", duration::ms(slice)}});
    std::vector<option_fault> faults;
    cfs.check(chosen.options(), 2'000'000, faults);
    ASSERT_EQ(faults.size(), slice == 11 ? 1u : 0u);
    if (slice == 11) EXPECT_EQ(faults[0].option, "min_granularity");
  }
}

TEST(schedulers, the_quantum_of_round_robin) {
  const auto made = schedulers().select("round_robin", {{"quantum", duration::ms(3)}}).make(eight_cpus);
  const auto a = made->make_entity(1, 0), b = made->make_entity(2, 0);
  made->enqueue(0, *a, enqueue_reason::fork, 0);
  made->enqueue(0, *b, enqueue_reason::fork, 0);
  EXPECT_EQ(made->pick_next(0, 0), a.get());
  EXPECT_FALSE(made->tick(0, 3 * ms - 1));
  EXPECT_TRUE(made->tick(0, 3 * ms));
  for (const auto* e : {a.get(), b.get()}) EXPECT_TRUE(e->on_rq);
  made->dequeue(0, *a, dequeue_reason::sleep, 3 * ms);
  made->dequeue(0, *b, dequeue_reason::sleep, 3 * ms);
}

}  // namespace
}  // namespace vmxsys::models
