#include <algorithm>
#include <gtest/gtest.h>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <vmxsys/models/posting/posting_explorer.hpp>

namespace vmxsys::models {
namespace {

static_assert(std::is_trivially_copyable_v<posting_world>);

posting_scenario small(posting_order order) {
  posting_scenario s;
  s.order = order;
  s.ipis = 1;
  return s;
}

std::string text_of(const std::vector<posting_event>& lines) {
  std::string text;
  for (const posting_event& line : lines) text += line.who + ": " + line.what + "\n";
  return text;
}

// -- the shipped order
// -------------------------------------------------------------------------------------------------

// Two vCPUs and a device, with an IPI, preemption and migration, to the end.
TEST(posting_explorer, the_shipped_order_loses_nothing) {
  const posting_exploration e = explore(small(posting_order::as_shipped));
  EXPECT_TRUE(e.complete);
  EXPECT_EQ(e.violation, "") << text_of(e.trace);
  EXPECT_GT(e.states, 100'000u);
  EXPECT_GT(e.transitions, e.states);
  EXPECT_GT(e.settled, e.quiescent);
  EXPECT_GT(e.quiescent, 0u);
  EXPECT_LT(e.seconds, 60.0);
}

TEST(posting_explorer, nor_with_other_agents) {
  std::vector<posting_scenario> scenarios(5, small(posting_order::as_shipped));
  scenarios[0].ipi_virtualization = true;
  scenarios[0].migration = false;
  scenarios[1].urgent = true;
  scenarios[1].migration = false;
  scenarios[2].device_posts = 0;  // only software posts: no wake-up vector, nothing to put
  scenarios[2].ipis = 2;
  scenarios[2].migration = false;
  scenarios[3].vcpus = 1;  // a device alone
  scenarios[3].device_posts = 2;
  scenarios[3].preemptions = 3;
  scenarios[4].ipis = 2;
  scenarios[4].preemptions = 0;
  for (const posting_scenario& s : scenarios) {
    const posting_exploration e = explore(s);
    EXPECT_TRUE(e.complete);
    EXPECT_EQ(e.violation, "") << text_of(e.trace);
  }
}

// Where only software posts, a load that finds PIR not empty sets ON for itself, and a sender between its PIR bit and
// ON then believes that somebody has notified. A thread that was preempted between its last look and its sleep does not
// look again. With hardware that posts, the put looks at ON and sends the wake-up vector.
TEST(posting_explorer, but_a_move_between_the_last_look_and_the_sleep_is_lost_where_only_software_posts) {
  posting_scenario s;
  s.device_posts = 0;
  const posting_exploration e = explore(s);
  EXPECT_EQ(e.violation, "lost wake-up: the vCPU sleeps with an interrupt pending");
  const std::string text = text_of(e.trace);
  const auto preempted = text.find("vCPU 0: the thread is preempted");
  const auto posted = text.find("set_pir(vCPU 0");
  const auto own = text.find("set_on(vCPU 0): was 0");
  const auto senders = text.find("set_on(vCPU 0): was 1");
  ASSERT_NE(preempted, std::string::npos) << text;
  ASSERT_NE(senders, std::string::npos) << text;
  EXPECT_LT(preempted, posted);
  EXPECT_LT(posted, own);
  EXPECT_LT(own, senders);
  // It takes the preemption, the other CPU, and a put that does nothing.
  posting_scenario less = s;
  less.preemptions = 0;
  EXPECT_EQ(explore(less).violation, "");
  less = s;
  less.migration = false;
  EXPECT_EQ(explore(less).violation, "");
}

// -- planted mistakes
// --------------------------------------------------------------------------------------------------

class planted : public ::testing::TestWithParam<posting_order_info> {};

TEST_P(planted, is_found_with_a_trace_that_replays) {
  posting_scenario s = small(GetParam().order);
  if (GetParam().repaired_by_put) s.device_posts = 0;
  const posting_exploration e = explore(s);
  ASSERT_NE(e.violation, "");
  EXPECT_EQ(e.violations, 1u);
  EXPECT_TRUE(e.violation.starts_with("lost ")) << e.violation;
  EXPECT_FALSE(e.complete);
  EXPECT_EQ(e.path.size(), e.depth - 1);  // found from the level before the one that was being made
  EXPECT_GE(e.trace.size(), e.path.size());

  const posting_rules rules{s};
  const posting_world start{rules};
  std::vector<posting_event> again;
  const char* const verdict = replay(start, e.path, &again);
  ASSERT_NE(verdict, nullptr);
  EXPECT_EQ(verdict, e.violation);
  EXPECT_EQ(text_of(again), text_of(e.trace));
  // Nothing is wrong on the way, and each move is one of those that were open.
  posting_world world = start;
  for (const posting_choice& move : e.path) {
    std::vector<posting_choice> open;
    world.choices(open);
    EXPECT_NE(std::find(open.begin(), open.end(), move), open.end());
    EXPECT_EQ(world.wrong(false), nullptr);
    world.happen(move);
  }
}

std::vector<posting_order_info> mistakes() { return {posting_orders().begin() + 1, posting_orders().end()}; }

INSTANTIATE_TEST_SUITE_P(orders, planted, ::testing::ValuesIn(mistakes()),
                         [](const auto& of) { return std::string{of.param.name}; });

TEST(posting_explorer, every_order_has_a_row) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < posting_orders().size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(posting_orders()[i].order), i);
    EXPECT_FALSE(posting_orders()[i].description.empty());
    names.insert(posting_orders()[i].name);
  }
  EXPECT_EQ(names.size(), posting_orders().size());
  EXPECT_EQ(posting_orders().back().order, posting_order::keeps_destination);
}

