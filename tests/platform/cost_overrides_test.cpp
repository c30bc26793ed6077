#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/platform/config/json_text.hpp>
#include <vmxsys/platform/config/overrides.hpp>
#include <vmxsys/platform/presets/cost_overrides.hpp>
#include <vmxsys/platform/presets/preset.hpp>

// Single costs as part of a document.
namespace {

using namespace vmxsys;
using namespace vmxsys::platform;
namespace json = boost::json;

struct machine {
  std::string preset = "flat";
  std::vector<cost_override> costs;
};
struct document {
  machine hardware;
};

const record_type& document_record() {
  static const record_type type = record<document>({section<&document::hardware>(
      "machine", "the machine",
      record<machine>({value(row<&machine::preset>("preset", "microarchitecture")),
                       costs_field<&machine::costs>("costs", "single costs instead of the preset's")}))});
  return type;
}

struct read_document {
  document is;
  std::vector<config_error> errors;
  json::value effective;
  std::string faults() const {
    std::string text;
    for (const config_error& e : errors) text += e.message() + '\n';
    return text;
  }
};

/// Layers from below to above, then overrides.
read_document read(const std::vector<std::string>& layers, const std::vector<std::string>& overrides = {}) {
  const record_type& type = document_record();
  read_document out;
  reading r{&out.errors, "", "", &type, false};
  json::value all = json::object{};
  for (const std::string& layer : layers)
    if (const auto parsed = parse_json(layer, r)) type.merge(all, *parsed);
  for (const std::string& o : overrides) apply_override(all, o, type, r);
  r.complete = true;
  type.read(all, &out.is, r);
  type.write(&out.is, out.effective);
  return out;
}

using overrides = std::vector<cost_override>;

TEST(cost_overrides, none_are_an_empty_object) {
  const read_document d = read({"{}"});
  EXPECT_EQ(d.faults(), "");
  EXPECT_TRUE(d.is.hardware.costs.empty());
  EXPECT_EQ(json::serialize(d.effective), R"({"machine":{"preset":"flat","costs":{}}})");
}

TEST(cost_overrides, a_document_holds_them_as_a_tree) {
  const read_document d = read({R"({"machine": {"costs": {"instruction": {"pause": "140cycles", "load": "3ns"},
                                   "idle_states": {"C1": {"exit_latency": "1us"}}, "exit": {"field": "2.5core_cycles"}}}})"});
  EXPECT_EQ(d.faults(), "");
  EXPECT_EQ(d.is.hardware.costs, (overrides{{"instruction.pause", "140cycles"},
                                            {"instruction.load", "3ns"},
                                            {"idle_states.C1.exit_latency", "1us"},
                                            {"exit.field", "2.5core_cycles"}}));
  const preset p = make_preset({"flat", 0, d.is.hardware.costs});
  EXPECT_EQ(p.costs.instruction.pause.count(), 140u);
  EXPECT_EQ(p.costs.instruction.load.count(), 6u);
}

TEST(cost_overrides, the_effective_document_reads_back_as_itself) {
  const read_document once =
      read({R"({"machine": {"costs": {"kvm": {"post": "1us"}, "instruction": {"pause": "140cycles"},
                                      "idle_states": {"C1": {"exit_latency": "1us", "target_residency": "2us"}}}}})"});
  EXPECT_EQ(json::serialize(once.effective),
            R"({"machine":{"preset":"flat","costs":{"instruction":{"pause":"140cycles"},"idle_states":{"C1":)"
            R"({"exit_latency":"1us","target_residency":"2us"}},"kvm":{"post":"1us"}}}})");
  const read_document twice = read({json::serialize(once.effective)});
  EXPECT_EQ(twice.faults(), "");
  EXPECT_EQ(json::serialize(twice.effective), json::serialize(once.effective));
  EXPECT_EQ(twice.is.hardware.costs.size(), 4u);
}

