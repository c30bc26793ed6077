#include <algorithm>
#include <gtest/gtest.h>
#include <map>

#include <vmxsys/models/kvm/spin/directed_yield.hpp>
#include <vmxsys/models/kvm/spin/spin_policy.hpp>

#include "spinlock_fixture.hpp"

// What each kernel's spin handler does, against a table of vCPUs.
namespace vmxsys::models::testing {
namespace {

constexpr int esrch = -3;

struct vcpu_row {
  spin_candidate seen{.preempted = true, .ready = true, .preempted_in_kernel = true};
  int result = 1;  // of yield_to
};

/// A VM as a table: looking and yielding take a few cycles.
class table_context final : public spin_context {
 public:
  table_context(unsigned vcpus, unsigned me, unsigned last) : me_{me}, rows(vcpus), kept{vcpus} {
    rows[me].seen = {.running_in_guest = false};
    kept.last_boosted = last;
  }
  unsigned vcpus() const override { return static_cast<unsigned>(rows.size()); }
  unsigned me() const override { return me_; }
  bool kernel_mode() const override { return in_kernel_mode; }
  unsigned vm() const override { return 0; }
  cycles now() const override { return cycles{0}; }
  spin_vm_state& state() override { return kept; }
  ipi_history ipis(unsigned) const override { return {}; }
  unsigned host_cpu(unsigned vcpu) const override { return vcpu; }
  std::optional<vcpu_id> running_on(unsigned) const override { return std::nullopt; }
  std::optional<vcpu_id> vcpu_of(const sched_entity&) const override { return std::nullopt; }
  cpu::task<spin_candidate> check(unsigned vcpu) override {
    looked_at.push_back(vcpu);
    co_await isa::compute(cycles{25});
    co_return rows[vcpu].seen;
  }
  cpu::task<int> yield_to(unsigned vcpu) override {
    yields.push_back(vcpu);
    spinning_when_yielding = spinning_when_yielding && kept.vcpus[me_].in_spin_loop;
    co_await isa::compute(cycles{400});
    if (yield_rules.rejects_guest_mode && rows[vcpu].seen.running_in_guest) co_return 0;
    co_return rows[vcpu].result;
  }
  cpu::program yield() override { co_await isa::compute(cycles{400}); }
  cpu::program sleep(duration time) override {
    slept.push_back(time);
    co_await isa::compute(cycles{400});
  }

 private:
  unsigned me_;

