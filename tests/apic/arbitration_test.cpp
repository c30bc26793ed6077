#include <algorithm>
#include <gtest/gtest.h>
#include <random>
#include <vector>

#include <vmxsys/apic/local/arbitration.hpp>
#include <vmxsys/apic/local/local_apic.hpp>

#include "xapic_bench.hpp"

namespace vmxsys::apic {
namespace {

using candidates = std::vector<arbitration_candidate>;

std::uint32_t winner(const candidates& all, arbitration_rule rule, std::uint32_t last) {
  return arbitrate(all.begin(), all.end(), rule, last)->id;
}

TEST(arbitration, each_rule_and_its_ties) {
  const auto lowest = arbitration_rule::lowest_priority;
  const auto focus = arbitration_rule::focus_then_lowest_priority;
  const auto robin = arbitration_rule::round_robin;
  struct row {
    const char* what;
    candidates all;
    arbitration_rule rule;
    std::uint32_t last, winner;
  };
  for (const row& r : std::vector<row>{
           {"one", {{5, 0xF0, false}}, lowest, 0, 5},
           {"the lower priority", {{1, 0x30, false}, {2, 0x2F, false}}, lowest, 0, 2},
           {"a tie goes to the next one", {{1, 0x20, false}, {2, 0x20, false}, {3, 0x20, false}}, lowest, 1, 2},
           {"and around", {{1, 0x20, false}, {2, 0x20, false}, {3, 0x20, false}}, lowest, 3, 1},
           {"the last winner itself comes last", {{1, 0x20, false}, {2, 0x20, false}}, lowest, 1, 2},
           {"a focus does not count here", {{1, 0x20, false}, {2, 0x30, true}}, lowest, 0, 1},
           {"the focus", {{1, 0x20, false}, {2, 0x30, true}}, focus, 0, 2},
           {"no focus", {{1, 0x20, false}, {2, 0x30, false}}, focus, 0, 1},
           {"two foci: the lower priority", {{1, 0x40, true}, {2, 0x30, true}, {3, 0, false}}, focus, 0, 2},
           {"round robin sees no priority", {{1, 0, false}, {2, 0xF0, false}}, robin, 1, 2},
           {"nor focus", {{1, 0, true}, {2, 0xF0, false}}, robin, 1, 2},
       })
    EXPECT_EQ(winner(r.all, r.rule, r.last), r.winner) << r.what;
  const candidates none;
  EXPECT_EQ(arbitrate(none.begin(), none.end(), lowest, 0), none.end());
}

TEST(arbitration, does_not_depend_on_the_order_of_asking) {
  std::mt19937 random{7};
  for (int i = 0; i < 2000; ++i) {
    candidates all;
    for (std::uint32_t id = 0; id < 6; ++id)
      all.push_back({id, static_cast<std::uint8_t>(random() % 3 << 4), random() % 3 == 0});
    const auto rule = static_cast<arbitration_rule>(random() % 3);
    const std::uint32_t last = random() % 8;
    const std::uint32_t expected = winner(all, rule, last);
    std::shuffle(all.begin(), all.end(), random);
    ASSERT_EQ(winner(all, rule, last), expected);
  }
}

TEST(arbitration, equals_take_turns) {
  const candidates all{{3, 0, false}, {7, 0, false}, {200, 0, false}};
  std::uint32_t last = 0;
  std::vector<std::uint32_t> winners;
  for (int i = 0; i < 6; ++i) winners.push_back(last = winner(all, arbitration_rule::lowest_priority, last));
  EXPECT_EQ(winners, (std::vector<std::uint32_t>{3, 7, 200, 3, 7, 200}));
}

TEST(arbitration, priority_register) {
  struct row {
    int tpr, in_service, request, apr;
  };
  for (const row& r : {row{0x35, -1, -1, 0x35}, row{0x00, -1, -1, 0x00}, row{0x0F, -1, -1, 0x00},
                       row{0x35, -1, 0x3F, 0x35}, row{0x35, -1, 0x40, 0x40}, row{0x35, 0x2F, 0x31, 0x35},
                       row{0x35, 0x31, -1, 0x30}, row{0x60, 0x51, 0x72, 0x70}, row{0x50, 0x61, 0x21, 0x40}}) {
    const auto tpr = static_cast<std::uint8_t>(r.tpr);
    EXPECT_EQ(arbitration_priority(tpr, r.in_service, r.request), r.apr) << std::hex << r.tpr << ' ' << r.in_service;
    local_apic apic = testing_bench::enabled_xapic();
    if (r.in_service >= 0) {
      apic.accept(static_cast<std::uint8_t>(r.in_service));
      apic.acknowledge();
    }
    if (r.request >= 0) apic.accept(static_cast<std::uint8_t>(r.request));
    apic.set_task_priority(tpr);
    EXPECT_EQ(testing_bench::load(apic, page::apr), static_cast<std::uint32_t>(r.apr));
  }
}

TEST(arbitration, focus_is_where_the_vector_waits_or_is_served) {
  local_apic apic = testing_bench::enabled_xapic();
  EXPECT_FALSE(apic.is_focus_of(0x40));
  apic.accept(0x40);
  EXPECT_TRUE(apic.is_focus_of(0x40));
  EXPECT_FALSE(apic.is_focus_of(0x41));
  apic.acknowledge();
  EXPECT_TRUE(apic.is_focus_of(0x40));
  testing_bench::store(apic, page::svr, 0x3FF);
  EXPECT_FALSE(apic.is_focus_of(0x40)) << "SVR bit 9 forbids the check";
  testing_bench::store(apic, page::svr, 0x1FF);
  apic.end_of_interrupt();
  EXPECT_FALSE(apic.is_focus_of(0x40));
}

}  // namespace
}  // namespace vmxsys::apic
