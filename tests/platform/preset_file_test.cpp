#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unistd.h>

#include <vmxsys/platform/presets/preset.hpp>

// Presets of the user's, and what a request sets.
namespace {

using namespace vmxsys;
using namespace vmxsys::platform;
namespace fs = std::filesystem;

class preset_file : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(directory_);
    fs::create_directories(directory_ / "sub");
  }
  void TearDown() override { fs::remove_all(directory_); }

  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream{directory_ / name} << text;
    return (directory_ / name).string();
  }
  /// What make_preset says of it; file names without their directory.
  std::string fault_of(const preset_request& request) const {
    try {
      make_preset(request);
    } catch (const std::invalid_argument& e) {
      std::string text = e.what();
      const std::string prefix = directory_.string() + '/';
      for (std::size_t at; (at = text.find(prefix)) != std::string::npos;) text.erase(at, prefix.size());
      return text;
    }
    return "accepted";
  }
  std::string fault_in(const std::string& text) const { return fault_of({file("mine.json", text)}); }

  const fs::path directory_ =
      fs::path{::testing::TempDir()} / ("vmxsys_preset_" + std::to_string(static_cast<long>(::getpid())));
};

const preset_quantity& quantity(const preset& p, const std::string& path) {
  for (const preset_quantity& q : p.quantities)
    if (q.path == path) return q;
  throw std::out_of_range{path};
}

/// skylake_sp, which holds every number, with one piece replaced.
std::string changed(const std::string& from, const std::string& to) {
  std::string text = presets().find("skylake_sp")->text;
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

std::string number(const std::string& value, const std::string& unit) {
  return R"({"value": )" + value + R"(, "unit": ")" + unit +
         R"(", "source": "measured here", "status": "published", "range": [0, 9e9]})";
}

// ---- bases ----

TEST_F(preset_file, holds_differences_only) {
  const preset mine =
      make_preset({file("mine.json", R"({"name": "mine", "base": "skylake_sp", "instruction": {"pause": )" +
                                         number("127", "core_cycles") + "}}")});
  const preset& base = *find_preset("skylake_sp");
  EXPECT_EQ(mine.name, "mine");
  EXPECT_EQ(mine.description, base.description);
  EXPECT_EQ(mine.capabilities, base.capabilities);
  EXPECT_EQ(mine.costs.instruction.pause.count(), 100u);
  EXPECT_EQ(quantity(mine, "instruction.pause").source, "measured here");
  ASSERT_EQ(mine.quantities.size(), base.quantities.size());
  for (std::size_t i = 0; i < base.quantities.size(); ++i) {
    if (base.quantities[i].path == "instruction.pause") continue;
    EXPECT_EQ(mine.quantities[i].source, base.quantities[i].source);
    EXPECT_EQ(mine.quantities[i].value, base.quantities[i].value);
  }
}

TEST_F(preset_file, a_clock_of_its_own_converts_what_it_inherits) {
  const preset mine = make_preset(
      {file("mine.json", R"({"name": "mine", "base": "skylake_sp", "tsc_khz": )" + number("2000000", "kHz") +
                             R"(, "core_per_tsc": )" + number("1", "ratio") + "}")});
  EXPECT_EQ(mine.costs.instruction.pause.count(), 140u);    // core_cycles
  EXPECT_EQ(mine.costs.transfer.same_socket.count(), 94u);  // 47 ns
  EXPECT_EQ(mine.round_trip.count(), 516u);                 // cycles
}

