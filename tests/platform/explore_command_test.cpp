#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

#include <vmxsys/platform/cli/explore_command.hpp>
#include <vmxsys/platform/cli/list.hpp>

#include "command_line_call.hpp"

// `vmxsys explore`.
namespace {

using namespace vmxsys::platform;
using namespace vmxsys::platform_tests;
namespace json = boost::json;

// Small enough for a test, large enough for the mistakes.
std::vector<std::string> small(std::vector<std::string> more = {}) {
  std::vector<std::string> arguments{"explore", "posting",         "-p", "ipis=1",
                                     "-p",      "migration=false", "-p", "preemptions=0"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(explore_command, a_table_for_people_and_the_trace_of_a_mistake) {
  const outcome o = call(small({"--order", "syncs_before_announcing"}));
  EXPECT_EQ(o.status, exit_ok) << o.err;
  EXPECT_HAS(o.out, "2 vCPUs, 1 IPI, 1 device that posts 1 interrupt, 0 preemptions, no migration");
  EXPECT_HAS(o.out, "verdict");
  EXPECT_HAS(o.out, "lost interrupt: the guest runs on without it");
  EXPECT_HAS(o.out, "store_mode(vCPU 1, in_guest)");
  EXPECT_HAS(o.out, "waits in PIR");
  EXPECT_HAS(o.err, "exploring syncs_before_announcing");
}

TEST(explore_command, the_shipped_order_loses_nothing) {
  const outcome o = call(small({"--order", "as_shipped", "-q"}));
  EXPECT_EQ(o.status, exit_ok);
  EXPECT_HAS(o.out, "none lost");
  EXPECT_TRUE(o.err.empty()) << o.err;
  EXPECT_FALSE(has(o.out, "with nothing under way"));
}

TEST(explore_command, all_orders_as_one_document) {
  const outcome o = call(small({"-p", "device_posts=1", "-p", "order=all", "--json", "-q"}));
  ASSERT_EQ(o.status, exit_ok) << o.err;
  const json::object document = json::parse(o.out).as_object();
  EXPECT_EQ(document.at("schema"), 1);
  EXPECT_EQ(document.at("exploration"), "posting");
  const json::array& orders = document.at("orders").as_array();
  ASSERT_EQ(orders.size(), order_choices().size());
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const json::object& order = orders[i].as_object();
    EXPECT_EQ(order.at("order").as_string(), order_choices()[i].name);
    EXPECT_EQ(order.at("scenario").at("ipis"), 1);
    EXPECT_GT(order.at("states").to_number<unsigned>(), 0u);
    EXPECT_GT(order.at("transitions").to_number<unsigned>(), 0u);
    EXPECT_EQ(order.at("complete").as_bool(), order.at("violation").is_null());
    EXPECT_EQ(order.at("trace").as_array().empty(), order.at("violation").is_null());
  }
  EXPECT_TRUE(orders[0].at("violation").is_null());
  EXPECT_EQ(orders[1].at("violation"), "lost interrupt: the guest runs on without it");
}

TEST(explore_command, an_order_that_only_software_posts_show_is_explored_without_the_device) {
  EXPECT_HAS(call(small({"--order", "checks_before_waiting"})).out, "pending (without the device)");
  EXPECT_HAS(call(small({"--order", "checks_before_waiting", "-p", "device_posts=1"})).out, "none lost");
}

TEST(explore_command, mistakes_name_the_nearest) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> mistakes{
      {{"explore"}, "what to explore is missing"},
      {{"explore", "postin"}, "did you mean \"posting\"?"},
      {{"explore", "posting", "--order", "as_shiped"}, "did you mean \"as_shipped\"?"},
      {{"explore", "posting", "-p", "vcpu=2"}, "did you mean \"vcpus\"?"},
      {{"explore", "posting", "-p", "vcpus=0"}, "vcpus takes 1 .. 3, not \"0\""},
      {{"explore", "posting", "-p", "vcpus=4"}, "vcpus takes 1 .. 3, not \"4\""},
      {{"explore", "posting", "-p", "ipis=two"}, "ipis takes 0 .. 6, not \"two\""},
      {{"explore", "posting", "-p", "migration=2"}, "migration takes 0 .. 1"},
      {{"explore", "posting", "--seed", "1"}, "explore has no use for --seed"},
      {{"study", "ple_storm", "--order", "all"}, "study has no use for --order"},
  };
  for (const auto& [arguments, expected] : mistakes) {
    const outcome o = call(arguments);
    EXPECT_EQ(o.status, exit_usage) << expected;
    EXPECT_HAS(o.err, expected);
    EXPECT_TRUE(o.out.empty()) << o.out;
  }
}

TEST(explore_command, lists) {
  EXPECT_HAS(call({"list", "explorations"}).out, "posting");
  EXPECT_HAS(call({"list", "orders"}).out, "syncs_before_announcing");
  EXPECT_HAS(call({"list", "exploration_parameters"}).out, "default 2; 1 .. 3");
  EXPECT_HAS(call({"--help"}).out, "vmxsys explore NAME");
}

}  // namespace