// The classic one, move by move: the sender sees a target outside the guest that has already looked.
TEST(posting_explorer, check_before_announcing_is_lost_between_the_look_and_the_announcement) {
  posting_scenario s = small(posting_order::syncs_before_announcing);
  s.device_posts = 0;
  s.preemptions = 0;
  const posting_exploration e = explore(s);
  EXPECT_EQ(e.violation, "lost interrupt: the guest runs on without it");
  const std::string text = text_of(e.trace);
  const auto looked = text.find("pCPU 1, vCPU 1: load_info");
  const auto read = text.find("load_mode(vCPU 1): is outside_guest");
  const auto announced = text.find("store_mode(vCPU 1, in_guest)");
  ASSERT_NE(looked, std::string::npos) << text;
  ASSERT_NE(read, std::string::npos) << text;
  ASSERT_NE(announced, std::string::npos) << text;
  EXPECT_LT(looked, read);
  EXPECT_LT(read, announced);
  EXPECT_NE(text_of(e.outcome).find("waits in PIR"), std::string::npos);
}

// Hardware that posts brings the wake-up vector with it, and the put's look at ON then repairs the block's mistake.
TEST(posting_explorer, waiting_too_late_is_repaired_by_the_put_where_hardware_posts) {
  EXPECT_EQ(explore(small(posting_order::checks_before_waiting)).violation, "");
}

TEST(posting_explorer, only_a_cpu_that_changes_can_make_a_stale_destination_matter) {
  posting_scenario s = small(posting_order::keeps_destination);
  s.migration = false;
  s.ipis = 0;
  EXPECT_EQ(explore(s).violation, "");
}

// -- the explorer itself
// -----------------------------------------------------------------------------------------------

TEST(posting_explorer, two_runs_are_equal) {
  const posting_scenario s = small(posting_order::posts_on_before_pir);
  const posting_exploration a = explore(s), b = explore(s);
  EXPECT_EQ(a.states, b.states);
  EXPECT_EQ(a.transitions, b.transitions);
  EXPECT_EQ(a.path, b.path);
  EXPECT_EQ(text_of(a.trace), text_of(b.trace));
}