TEST_F(preset_file, a_list_is_replaced_as_a_whole) {
  const preset mine = make_preset({file("mine.json", R"({"name": "mine", "base": "haswell_ep", "description": "ours",
    "idle_states": [{"name": "POLL", "exit_latency": )" + number("1", "cycles") +
                                                         R"(, "target_residency": )" + number("1", "us") + "}]}")});
  EXPECT_EQ(mine.description, "ours");
  ASSERT_EQ(mine.costs.idle_states.size(), 1u);
  EXPECT_EQ(mine.costs.idle_states[0].name, "POLL");
  EXPECT_EQ(quantity(mine, "idle_states.POLL.target_residency").converted.count(), 2500u);
}

TEST_F(preset_file, a_quantity_is_replaced_as_a_whole) {
  EXPECT_EQ(fault_in(R"({"name": "mine", "base": "flat", "instruction": {"pause": {"value": 50}}})"),
            "mine.json: instruction.pause.unit: text is needed\n"
            "mine.json: instruction.pause.source: text is needed\n"
            "mine.json: instruction.pause.status: text is needed\n"
            "mine.json: instruction.pause.range: [lowest, highest] is needed");
}

TEST_F(preset_file, a_base_may_be_a_file_beside_it) {
  file("base.json", R"({"name": "base", "base": "flat", "description": "base of ours", "instruction": {"pause": )" +
                        number("50", "cycles") + R"(, "load": )" + number("6", "cycles") + "}}");
  const preset mine =
      make_preset({file("sub/mine.json", R"({"name": "mine", "base": "../base.json", "instruction": {"load": )" +
                                             number("7", "cycles") + "}}")});
  EXPECT_EQ(mine.description, "base of ours");
  EXPECT_EQ(mine.costs.instruction.pause.count(), 50u);
  EXPECT_EQ(mine.costs.instruction.load.count(), 7u);
  EXPECT_EQ(mine.costs.instruction.store.count(), 5u);
}

TEST_F(preset_file, a_name_is_its_own) {
  EXPECT_EQ(fault_in(R"({"base": "flat"})"), "mine.json: name: text is needed");
}

TEST_F(preset_file, a_base_that_is_none) {
  EXPECT_EQ(fault_in(R"({"name": "mine", "base": "skylak_sp"})"),
            "mine.json: base = \"skylak_sp\": no preset; must be one of: haswell_ep, skylake_sp, "
            "cascade_lake_sp, sapphire_rapids_sp, hypothetical_apic_timer, flat, or a file (its name ends in .json or "
            "holds a '/') "
            "(did you mean \"skylake_sp\"?)");
  EXPECT_EQ(fault_in(R"({"name": "mine", "base": "other.json"})"),
            "mine.json: base = \"other.json\": no such file: other.json");
  EXPECT_EQ(fault_in(R"({"name": "mine", "base": 3})"),
            "mine.json: base = 3: must be the name of a preset, or a file name");
  EXPECT_EQ(fault_in(R"({"name": "mine", "base": "mine.json"})"),
            "mine.json: base = \"mine.json\": is its own base, directly or through another preset");
  file("other.json", R"({"name": "other", "base": "sub/../mine.json"})");
  EXPECT_EQ(fault_in(R"({"name": "mine", "base": "./other.json"})"),
            "./other.json: base = \"sub/../mine.json\": is its own base, directly or through another preset");
}

TEST_F(preset_file, bases_are_nested_16_deep_at_most) {
  file("0.json", R"({"name": "0", "base": "flat"})");
  std::string last;
  for (int i = 1; i <= 16; ++i)
    last = file(std::to_string(i) + ".json", R"({"name": "n", "base": ")" + std::to_string(i - 1) + R"(.json"})");
  EXPECT_EQ(fault_of({(directory_ / "15.json").string()}), "accepted");
  EXPECT_EQ(fault_of({last}), "0.json: base = \"flat\": bases are nested more than 16 deep");
}

// ---- faults ----

TEST_F(preset_file, files_that_are_none) {
  EXPECT_EQ(fault_of({"skylke_sp"}).substr(0, 47), "preset = \"skylke_sp\": no preset; must be one of");
  EXPECT_EQ(fault_of({(directory_ / "nothing").string()}), "preset = \"nothing\": no such file: nothing");
  EXPECT_EQ(fault_of({(directory_ / "sub").string()}), "preset = \"sub\": not a regular file: sub");
  EXPECT_EQ(fault_in("{"), "mine.json: not JSON at line 1, column 2: incomplete JSON");
  EXPECT_EQ(fault_in("[]"), "mine.json: a preset is an object {...}");
  EXPECT_EQ(fault_in(R"({"name": "a", "name": "b", "base": "flat"})"), "mine.json: name: given twice in one object");
}

TEST_F(preset_file, larger_than_a_mebibyte_is_none) {
  std::string text = R"({"name": "mine", "base": "flat"})";
  text.resize(1 << 20, ' ');
  EXPECT_EQ(fault_in(text), "accepted");
  EXPECT_EQ(fault_in(text + ' '), "preset = \"mine.json\": larger than 1MiB, which no preset is: mine.json");
}

TEST_F(preset_file, every_fault_names_the_file_it_is_in) {
  file("base.json", changed("\"pause\"", "\"paus\""));
  const std::string all =
      fault_in(R"({"name": "mine", "base": "base.json", "capabilities": "skylake_ps", "descripton": "",
                   "kvm": {"post": 80, "postt": 80}, "tsc_khz": )" +
               number("99999", "kHz") + "}");
  std::string heads, likes;
  std::istringstream lines{all};
  for (std::string line; std::getline(lines, line);) {
    heads += line.substr(0, line.find(' ', line.find(' ') + 1)) + '\n';
    if (const auto like = line.find("(did"); like != std::string::npos) likes += line.substr(like) + '\n';
  }
  EXPECT_EQ(heads,
            "mine.json: descripton\n"
            "mine.json: capabilities\n"
            "mine.json: tsc_khz.value\n"
            "base.json: instruction.pause:\n"
            "base.json: instruction.paus\n"
            "mine.json: kvm.post\n"
            "mine.json: kvm.postt\n");
  EXPECT_EQ(likes,
            "(did you mean \"description\"?)\n"
            "(did you mean \"skylake_sp\"?)\n"
            "(did you mean \"pause\"?)\n"
            "(did you mean \"post\"?)\n");
}