 public:
  std::vector<vcpu_row> rows;
  directed_yield_state kept;
  bool in_kernel_mode = true;
  vcpu_yield_rules yield_rules;
  std::vector<unsigned> looked_at;
  std::vector<unsigned> yields;
  bool spinning_when_yielding = true;
  std::vector<duration> slept;
};

cpu::program call(spin_policy& policy, table_context& context, bool& done) {
  co_await policy.on_spin(context);
  done = true;
  co_await lock_rig::sleep();
}

/// One PAUSE exit, on a machine of one CPU.
void spin(spin_policy& policy, table_context& context) {
  lock_rig rig{bare({1, 1, 1})};
  bool done = false;
  context.yield_rules = policy.yield_rules();
  rig.run(0, call(policy, context, done));
  rig.hw.run_until(cycles{1'000'000});
  ASSERT_TRUE(done);
}

std::unique_ptr<spin_policy> of_kernel(const std::string& version) {
  if (version == "6.13 as released") return spin_policies().select("single_scan_as_released").make();
  if (version == "6.13") return spin_policies().select("single_scan").make();
  for (const spin_policy_entry* e : spin_policies())
    if ("v" + version == e->kernel) return spin_policies().select(e->name).make();
  ADD_FAILURE() << "no policy of kernel " << version;
  return nullptr;
}

using eras = std::vector<std::string>;
using numbers = std::vector<unsigned>;

const eras all_eras{"2.6.39", "3.6", "3.9", "3.10", "3.18", "4.14", "5.3", "5.13", "6.13 as released", "6.13"};
const eras since_3_6{all_eras.begin() + 1, all_eras.end()};

std::string label_of(const auto& tested) { return tested.param.label; }

// -- the toggle -------------------------------------------------------------------------------------------------------

TEST(directed_yield, DY_01_a_spinner_is_eligible_every_other_time) {
  bool eligible = false;
  for (bool expected : {false, true, false, true, false})
    EXPECT_EQ(eligible_for_directed_yield(true, eligible), expected);
  EXPECT_TRUE(eligible);
}

TEST(directed_yield, DY_02_others_always_are) {
  bool eligible = false;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(eligible_for_directed_yield(false, eligible));
  EXPECT_FALSE(eligible);
}

TEST(directed_yield, DY_03_DY_04_passes_over_a_recent_spinner_once) {
  for (const std::string& era : since_3_6) {
    table_context vm{3, 0, 0};
    vm.kept.vcpus[1].in_spin_loop = true;
    const auto policy = of_kernel(era);
    spin(*policy, vm);
    EXPECT_EQ(vm.yields, numbers{2}) << era;
    if (era != "6.13 as released") {
      EXPECT_EQ(vm.kept.last_boosted, 2u) << era;
    }
    EXPECT_TRUE(vm.kept.vcpus[1].dy_eligible) << era;

    vm.kept.last_boosted = 0;
    vm.yields.clear();
    spin(*policy, vm);
    EXPECT_EQ(vm.yields, numbers{1}) << era;
    if (era != "6.13 as released") {
      EXPECT_EQ(vm.kept.last_boosted, 1u) << era;
    }
    EXPECT_FALSE(vm.kept.vcpus[1].dy_eligible) << era;
  }
}

// -- the order --------------------------------------------------------------------------------------------------------

struct order_row {
  const char* label;
  const char* era;
  unsigned vcpus, me, last;
  numbers yields;
};
const order_row orders[] = {
    {"DY_05", "2.6.39", 4, 0, 0, {1, 2, 3}},
    {"DY_06", "2.6.39", 4, 3, 0, {0, 1, 2, 0}},
    {"DY_07", "2.6.39", 4, 0, 2, {3, 1, 2}},
    {"DY_08", "2.6.39", 4, 0, 3, {1, 2, 3}},
    {"DY_09", "2.6.39", 4, 1, 1, {2, 3, 0}},
    {"DY_10", "3.6", 4, 3, 0, {1, 2, 0}},
    {"DY_11", "3.6", 4, 1, 0, {2, 3, 0}},
    {"DY_12", "3.6", 4, 0, 2, {3, 1, 2}},
    {"DY_13", "6.13", 4, 0, 2, {3, 1, 2}},
    {"DY_14", "6.13", 4, 3, 0, {1, 2, 0}},
    {"DY_15", "5.13", 8, 5, 5, {6, 7, 0, 1, 2, 3, 4}},
    {"DY_16", "6.13", 8, 5, 5, {6, 7, 0, 1, 2, 3, 4}},
    {"DY_17", "5.13", 4, 0, 3, {1, 2, 3}},
};
class yield_order : public ::testing::TestWithParam<order_row> {};
INSTANTIATE_TEST_SUITE_P(directed_yield, yield_order, ::testing::ValuesIn(orders),
                         label_of<::testing::TestParamInfo<order_row>>);

TEST_P(yield_order, when_nobody_accepts) {
  const order_row& r = GetParam();
  table_context vm{r.vcpus, r.me, r.last};
  for (vcpu_row& v : vm.rows) v.result = 0;
  spin(*of_kernel(r.era), vm);
  EXPECT_EQ(vm.yields, r.yields);
  EXPECT_EQ(vm.kept.last_boosted, r.last);
}

struct rotation_row {
  const char* label;
  const char* era;
  unsigned me, last;
  numbers boosted;
};
const rotation_row rotations[] = {
    {"DY_18", "2.6.39", 0, 0, {1, 2, 3, 1, 2, 3}},
    {"DY_19", "2.6.39", 3, 0, {0, 0, 0, 0, 0, 0}},
    {"DY_20", "2.6.39", 0, 1, {2, 3, 1, 2, 3, 1}},
    {"DY_21", "3.6", 3, 0, {1, 2, 0, 1, 2, 0}},
    {"DY_22", "5.13", 0, 0, {1, 2, 3, 1, 2, 3}},
    {"DY_23", "6.13", 0, 0, {1, 2, 3, 1, 2, 3}},
    {"DY_24", "6.13 as released", 0, 0, {1, 1, 1, 1, 1, 1}},
    {"DY_25", "6.13 as released", 2, 0, {1, 1, 1, 1, 1, 1}},
};
class rotation : public ::testing::TestWithParam<rotation_row> {};
INSTANTIATE_TEST_SUITE_P(directed_yield, rotation, ::testing::ValuesIn(rotations),
                         label_of<::testing::TestParamInfo<rotation_row>>);

TEST_P(rotation, over_six_exits) {
  const rotation_row& r = GetParam();
  table_context vm{4, r.me, r.last};
  const auto policy = of_kernel(r.era);
  for (int i = 0; i < 6; ++i) spin(*policy, vm);
  EXPECT_EQ(vm.yields, r.boosted);
}

// -- results of yield_to ----------------------------------------------------------------------------------------------

struct result_row {
  const char* label;
  const char* era;
  unsigned vcpus, last;
  std::map<unsigned, int> results;  // others 0
  numbers yields;
  unsigned last_after;
};
const std::map<unsigned, int> all_refuse{{1, esrch}, {2, esrch}, {3, esrch}, {4, esrch}, {5, esrch}};
const std::map<unsigned, int> mixed{{1, esrch}, {2, 1}, {3, esrch}, {4, esrch}, {5, 0}};
const result_row results[] = {
    {"DY_26", "5.13", 6, 0, all_refuse, {1, 2, 3}, 0},
    {"DY_27", "6.13", 6, 0, all_refuse, {1, 2, 3}, 0},
    {"DY_28", "5.13", 5, 2, {{1, 1}, {3, esrch}, {4, 0}}, {3, 4, 1}, 1},
    {"DY_29", "5.13", 5, 2, {{1, 1}, {3, 0}, {4, esrch}}, {3, 4}, 2},
    {"DY_30", "6.13", 5, 2, {{1, 1}, {3, 0}, {4, esrch}}, {3, 4, 1}, 1},
    {"DY_31", "5.13", 6, 2, mixed, {3, 4, 5, 1}, 2},
    {"DY_32", "6.13", 6, 2, mixed, {3, 4, 5, 1}, 2},
    {"a_refusal_is_a_success_in_2_6_39", "2.6.39", 4, 0, {{1, esrch}}, {1}, 1},
    {"a_refusal_is_a_success_in_3_6", "3.6", 4, 0, {{1, esrch}}, {1}, 1},
    {"DY_33", "3.9", 4, 0, {{1, esrch}}, {1}, 1},
    {"DY_34", "3.10", 4, 0, {{1, 0}, {2, esrch}, {3, 1}}, {1, 2}, 2},
    {"DY_35", "3.18", 4, 0, {{1, 0}, {2, esrch}, {3, 1}}, {1, 2, 3}, 3},
};
class yield_results : public ::testing::TestWithParam<result_row> {};
INSTANTIATE_TEST_SUITE_P(directed_yield, yield_results, ::testing::ValuesIn(results),
                         label_of<::testing::TestParamInfo<result_row>>);

TEST_P(yield_results, decide_how_the_scan_goes_on) {
  const result_row& r = GetParam();
  table_context vm{r.vcpus, 0, r.last};
  for (vcpu_row& v : vm.rows) v.result = 0;
  for (const auto& [vcpu, result] : r.results) vm.rows[vcpu].result = result;
  spin(*of_kernel(r.era), vm);
  EXPECT_EQ(vm.yields, r.yields);
  EXPECT_EQ(vm.kept.last_boosted, r.last_after);
}

TEST(directed_yield, a_filtered_candidate_does_not_change_the_last_result) {
  table_context vm{5, 0, 2};
  for (vcpu_row& v : vm.rows) v.result = 0;
  vm.rows[3].result = esrch;
  vm.rows[4].seen.ready = false;
  vm.rows[1].result = 1;
  spin(*of_kernel("5.13"), vm);
  EXPECT_EQ(vm.yields, numbers{3}) << "pass 1 is suppressed by the negative result of vCPU 3";
}

// -- filters ----------------------------------------------------------------------------------------------------------

constexpr spin_candidate halted{.blocking = true};
constexpr spin_candidate in_guest{.running_in_guest = true};
constexpr spin_candidate user{.preempted = true, .ready = true};
constexpr spin_candidate kernel{.preempted = true, .ready = true, .preempted_in_kernel = true};
constexpr spin_candidate user_posted{.preempted = true, .ready = true, .pending_posted_interrupt = true};
constexpr spin_candidate woken{.ready = true, .blocking = true, .runnable = true};
constexpr spin_candidate woken_for_nothing{.ready = true, .blocking = true};
constexpr spin_candidate about_to_block{
    .preempted = true, .ready = true, .preempted_in_kernel = true, .blocking = true, .runnable = true};
constexpr spin_candidate no_thread{.exists_task = false, .preempted = true, .ready = true, .preempted_in_kernel = true};

/// Three vCPUs, me 0, last 0, every yield_to returns 0.
struct filter_row {
  const char* label;
  spin_candidate first, second;
  bool kernel_mode;
  eras of;
  numbers yields;
};
const filter_row filters[] = {
    {"DY_36_a", user, kernel, true, {"2.6.39", "3.6", "3.9", "3.10", "3.18"}, {1, 2}},
    {"DY_36_b", user, kernel, true, {"4.14", "5.3", "5.13", "6.13"}, {2}},
    {"DY_37_a", user_posted, halted, true, {"4.14", "5.3"}, {}},
    {"DY_37_b", user_posted, halted, true, {"5.13", "6.13"}, {1}},
    {"DY_38_a", woken, halted, true, {"2.6.39", "3.6", "3.9", "3.10", "3.18", "4.14"}, {}},
    {"DY_38_b", woken, halted, true, {"5.3", "5.13", "6.13"}, {1}},
    {"DY_39", woken_for_nothing, halted, true, {"4.14", "5.3", "5.13", "6.13"}, {}},
    {"DY_40_a", about_to_block, halted, true, {"3.10"}, {}},
    {"DY_40_b", about_to_block, halted, true, {"3.18", "4.14", "5.3", "5.13", "6.13"}, {1}},
    {"DY_41", user, kernel, false, {"4.14", "5.3", "5.13", "6.13"}, {1, 2}},
    {"DY_42_a", in_guest, in_guest, true, {"2.6.39", "3.10", "3.18", "4.14", "5.3", "5.13", "6.13"}, {}},
    {"DY_42_b", in_guest, in_guest, true, {"3.6", "3.9"}, {1, 2}},
    {"no_thread_passed_over", no_thread, kernel, true, {"2.6.39"}, {2}},
    {"no_thread_left_to_yield_to", no_thread, kernel, true, {"3.6", "4.14", "6.13"}, {1, 2}},
};
class yield_filter : public ::testing::TestWithParam<filter_row> {};
INSTANTIATE_TEST_SUITE_P(directed_yield, yield_filter, ::testing::ValuesIn(filters),
                         label_of<::testing::TestParamInfo<filter_row>>);

TEST_P(yield_filter, hands_over_whom) {
  const filter_row& r = GetParam();
  for (const std::string& era : r.of) {
    table_context vm{3, 0, 0};
    vm.in_kernel_mode = r.kernel_mode;
    for (vcpu_row& v : vm.rows) v.result = 0;
    vm.rows[1].seen = r.first;
    vm.rows[2].seen = r.second;
    spin(*of_kernel(era), vm);
    EXPECT_EQ(vm.yields, r.yields) << era;
  }
}

// -- side effects of the order of tests -------------------------------------------------------------------------------

TEST(directed_yield, DY_43_early_kernels_ask_for_eligibility_before_guest_mode) {
  table_context vm{3, 0, 0};
  vm.rows[1].seen = in_guest;
  vm.kept.vcpus[1].in_spin_loop = true;
  spin(*of_kernel("3.6"), vm);
  EXPECT_TRUE(vm.kept.vcpus[1].dy_eligible);
  EXPECT_EQ(vm.yields, numbers{2});

  vm.yields.clear();
  vm.kept.last_boosted = 0;
  spin(*of_kernel("3.6"), vm);  // now eligible, and refused by kvm_vcpu_yield_to
  EXPECT_FALSE(vm.kept.vcpus[1].dy_eligible);
  EXPECT_EQ(vm.yields, (numbers{1, 2}));
}

TEST(directed_yield, eligibility_is_asked_only_of_those_that_pass_everything_else) {
  struct {
    const char* era;
    spin_candidate seen;
  } const refused[] = {
      {"3.6", halted}, {"3.10", in_guest},          {"3.10", about_to_block},
      {"4.14", user},  {"4.14", in_guest},          {"4.14", woken_for_nothing},
      {"5.3", user},   {"5.3", woken_for_nothing},  {"5.13", in_guest},
      {"6.13", user},  {"6.13", woken_for_nothing}, {"6.13", in_guest},
  };
  for (const auto& r : refused) {
    table_context vm{3, 0, 0};
    vm.rows[1].seen = r.seen;
    vm.kept.vcpus[1].in_spin_loop = true;
    spin(*of_kernel(r.era), vm);
    EXPECT_FALSE(vm.kept.vcpus[1].dy_eligible) << r.era;
    EXPECT_EQ(vm.yields, numbers{2}) << r.era;
  }
}

TEST(directed_yield, the_spinner_is_looked_at_where_its_test_comes_second) {
  for (const std::string& era : all_eras) {
    table_context vm{2, 1, 0};
    vm.rows[0].result = 0;
    spin(*of_kernel(era), vm);
    const bool second = era == "3.10" || era == "3.18" || era == "4.14" || era == "5.3" || era == "5.13";
    EXPECT_EQ(std::count(vm.looked_at.begin(), vm.looked_at.end(), 1u), second) << era;
  }
}

TEST(directed_yield, DY_44_a_vm_of_one_is_left_alone) {
  table_context vm{1, 0, 0};
  vm.kept.vcpus[0].dy_eligible = true;
  spin(*of_kernel("6.13"), vm);
  EXPECT_TRUE(vm.yields.empty());
  EXPECT_TRUE(vm.looked_at.empty());
  EXPECT_TRUE(vm.kept.vcpus[0].dy_eligible) << "the end of the handler would have cleared it";
}

TEST(directed_yield, DY_45_the_handler_leaves_nothing_behind) {
  for (const std::string& era : since_3_6) {
    table_context vm{3, 0, 0};
    vm.kept.vcpus[0].dy_eligible = true;
    spin(*of_kernel(era), vm);
    EXPECT_FALSE(vm.kept.vcpus[0].in_spin_loop) << era;
    EXPECT_FALSE(vm.kept.vcpus[0].dy_eligible) << era;
    EXPECT_TRUE(vm.spinning_when_yielding) << era;
    EXPECT_EQ(vm.yields.size(), 1u) << era;
  }
}

TEST(directed_yield, the_first_handler_knows_no_spin_loop) {
  table_context vm{3, 0, 0};
  spin(*of_kernel("2.6.39"), vm);
  EXPECT_FALSE(vm.spinning_when_yielding);
  EXPECT_EQ(vm.yields, numbers{1});
}

TEST(directed_yield, yield_rules_by_kernel) {
  EXPECT_FALSE(of_kernel("2.6.39")->yield_rules().rejects_guest_mode);
  EXPECT_FALSE(of_kernel("3.6")->yield_rules().esrch_test);
  for (const char* era : {"3.9", "3.10", "3.18"}) {
    EXPECT_TRUE(of_kernel(era)->yield_rules().rejects_guest_mode) << era;
    EXPECT_TRUE(of_kernel(era)->yield_rules().esrch_test) << era;
  }
  for (const char* era : {"4.14", "5.3", "5.13", "6.13"})
    EXPECT_FALSE(of_kernel(era)->yield_rules().rejects_guest_mode) << era;
}

// -- the other policies, and names ------------------------------------------------------------------------------------

TEST(spin_policy, sleep_sleeps_100_us_or_as_told) {
  for (const duration time : {duration::us(100), duration::us(30)}) {
    table_context vm{3, 0, 0};
    const auto policy = (time == duration::us(100) ? spin_policies().select("sleep")
                                                   : spin_policies().select("sleep", {{"duration", time}}))
                            .make();
    spin(*policy, vm);
    EXPECT_EQ(vm.slept, std::vector{time});
    EXPECT_TRUE(vm.yields.empty());
    EXPECT_TRUE(policy->wants_exits());
  }
}

TEST(spin_policy, none_wants_no_exits) { EXPECT_FALSE(spin_policies().select("none").make()->wants_exits()); }

TEST(spin_policy, the_default_is_that_of_linux_4_14) {
  EXPECT_STREQ(spin_policies().first().kernel, "v4.14");
  EXPECT_EQ(spin_policies().size(), 12u);
}

TEST(directed_yield, as_many_negative_results_as_told_end_the_scan) {
  for (const unsigned tries : {1u, 2u, 5u}) {
    table_context vm{8, 0, 0};
    for (vcpu_row& row : vm.rows) row.result = esrch;
    spin(*spin_policies().select("ipi_receivers", {{"tries", tries}}).make(), vm);
    EXPECT_EQ(vm.yields.size(), tries);
  }
}

TEST(directed_yield, keeps_the_state_of_each_vm_apart) {
  const auto policy = spin_policies().select("ipi_receivers").make();
  const auto a = policy->make_vm_state(3), b = policy->make_vm_state(5);
  ASSERT_NE(a, nullptr);
  static_cast<directed_yield_state&>(*a).last_boosted = 2;
  EXPECT_EQ(static_cast<directed_yield_state&>(*b).last_boosted, 0u);
  EXPECT_EQ(static_cast<directed_yield_state&>(*b).vcpus.size(), 5u);
}

}  // namespace
}  // namespace vmxsys::models::testing
