#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/platform/config/json_text.hpp>
#include <vmxsys/platform/config/overrides.hpp>
#include <vmxsys/platform/config/record.hpp>

// Documents of structs, lists and components, with entries of this file's own.
namespace {

using namespace vmxsys;
using namespace vmxsys::platform;
namespace json = boost::json;

struct engine {
  std::uint64_t power;
};
struct engine_entry : entry {
  std::unique_ptr<engine> (*make)(const void*);
};

struct diesel {
  unsigned cylinders = 4;
  duration warm_up = duration::ms(5);
  distribution stroke = distribution::exponential(duration::us(10));
  std::optional<duration> idle;
};
constexpr std::array diesel_rows{
    row<&diesel::cylinders>("cylinders", "cylinders", 1, 12, "how many"),
    row<&diesel::warm_up>("warm_up", duration::us(1), duration::s(10), "before it pulls"),
    row<&diesel::stroke>("stroke", "length of a stroke"),
    row<&diesel::idle>("idle", duration{}, duration::s(1), "stops when it has idled so long")};
constexpr engine_entry diesel_entry = entry_with<engine_entry, diesel, diesel_rows>(
    "diesel", "compression",
    [](const void* o) { return std::make_unique<engine>(engine{options_as<diesel>(o).cylinders}); });

struct electric {
  enum class winding { star, delta } how = winding::star;
  std::int32_t trim = 0;
  std::vector<std::uint32_t> gears{1, 2};
  duration warm_up = duration::ms(5);
};
constexpr named windings[] = {{"star", "ends together"}, {"delta", "in a ring"}};
constexpr std::array electric_rows{
    row<&electric::how>("winding", names<windings>, "how coils are connected"),
    row<&electric::trim>("trim", "steps", -3, 3, "fine tuning"),
    row<&electric::gears>("gears", "teeth", 1, 9, "ratios"),
    row<&electric::warm_up>("warm_up", duration::us(1), duration::s(10), "before it pulls")};
constexpr engine_entry electric_entry = entry_with<engine_entry, electric, electric_rows>(
    "electric", "coils",
    [](const void* o) { return std::make_unique<engine>(engine{options_as<electric>(o).gears.size()}); });

const catalogue<engine_entry> engines{"engine", {&diesel_entry, &electric_entry}};

struct spare {
  component<engine_entry> engine;
  std::uint32_t shelf = 7;
};
struct hull {
  byte_size tank = byte_size::gib(1);
  bool painted = false;
};
struct ship {
  std::string name = "ship";
  hull body;
  component<engine_entry> engine;
  std::vector<spare> spares;
};

record_type ship_record() {
  return record<ship>(
      {value(row<&ship::name>("name", "on the stern")),
       section<&ship::body>("body", "what floats",
                            record<hull>({value(row<&hull::tank>("tank", byte_size{1}, byte_size::gib(4), "fuel")),
                                          value(row<&hull::painted>("painted", "in colour"))})),
       chosen<&ship::engine>("engine", "what moves it", engines),
       sections<&ship::spares>("spares", "engines on board", 3,
                               record<spare>({inlined<&spare::engine>("which", engines),
                                              value(row<&spare::shelf>("shelf", "shelf", 0, 99, "where it lies"))},
                                             "name"))});
}

struct read_ship {
  ship is;
  std::vector<config_error> errors;
  json::value effective;
  std::string faults() const {
    std::string text;
    for (const config_error& e : errors) text += e.message() + '\n';
    return text;
  }
};

read_ship read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const record_type type = ship_record();
  read_ship out;
  reading r{&out.errors, "", "", &type, false};
  json::value document = json::object{};
  if (const auto parsed = parse_json(text, r)) type.merge(document, *parsed);
  for (const std::string& o : overrides) apply_override(document, o, type, r);
  r.complete = true;
  type.read(document, &out.is, r);
  type.write(&out.is, out.effective);
  return out;
}

TEST(document, what_is_not_given_is_as_the_initialisers_have_it) {
  const read_ship s = read("{}");
  EXPECT_EQ(s.faults(), "");
  EXPECT_EQ(json::serialize(s.effective),
            R"({"name":"ship","body":{"tank":"1GiB","painted":false},"engine":{"name":"diesel","cylinders":4,)"
            R"("warm_up":"5ms","stroke":{"kind":"exponential","mean":"10us","min":null,"max":null},"idle":null},)"
            R"("spares":[]})");
}

