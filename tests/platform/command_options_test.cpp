#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <vmxsys/platform/machine/config_loader.hpp>

#include "command_line_call.hpp"

// Which command takes which option; what a document may not say twice; defaults of nested parameters.
namespace {

using namespace vmxsys::platform;
using namespace vmxsys::platform_tests;
namespace fs = std::filesystem;

std::vector<parameter_row> all_rows() {
  std::vector<parameter_row> rows;
  run_config_type().rows("", run_config_type().defaults(), "", rows);
  return rows;
}

TEST(command_options, what_a_command_has_no_use_for_is_refused) {
  const std::vector<std::vector<std::string>> refused{
      {"study", "ple_storm", "--trace", "kvm=t"},
      {"check", "f", "--trace", "kvm=t"},
      {"list", "--trace", "kvm=t"},
      {"study", "ple_storm", "-e", "kvm_exit"},
      {"run", "f", "--jobs", "2"},
      {"check", "f", "--jobs", "2"},
      {"list", "--jobs", "2"},
      {"check", "f", "--out", "d"},
      {"list", "--out", "d"},
      {"list", "-p", "seed=2"},
      {"list", "--until", "1ms"},
      {"list", "--seed", "1"},
      {"list", "--stepped"},
  };
  for (const auto& arguments : refused) {
    const outcome got = call(arguments);
    EXPECT_EQ(got.status, exit_usage) << got.err;
    EXPECT_NE(got.err.find("has no use for --"), std::string::npos) << got.err;
    EXPECT_TRUE(got.out.empty());
    EXPECT_FALSE(fs::exists("d"));
  }
  EXPECT_TRUE(parse_command_line({"run", "f", "--out", "d", "--trace", "kvm=t", "--stepped"}).to_do);
  EXPECT_TRUE(parse_command_line({"study", "s", "--out", "d", "--jobs", "2", "-p", "seed=2"}).to_do);
  EXPECT_TRUE(parse_command_line({"check", "f", "-p", "seed=2", "--json"}).to_do);
}

TEST(command_options, results_and_their_configuration_come_together) {
  const fs::path dir = fs::temp_directory_path() / ("vmxsys_options_" + std::to_string(::getpid()));
  fs::create_directories(dir);
  const std::string file = (dir / "run.json").string();
  std::ofstream{file} << R"({"until": "1ms", "vms": [{"name": "a"}]})";
  const outcome bad = call({"run", file, "--out", (dir / "bad").string(), "-p", "until=0ns"});
  EXPECT_EQ(bad.status, exit_usage);
  EXPECT_FALSE(fs::exists(dir / "bad" / "effective.json"));
  fs::remove_all(dir);
}

TEST(command_options, help_quotes_brackets) {
  EXPECT_NE(call({"--help"}).out.find("-p 'vms[0].vcpus=4'"), std::string::npos);
}

std::string faults(const std::string& text) { return load_config_text(text, {}, "f.json").report(); }

TEST(duplicate_keys, are_faults_with_their_path) {
  EXPECT_EQ(faults(R"({"seed": 1, "vms": [{"name": "a"}], "seed": 2})"), "f.json: seed: given twice in one object\n");
  EXPECT_EQ(faults(R"({"vms": [{"name": "a"}, {"name": "b", "guest": {"hz": 100, "lock": "ticket", "hz": 100}}]})"),
            "f.json: vms[1].guest.hz: given twice in one object\n");
  EXPECT_EQ(faults(R"({"vms": [{"name": "a", "vcpus": 1}, {"name": "b", "vcpus": 1}]})"), "");
}

TEST(nested_defaults, are_those_of_the_struct_around) {
  const auto row = [](const std::string& path) {
    for (const parameter_row& r : all_rows())
      if (r.path == path) return r.default_value;
    return "no row " + path;
  };
  EXPECT_EQ(row("vms[].workload.work.kind"), "exponential");
  EXPECT_EQ(row("vms[].workload.work.mean"), "10us");
  EXPECT_EQ(row("vms[].workload.hold.kind"), "fixed");
  EXPECT_EQ(row("vms[].workload.hold.mean"), "1us");
  EXPECT_EQ(row("vms[].workload.hold.min"), "none");
  EXPECT_EQ(row("host.scheduler.latency"), "as the entry has it");
}

}  // namespace