TEST_F(preset_file, faults_of_quantities) {
  EXPECT_EQ(fault_in(changed("\"status\": \"published\"", "\"status\": \"publishd\"")),
            "mine.json: tsc_khz.status = \"publishd\": must be one of: published, derived, assumed (did you mean "
            "\"published\"?)");
  EXPECT_EQ(
      fault_in(changed("\"unit\": \"core_cycles\"", "\"unit\": \"core_cycle\"")),
      "mine.json: instruction.pause.unit = \"core_cycle\": must be one of: cycles, core_cycles, ns, us (did you mean "
      "\"core_cycles\"?)");
  EXPECT_EQ(fault_in(changed("\"range\": [138, 140]", "\"range\": [138, 139]")),
            "mine.json: instruction.pause.range = [138,139]: does not hold the value");
  EXPECT_EQ(fault_in(changed("\"value\": 140", "\"value\": -1")),
            "mine.json: instruction.pause.value = -1: a number of 0 .. 10^12 is needed\n"
            "mine.json: instruction.pause.range = [138,140]: does not hold the value");
  EXPECT_EQ(fault_in(changed("\"record_information\": {\"value\": 44", "\"record_information\": {\"value\": 45")),
            "mine.json: round_trip = 516: the micro-steps of exit and entry add up to 517 cycles");
  EXPECT_EQ(fault_in(changed("\"C1E\"", "\"C1\"")),
            "mine.json: idle_states[1].name = \"C1\": is the name of another state");
  EXPECT_EQ(fault_in(changed("\"C1E\"", "\"C1.E\"")),
            "mine.json: idle_states[1].name = \"C1.E\": must not hold . [ ] =");
  EXPECT_EQ(fault_in(changed("\"name\": \"skylake_sp\"", "\"name\": \"\"")), "mine.json: name = \"\": text is needed");
}