TEST(document, the_effective_one_reads_back_as_itself) {
  const read_ship once = read(R"({"engine": {"name": "electric", "winding": "delta", "gears": [3, 4, 5], "trim": -3},
                                  "spares": ["electric", {"name": "diesel", "idle": "1ms", "shelf": 9}]})");
  EXPECT_EQ(once.faults(), "");
  EXPECT_EQ(engines.select(once.is.engine).make()->power, 3u);
  const read_ship twice = read(json::serialize(once.effective));
  EXPECT_EQ(twice.faults(), "");
  EXPECT_EQ(json::serialize(twice.effective), json::serialize(once.effective));
  ASSERT_EQ(twice.is.spares.size(), 2u);
  EXPECT_EQ(twice.is.spares[0].engine.name, "electric");
  EXPECT_EQ(twice.is.spares[1].shelf, 9u);
}

TEST(document, a_component_is_its_name_or_an_object) {
  EXPECT_EQ(read(R"({"engine": "electric"})").is.engine.name, "electric");
  EXPECT_EQ(read(R"({"engine": {"cylinders": 6}})").is.engine.options, (settings{{"cylinders", 6u}}));
  EXPECT_EQ(read(R"({"engine": 7})").faults(), "engine = 7: must be an object {...}, or its \"name\" as text\n");
}

TEST(document, every_fault_has_path_value_reason_and_the_nearest_name) {
  EXPECT_EQ(read(R"({"engine": {"name": "diesle"}})").faults(),
            "engine.name = \"diesle\": not known here; must be one of: diesel, electric (did you mean \"diesel\"?)\n");
  EXPECT_EQ(read(R"({"engine": {"cylinder": 3}})").faults(),
            "engine.cylinder = 3: unknown key; known here: name, cylinders, warm_up, stroke, idle (did you mean "
            "\"cylinders\"?)\n");
  EXPECT_EQ(read(R"({"engine": {"name": "electric", "cylinders": 3}})").faults(),
            "engine.cylinders = 3: \"electric\" has no such parameter; it belongs to \"diesel\"\n");
  EXPECT_EQ(read(R"({"engine": {"cylinders": 13}})").faults(),
            "engine.cylinders = 13: out of range: must be 1 .. 12\n");
  EXPECT_EQ(read(R"({"engine": {"cylinders": 0}})").faults(), "engine.cylinders = 0: out of range: must be 1 .. 12\n");
  EXPECT_EQ(read(R"({"engine": {"cylinders": 12, "warm_up": "1us"}})").faults(), "");
  EXPECT_EQ(read(R"({"engine": {"warm_up": "999ns"}})").faults(),
            "engine.warm_up = \"999ns\": out of range: must be 1us .. 10s\n");
  EXPECT_EQ(read(R"({"engine": {"warm_up": 5}})").faults(),
            "engine.warm_up = 5: a duration needs a unit: write it as text, e.g. \"10ms\" or \"3000cycles\"\n");
  EXPECT_EQ(read(R"({"engine": {"name": "electric", "winding": "dleta"}})").faults(),
            "engine.winding = \"dleta\": not known here; must be one of: star, delta (did you mean \"delta\"?)\n");
  EXPECT_EQ(read(R"({"engine": {"name": "electric", "trim": -4}})").faults(),
            "engine.trim = -4: out of range: must be -3 .. 3\n");
  EXPECT_EQ(read(R"({"engine": {"name": "electric", "gears": [1, 10]}})").faults(),
            "engine.gears = [1,10]: out of range: must be 1 .. 9\n");
  EXPECT_EQ(read(R"({"body": {"tank": "5GiB", "painted": 1}, "paint": 2})").faults(),
            "body.tank = \"5GiB\": out of range: must be 1B .. 4GiB\n"
            "body.painted = 1: must be true or false\n"
            "paint = 2: unknown key; known here: name, body, engine, spares\n");
  EXPECT_EQ(read(R"({"spares": [{}, {}, {}, {}]})").faults(), "spares = [{},{},{},{}]: has 4 entries; at most 3\n");
  EXPECT_EQ(read(R"({"spares": [{"shlef": 1}]})").faults(),
            "spares[0].shlef = 1: unknown key; known here: name, cylinders, warm_up, stroke, idle, shelf (did you mean "
            "\"shelf\"?)\n");
}