TEST(cost_overrides, layers_and_the_command_line_set_them_one_by_one) {
  const read_document d =
      read({R"({"machine": {"costs": {"instruction": {"pause": "140cycles", "load": "3ns"}}}})",
            R"({"machine": {"costs": {"instruction": {"pause": "40cycles"}, "kvm": {"post": "1us"}}}})"},
           {"machine.costs.instruction.load=9cycles", "machine.costs.idle_states.C6.exit_latency=7us"});
  EXPECT_EQ(d.faults(), "");
  EXPECT_EQ(json::serialize(d.effective.at("machine").at("costs")),
            R"({"instruction":{"pause":"40cycles","load":"9cycles"},"idle_states":{"C6":{"exit_latency":"7us"}},)"
            R"("kvm":{"post":"1us"}})");
}

TEST(cost_overrides, reading_adds_to_what_is_there) {
  document d;
  d.hardware.costs = {{"kvm.post", "1us"}, {"instruction.pause", "7cycles"}};
  std::vector<config_error> errors;
  reading r{&errors, ""};
  document_record().read(json::parse(R"({"machine": {"costs": {"kvm": {"post": "2us", "block": "3us"}}}})"), &d, r);
  EXPECT_TRUE(errors.empty());
  EXPECT_EQ(d.hardware.costs, (overrides{{"instruction.pause", "7cycles"}, {"kvm.post", "2us"}, {"kvm.block", "3us"}}));
}

TEST(cost_overrides, every_cost_of_every_preset_can_be_set) {
  for (const preset_entry* e : presets()) {
    const preset& p = *find_preset(e->name);
    std::vector<std::string> all;
    for (const preset_quantity& q : p.quantities)
      if (q.is_cost()) all.push_back("machine.costs." + q.path + "=123cycles");
    const read_document d = read({"{}"}, all);
    EXPECT_EQ(d.faults(), "");
    EXPECT_EQ(d.is.hardware.costs.size(), all.size());
    for (const preset_quantity& now : make_preset({p.name, 0, d.is.hardware.costs}).quantities)
      if (now.is_cost()) EXPECT_EQ(now.converted.count(), 123u) << p.name << ' ' << now.path;
  }
}

TEST(cost_overrides, faults) {
  const auto fault = [](const std::string& override) { return read({"{}"}, {"machine.costs" + override}).faults(); };
  EXPECT_EQ(
      fault(".exit.feild=2us"),
      "machine.costs.exit.feild = \"2us\": unknown key; known here: record_information, save_guest_state, "
      "load_host_state, flush_translations, keep_translations, field, store_msr, load_msr, load_pdpte (did you mean "
      "\"field\"?)\n");
  EXPECT_EQ(
      fault(".exits.field=2us"),
      "machine.costs.exits = \"2us\": unknown key; known here: instruction, transfer, exit, entry, interrupt, apic, "
      "idle_states, kernel, kvm (did you mean \"exit\"?)\n");
  const std::string needed =
      ": a cost needs a unit: write it as text, e.g. \"140cycles\" (of the TSC), \"140core_cycles\", \"44ns\" or "
      "\"2us\"\n";
  for (const char* wrong : {"140", "140 parsec", "", "cycles", "-1ns", "1msx", "1..5ns", "nan", "0x10cycles"})
    EXPECT_EQ(fault(std::string{".exit.field="} + wrong),
              "machine.costs.exit.field = \"" + std::string{wrong} + '"' + needed);
  EXPECT_EQ(read({R"({"machine": {"costs": {"exit": {"field": 140}}}})"}).faults(),
            "machine.costs.exit.field = 140" + needed);
  EXPECT_EQ(fault(".exit.field=1000000000001ns"),
            "machine.costs.exit.field = \"1000000000001ns\": out of range: must be 0 .. 10^12\n");
  EXPECT_EQ(fault(".exit=2us"), "machine.costs.exit = \"2us\": must be an object {...}\n");
  EXPECT_EQ(fault("=2us"), "machine.costs = \"2us\": must be an object {...}\n");
  EXPECT_EQ(fault(".exit.field.value=2"),
            "machine.costs.exit.field.value = \"2\": there is nothing below a plain value\n");
}

TEST(cost_overrides, one_row_stands_for_all) {
  std::vector<parameter_row> rows;
  document_record().rows("", document_record().defaults(), "", rows);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].path, "machine.costs");
  EXPECT_EQ(rows[1].default_value, "as the preset has it");
  EXPECT_EQ(rows[1].description, "single costs instead of the preset's; `vmxsys list costs` has all of them");
}

}  // namespace