TEST_F(preset_file, clocks_have_limits) {
  const auto with_clock = [&](const std::string& khz, const std::string& ratio) {
    return fault_in(R"({"name": "mine", "base": "flat", "tsc_khz": )" + number(khz, "kHz") + R"(, "core_per_tsc": )" +
                    number(ratio, "ratio") + "}");
  };
  EXPECT_EQ(with_clock("100000", "0.1"), "accepted");
  EXPECT_EQ(with_clock("10000000", "10"), "accepted");
  EXPECT_EQ(with_clock("99999", "0.09"),
            "mine.json: tsc_khz.value = 99999: out of range: must be 100000 .. 10000000\n"
            "mine.json: core_per_tsc.value = 9E-2: out of range: must be 0.1 .. 10");
}

TEST_F(preset_file, an_instruction_takes_time) {
  const auto with = [&](const std::string& name, const std::string& value) {
    return fault_in(R"({"name": "mine", "base": "flat", "instruction": {")" + name + "\": " + number(value, "cycles") +
                    "}}");
  };
  EXPECT_EQ(with("pause", "0"), "mine.json: instruction.pause.value = 0: an instruction takes time");
  EXPECT_EQ(with("pause", "0.001"), "accepted") << "rounds to a cycle, never to none";
  EXPECT_EQ(with("bitmap_lookup", "0"), "accepted") << "part of an instruction";
}

// ---- requests ----

TEST_F(preset_file, a_core_clock_converts_core_cycles_only) {
  const preset slow = make_preset({"skylake_sp", 100});
  EXPECT_EQ(slow.core_per_tsc, 1.0);
  EXPECT_EQ(slow.costs.instruction.pause.count(), 140u);
  EXPECT_EQ(slow.costs.instruction.wrmsr.count(), 50u);
  EXPECT_EQ(slow.costs.transfer.same_socket.count(), find_preset("skylake_sp")->costs.transfer.same_socket.count());
  EXPECT_EQ(quantity(slow, "core_per_tsc").source, "set in the configuration");
  EXPECT_EQ(quantity(slow, "round_trip").source, quantity(*find_preset("skylake_sp"), "round_trip").source);
  EXPECT_EQ(fault_of({"flat", 10}), "accepted");
  EXPECT_EQ(fault_of({"flat", 1000}), "accepted");
  EXPECT_EQ(fault_of({"flat", 9}), "core_clock_percent = 9: out of range: must be 10 .. 1000, or 0");
  EXPECT_EQ(fault_of({"flat", 1001}), "core_clock_percent = 1001: out of range: must be 10 .. 1000, or 0");
}

TEST_F(preset_file, a_core_clock_moves_the_round_trip_when_its_steps_are_core_cycles) {
  const std::string mine =
      file("mine.json", R"({"name": "mine", "base": "flat", "round_trip": )" + number("510", "cycles") +
                            R"(, "exit": {"record_information": )" + number("60", "core_cycles") + "}}");
  const std::uint64_t before = find_preset("flat")->costs.exit.record_information.count();
  ASSERT_EQ(before, 50u);
  EXPECT_EQ(make_preset({mine}).round_trip.count(), 510u);
  EXPECT_EQ(make_preset({mine, 200}).round_trip.count(), 480u);
}

TEST_F(preset_file, a_cost_that_is_set_says_so) {
  const preset p = make_preset({"skylake_sp",
                                0,
                                {{"instruction.pause", "127core_cycles"},
                                 {"transfer.same_socket", "50ns"},
                                 {"kvm.post", "1.5us"},
                                 {"kernel.tick", "7 cycles"},
                                 {"idle_states.C1E.exit_latency", "3us"}}});
  EXPECT_EQ(p.costs.instruction.pause.count(), 100u);
  EXPECT_EQ(p.costs.transfer.same_socket.count(), 130u);
  EXPECT_EQ(p.kvm.post.count(), 3900u);
  EXPECT_EQ(p.kernel.tick.count(), 7u);
  EXPECT_EQ(p.costs.idle_states[1].exit_latency.count(), 7800u);
  EXPECT_EQ(p.costs.idle_states[0].exit_latency, find_preset("skylake_sp")->costs.idle_states[0].exit_latency);
  const preset_quantity& q = quantity(p, "instruction.pause");
  EXPECT_EQ(q.value, 127);
  EXPECT_EQ(q.unit, "core_cycles");
  EXPECT_EQ(q.source, "set in the configuration");
  EXPECT_EQ(q.status, provenance::assumed);
  EXPECT_EQ(q.lowest, 127);
  EXPECT_EQ(q.highest, 127);
  EXPECT_EQ(p.quantities.size(), find_preset("skylake_sp")->quantities.size());
}

