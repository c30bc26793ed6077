#include <gtest/gtest.h>
#include <memory>
#include <string>

#include <vmxsys/vmx/base/catalogue.hpp>

namespace vmxsys {
namespace {

struct thing {
  std::string is;
};
struct thing_entry : entry {
  std::unique_ptr<thing> (*make)(const void* options, int extra);
  bool heavy;
};

// parameter_test.cpp has another struct of this name in this namespace, with other members at these places.
struct options {
  std::string locks = "few";
  unsigned count = 4;
};
constexpr std::array rows{row<&options::locks>("locks", "as a word"),
                          row<&options::count>("count", "things", 1, 9, "how many")};

constexpr thing_entry box = entry_with<thing_entry, options, rows>(
    "box", "with options",
    [](const void* o, int extra) {
      const auto& given = options_as<options>(o);
      return std::make_unique<thing>(thing{given.locks + std::to_string(given.count + static_cast<unsigned>(extra))});
    },
    true);
constexpr thing_entry stone = entry_without<thing_entry>(
    "stone", "without", [](const void*, int) { return std::make_unique<thing>(thing{"stone"}); }, false);
constexpr thing_entry boxes = entry_without<thing_entry>("box", "taken", nullptr, false);

std::string fault(const std::string& name, const settings& given) {
  try {
    catalogue<thing_entry>{"thing", {&box, &stone}}.select(name, given);
  } catch (const catalogue_error& e) {
    return e.what();
  }
  return "";
}

TEST(catalogue, the_first_is_the_default) {
  const catalogue<thing_entry> things{"thing", {&box, &stone}};
  EXPECT_STREQ(things.select().name(), "box");
  EXPECT_EQ(things.select().make(1)->is, "few5");
  EXPECT_EQ(things.select("stone").make(1)->is, "stone");
  EXPECT_TRUE(things.select().entry().heavy);
}

TEST(catalogue, settings_reach_the_thing) {
  const catalogue<thing_entry> things{"thing", {&box, &stone}};
  component<thing_entry> c{"box", {{"count", 2u}}};
  EXPECT_EQ(things.select(c).make(0)->is, "few2");
  c.set("count", 3u).set("locks", "many");
  EXPECT_EQ(things.select(c).make(0)->is, "many3");
  EXPECT_EQ(things.value_of(c, "count"), parameter_value{3u});
  EXPECT_EQ(things.value_of({}, "count"), parameter_value{4u});
  EXPECT_THROW(things.value_of(c, "cuont"), catalogue_error);
}

TEST(catalogue, everything_wrong_is_told_at_once) {
  EXPECT_EQ(fault("box", {{"count", 1u}}), "");
  EXPECT_EQ(fault("bxo", {}), "no thing \"bxo\" (did you mean \"box\"?); known: box, stone");
  EXPECT_EQ(fault("box", {{"cuont", 1u}, {"count", 10u}}),
            "thing \"box\": cuont: no such option (did you mean \"count\"?); known: locks, count\n"
            "thing \"box\": count = 10: out of range: must be 1 .. 9");
  EXPECT_EQ(fault("stone", {{"count", 1u}}), "thing \"stone\": count: no such option; it has none");
}

TEST(catalogue, a_copy_takes_entries_of_ones_own_once) {
  const catalogue<thing_entry> shipped{"thing", {&box}};
  catalogue<thing_entry> mine = shipped;
  mine.add(stone);
  EXPECT_EQ(mine.names(), (std::vector<std::string>{"box", "stone"}));
  EXPECT_EQ(shipped.size(), 1u);
  EXPECT_THROW(mine.add(boxes), catalogue_error);
}

}  // namespace
}  // namespace vmxsys
