#include <gtest/gtest.h>
#include <string>

#include <vmxsys/vmx/base/catalogue.hpp>

namespace vmxsys {
namespace {

// catalogue_test.cpp has another struct of this name in this namespace, with other members at these places.
struct options {
  unsigned first = 1;
  unsigned locks = 2;
  std::int32_t trim = -1;
  duration slice = duration::ms(10);
  bool fair = true;
  enum class order { fifo, lifo } served = order::fifo;
  std::optional<duration> latency;
  std::vector<std::uint32_t> ids{3};
  byte_size memory = byte_size::gib(1);
  distribution work = distribution::fixed(duration::us(1));
  std::string label = "x";
};
constexpr named orders[] = {{"fifo", "first come, first served"}, {"lifo", "the other way"}};
constexpr std::array rows{
    row<&options::locks>("locks", "locks", 1, 4096, "spinlocks"),
    row<&options::trim>("trim", "steps", -3, 3, "fine tuning"),
    row<&options::slice>("slice", duration::us(1), duration::s(10), "time slice").from("a source"),
    row<&options::fair>("fair", "in order"),
    row<&options::served>("served", names<orders>, "who is next"),
    row<&options::latency>("latency", duration::us(1), duration::s(1), "period"),
    row<&options::ids>("ids", "numbers", 1, 9, "some"),
    row<&options::memory>("memory", byte_size{1}, byte_size::gib(2), "of it"),
    row<&options::work>("work", "between two"),
    row<&options::label>("label", "anything")};
constexpr parameter_list all{rows};

TEST(duration, in_nanoseconds_is_rounded_down_from_either_unit) {
  EXPECT_EQ(to_nanoseconds(cycles{1}, 2'300'000), 0u);
  EXPECT_EQ(to_nanoseconds(cycles{3}, 2'300'000), 1u);
  EXPECT_EQ(to_nanoseconds(cycles{2'300'000}, 2'300'000), 1'000'000u);
  EXPECT_EQ(to_nanoseconds(cycles{2'299'999}, 2'300'000), 999'999u);
  // A product with 10^6 would not fit 64 bits.
  EXPECT_EQ(to_nanoseconds(cycles{2'300'000} * 1'000'000'000'000 + cycles{23}, 2'300'000), 1'000'000'000'000'000'010u);
  EXPECT_EQ(duration::from_cycles(2'300'000).to_nanoseconds(2'300'000), 1'000'000u);
  EXPECT_EQ(duration::from_picoseconds(2'999).to_nanoseconds(2'300'000), 2u);
  EXPECT_EQ(duration::us(5).to_nanoseconds(2'300'000), 5'000u);
}

std::string fault(const char* name, const parameter_value& value) {
  const auto found = all.find(name)->check(value);
  return found ? found->reason + (found->nearest.empty() ? "" : " | " + found->nearest) : "";
}

TEST(parameter, reads_and_writes_its_own_member) {
  options o;
  EXPECT_EQ(all.find("locks")->value(&o), parameter_value{2u});
  all.find("locks")->assign(&o, 77u);
  EXPECT_EQ(o.locks, 77u);
  EXPECT_EQ(o.first, 1u);
  all.find("trim")->assign(&o, -3);
  EXPECT_EQ(o.trim, -3);
  all.find("served")->assign(&o, "lifo");
  EXPECT_EQ(o.served, options::order::lifo);
  EXPECT_TRUE(all.find("latency")->value(&o).absent());
  all.find("latency")->assign(&o, duration::ms(3));
  EXPECT_EQ(o.latency, duration::ms(3));
  all.find("latency")->assign(&o, {});
  EXPECT_FALSE(o.latency);
  all.find("ids")->assign(&o, parameter_value::list{4u, 5u});
  EXPECT_EQ(o.ids, (std::vector<std::uint32_t>{4, 5}));
  for (const parameter& p : all) EXPECT_FALSE(p.check(p.value(&o))) << p.name;
}

TEST(parameter, limits_are_legal_and_the_next_is_not) {
  EXPECT_EQ(fault("locks", 1u), "");
  EXPECT_EQ(fault("locks", 4096u), "");
  EXPECT_EQ(fault("locks", 0u), "out of range: must be 1 .. 4096");
  EXPECT_EQ(fault("locks", 4097u), "out of range: must be 1 .. 4096");
  EXPECT_EQ(fault("locks", -1), "out of range: must be 1 .. 4096");
  EXPECT_EQ(fault("trim", -3), "");
  EXPECT_EQ(fault("trim", -4), "out of range: must be -3 .. 3");
  EXPECT_EQ(fault("trim", 4u), "out of range: must be -3 .. 3");
  EXPECT_EQ(fault("slice", duration::us(1)), "");
  EXPECT_EQ(fault("slice", duration::ns(999)), "out of range: must be 1us .. 10s");
  EXPECT_EQ(fault("slice", duration::from_picoseconds(duration::s(10).count() + 1)),
            "out of range: must be 1us .. 10s");
  EXPECT_EQ(fault("memory", byte_size::gib(2)), "");
  EXPECT_EQ(fault("memory", byte_size{(2ull << 30) + 1}), "out of range: must be 1B .. 2GiB");
  EXPECT_EQ(fault("ids", parameter_value::list{1u, 9u}), "");
  EXPECT_EQ(fault("ids", parameter_value::list{1u, 10u}), "out of range: must be 1 .. 9");
  EXPECT_EQ(fault("work", distribution::fixed(duration::s(3601))), "out of range: must be 0s .. 3600s");
}

TEST(parameter, another_kind_is_refused) {
  EXPECT_EQ(fault("fair", 1u), "must be true or false");
  EXPECT_EQ(fault("locks", "2"), "must be an integer");
  EXPECT_EQ(fault("slice", 2u), "must be a duration, e.g. \"10ms\" or \"3000cycles\"");
  EXPECT_EQ(fault("ids", 2u), "must be a list [...]");
  EXPECT_EQ(fault("locks", {}), "must be an integer") << "only an optional member may be absent";
  EXPECT_EQ(fault("latency", {}), "");
}

TEST(parameter, a_wrong_name_has_a_nearest) {
  EXPECT_EQ(fault("served", "lfio"), "not known here; must be one of: fifo, lifo | lifo");
  EXPECT_EQ(fault("label", "whatever"), "");
}

TEST(parameter, a_row_says_where_it_comes_from) {
  EXPECT_STREQ(all.find("slice")->source, "a source");
  EXPECT_EQ(all.find("locks")->source, nullptr);
  EXPECT_TRUE(all.find("slice")->at_least_one_cycle().whole_cycle);
}

}  // namespace
}  // namespace vmxsys