TEST_F(preset_file, of_two_that_set_a_cost_the_later_counts_and_it_follows_the_core_clock) {
  const preset p = make_preset({"skylake_sp", 200, {{"kvm.post", "10cycles"}, {"kvm.post", "10core_cycles"}}});
  EXPECT_EQ(p.kvm.post.count(), 5u);
}

TEST_F(preset_file, a_step_that_is_set_moves_the_round_trip) {
  const preset p =
      make_preset({"skylake_sp", 0, {{"exit.save_guest_state", "200cycles"}, {"entry.check_controls", "45cycles"}}});
  EXPECT_EQ(p.round_trip.count(), 516u + (200 - 112) - 1);
  const preset_quantity& q = quantity(p, "round_trip");
  EXPECT_EQ(q.converted, p.round_trip);
  EXPECT_EQ(q.value, 603);
  EXPECT_EQ(q.source, "sum of the micro-steps as set in the configuration");
  EXPECT_EQ(make_preset({"skylake_sp", 0, {{"exit.field", "9cycles"}}}).round_trip.count(), 516u) << "no part of it";
}

TEST_F(preset_file, costs_that_cannot_be_set) {
  EXPECT_EQ(
      fault_of({"flat",
                0,
                {{"instruction.paus", "1"},
                 {"post", "2us"},
                 {"round_trip", "500cycles"},
                 {"idle_states.C9.exit_latency", "1us"},
                 {"kvm.post", "0.5ms"}}}),
      "instruction.paus = \"1\": a cost needs a unit: write it as text, e.g. \"140cycles\" (of the TSC), "
      "\"140core_cycles\", \"44ns\" or \"2us\"\n"
      "instruction.paus = \"1\": no single cost of preset flat; `vmxsys list costs` has all of them (did you mean "
      "\"instruction.pause\"?)\n"
      "post = \"2us\": no single cost of preset flat; `vmxsys list costs` has all of them (did you mean "
      "\"kvm.post\"?)\n"
      "round_trip = \"500cycles\": no single cost of preset flat; `vmxsys list costs` has all of them\n"
      "idle_states.C9.exit_latency = \"1us\": no single cost of preset flat; `vmxsys list costs` has all of them "
      "(did you mean \"idle_states.C1.exit_latency\"?)\n"
      "kvm.post = \"0.5ms\": a cost needs a unit: write it as text, e.g. \"140cycles\" (of the TSC), "
      "\"140core_cycles\", \"44ns\" or \"2us\"");
  EXPECT_EQ(fault_of({"flat", 0, {{"instruction.pause", "0cycles"}}}),
            "instruction.pause.value = 0: an instruction takes time");
  EXPECT_EQ(fault_of({"flat", 0, {{"kvm.post", "1000000000000cycles"}}}), "accepted");
  EXPECT_EQ(fault_of({"flat", 0, {{"kvm.post", "1000000000001cycles"}}}),
            "kvm.post = \"1000000000001cycles\": out of range: must be 0 .. 10^12");
  EXPECT_EQ(fault_of({"haswell_ep", 0, {{"idle_states.C3.exit_latency", "1us"}}}), "accepted");
  EXPECT_NE(fault_of({"skylake_sp", 0, {{"idle_states.C3.exit_latency", "1us"}}}), "accepted") << "it has no C3";
}

}  // namespace