// Steps that commute ride along with others: that changes how many states there are, but not how it can end.
TEST(posting_explorer, every_step_alone_ends_in_the_same_states) {
  std::vector<posting_scenario> scenarios(3, small(posting_order::as_shipped));
  scenarios[0].vcpus = 1;
  scenarios[0].preemptions = 2;
  scenarios[1].ipis = 2;
  scenarios[1].device_posts = 0;
  scenarios[1].preemptions = 0;
  scenarios[2].ipis = 1;
  scenarios[2].preemptions = 0;
  scenarios[2].ipi_virtualization = true;
  for (posting_scenario s : scenarios) {
    const posting_exploration some = explore(s);
    s.one_by_one = true;
    const posting_exploration all = explore(s);
    EXPECT_EQ(all.violation, "");
    EXPECT_EQ(all.settled, some.settled);
    EXPECT_EQ(all.quiescent, some.quiescent);
    EXPECT_GT(all.states, some.states);
  }
}

TEST(posting_explorer, every_step_alone_loses_in_the_same_states) {
  posting_limits all;
  all.past_violations = true;
  for (const posting_order_info& info : mistakes()) {
    std::vector<posting_scenario> scenarios(2, small(info.order));
    scenarios[0].vcpus = 1;  // a device and preemption
    scenarios[0].device_posts = 2;
    scenarios[1].ipis = 2;  // senders, and threads that change CPUs
    scenarios[1].device_posts = 0;
    scenarios[1].preemptions = 0;
    for (posting_scenario s : scenarios) {
      const posting_exploration some = explore(s, all);
      s.one_by_one = true;
      const posting_exploration each = explore(s, all);
      EXPECT_TRUE(some.complete && each.complete);
      EXPECT_EQ(each.violations, some.violations) << info.name;
      EXPECT_EQ(each.settled, some.settled) << info.name;
      EXPECT_EQ(each.quiescent, some.quiescent) << info.name;
    }
  }
}

TEST(posting_explorer, stops_where_it_is_told_and_says_so) {
  posting_limits limits;
  limits.states = 1000;
  const posting_exploration e = explore(small(posting_order::as_shipped), limits);
  EXPECT_FALSE(e.complete);
  EXPECT_EQ(e.violation, "");
  EXPECT_GE(e.states, 1000u);
  EXPECT_LT(e.states, 1100u);
  limits = {};
  limits.stop = [] { return true; };
  EXPECT_FALSE(explore(small(posting_order::as_shipped), limits).complete);
}

TEST(posting_explorer, a_scenario_says_what_is_wrong_with_it) {
  posting_scenario s;
  EXPECT_EQ(s.error(), nullptr);
  s.vcpus = 0;
  EXPECT_THROW(explore(s), std::invalid_argument);
  s.vcpus = posting_rules::most_vcpus + 1;
  EXPECT_NE(s.error(), nullptr);
  s = {};
  s.ipis = posting_scenario::most_ipis + 1;
  EXPECT_NE(s.error(), nullptr);
  s = {};
  s.device_posts = posting_scenario::most_device_posts + 1;
  EXPECT_NE(s.error(), nullptr);
  s = {};
  s.preemptions = posting_scenario::most_preemptions + 1;
  EXPECT_NE(s.error(), nullptr);
}

// A random walk: whatever happens, a state that is copied goes the same way, and equal bytes mean equal moves.
TEST(posting_explorer, states_are_values) {
  posting_scenario s;
  s.ipis = 4;
  s.device_posts = 4;
  s.preemptions = 5;
  const posting_rules rules{s};
  std::uint64_t random = 12345;
  for (int walk = 0; walk < 200; ++walk) {
    posting_world world{rules};
    for (int move = 0; move < 400; ++move) {
      std::vector<posting_choice> open, open_again;
      world.choices(open);
      if (open.empty()) break;
      random = random * 6364136223846793005u + 1442695040888963407u;
      const posting_choice choice = open[(random >> 33) % open.size()];
      posting_world copy = world;
      copy.choices(open_again);
      EXPECT_EQ(open, open_again);
      std::vector<posting_event> log;
      copy.happen(choice, &log);
      world.happen(choice);
      EXPECT_FALSE(log.empty());
      state_bytes a, b;
      world.encode(a);
      copy.encode(b);
      ASSERT_EQ(a.view(), b.view());
      const bool settled = std::none_of(open.begin(), open.end(), [](const auto& c) { return c.obliged(); });
      ASSERT_EQ(world.wrong(false), nullptr) << settled;
    }
  }
}

}  // namespace
}  // namespace vmxsys::models