TEST(document, overrides_reach_every_member) {
  const read_ship s =
      read(R"({"spares": ["diesel", "electric"]})", {"engine.stroke.mean=5us", "body.painted=true", "spares[*].shelf=3",
                                                     "spares[1].trim=2", "engine.idle=null", "name=7"});
  EXPECT_EQ(s.faults(), "");
  EXPECT_EQ(s.is.spares[0].shelf, 3u);
  EXPECT_EQ(s.is.spares[1].engine.options, (settings{{"trim", 2u}}));
  EXPECT_EQ(s.is.name, "7");
  EXPECT_TRUE(s.is.body.painted);
  EXPECT_EQ(s.is.engine.options.front().value, parameter_value{distribution::exponential(duration::us(5))});
}

TEST(document, a_bare_duration_is_a_fixed_distribution) {
  const read_ship s = read("{}", {"engine.stroke=3us"});
  EXPECT_EQ(s.faults(), "");
  EXPECT_EQ(s.is.engine.options.front().value, parameter_value{distribution::fixed(duration::us(3))});
}

TEST(document, another_name_forgets_the_options_that_it_has_not) {
  const read_ship s = read(R"({"engine": {"name": "diesel", "cylinders": 6, "warm_up": "2ms"}})", {"engine=electric"});
  EXPECT_EQ(s.faults(), "");
  EXPECT_EQ(s.is.engine.name, "electric");
  EXPECT_EQ(s.is.engine.options, (settings{{"warm_up", duration::ms(2)}}));
}

TEST(document, wrong_overrides_say_why) {
  EXPECT_EQ(read("{}", {"spares[0].shelf=3"}).faults(),
            "spares = \"3\": there are only 0 (numbered from 0), so there is no [0]\n");
  EXPECT_EQ(read("{}", {"engin.cylinders=3"}).faults(),
            "engin = \"3\": unknown key; known here: name, body, engine, spares (did you mean \"engine\"?)\n");
  EXPECT_EQ(read("{}", {"name.x=3"}).faults(), "name.x = \"3\": there is nothing below a plain value\n");
  EXPECT_EQ(read("{}", {"spares.shelf=3"}).faults(), "spares.shelf = \"3\": say which one: [0], [1], ... or [*]\n");
}

TEST(document, rows_list_every_parameter_and_whose_option_it_is) {
  const record_type type = ship_record();
  std::vector<parameter_row> rows;
  type.rows("", type.defaults(), "", rows);
  std::string text;
  for (const parameter_row& r : rows)
    if (r.path.rfind("engine", 0) == 0)
      text += r.path + " | " + r.default_value + " | " + r.range + " | " + r.description + '\n';
  EXPECT_EQ(text,
            "engine | diesel | diesel, electric | what moves it\n"
            "engine.cylinders | 4 | 1 .. 12 | how many (diesel only)\n"
            "engine.warm_up | 5ms | 1us .. 10s | before it pulls\n"
            "engine.stroke |  |  | length of a stroke (diesel only)\n"
            "engine.stroke.kind | exponential | fixed, uniform, exponential | shape of the distribution (diesel only)\n"
            "engine.stroke.mean | 10us | 1ps .. 3600s | mean (fixed: the value) (diesel only)\n"
            "engine.stroke.min | none | 0s .. 3600s | smallest value (diesel only)\n"
            "engine.stroke.max | none | 1ps .. 3600s | largest value (diesel only)\n"
            "engine.idle | as the entry has it | 0s .. 1s | stops when it has idled so long (diesel only)\n"
            "engine.winding | star | star, delta | how coils are connected (electric only)\n"
            "engine.trim | 0 | -3 .. 3 | fine tuning (electric only)\n"
            "engine.gears | [1, 2] | 1 .. 9 | ratios (electric only)\n");
}

}  // namespace
