#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <vmxsys/platform/command_line.hpp>
#include <vmxsys/platform/workers.hpp>

// The command line as its users meet it: what goes wrong, and what is left behind. Each call is a process of its own,
// because a run may elaborate SystemC.
namespace vmxsys::platform {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

struct outcome {
  int status;
  std::string out, err;
};

outcome call(const std::vector<std::string>& arguments) {
  const std::string text = run_in_workers(1, 1, [&](std::size_t) {
    std::ostringstream out, err;
    const int status = command_line_main(arguments, out, err);
    return json::serialize(json::array{status, out.str(), err.str()});
  })[0];
  const json::value v = json::parse(text);
  return {static_cast<int>(v.at(0).as_int64()), std::string{v.at(1).as_string()}, std::string{v.at(2).as_string()}};
}

class failures : public ::testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / ("vmxsys_failures_" + std::to_string(::getpid()));
    fs::remove_all(dir);
    fs::create_directories(dir);
    file = (dir / "run.json").string();
    std::ofstream{file} << R"({"until": "2ms", "machine": {"cores": 2},
        "vms": [{"name": "a", "vcpus": 2, "workload": {"name": "lock_bound", "work": "5us", "hold": "20us"}}]})";
  }
  void TearDown() override { fs::remove_all(dir); }

  void expect_failure(const std::vector<std::string>& arguments, int status, const std::vector<std::string>& says) {
    const outcome o = call(arguments);
    EXPECT_EQ(o.status, status) << o.err;
    EXPECT_TRUE(o.out.empty()) << o.out;
    for (const std::string& part : says) EXPECT_NE(o.err.find(part), std::string::npos) << part << " in\n" << o.err;
    expect_nothing_left();
  }
  void expect_nothing_left() {
    std::vector<std::string> names;
    for (const auto& e : fs::recursive_directory_iterator{dir}) names.push_back(e.path().filename().string());
    EXPECT_EQ(names, std::vector<std::string>{"run.json"});
  }

  fs::path dir;
  std::string file;
};

TEST_F(failures, files) {
  expect_failure({"run", (dir / "none.json").string()}, exit_files, {"none.json"});
  expect_failure({"run", dir.string()}, exit_files, {dir.string()});
  expect_failure({"run", file, "--out", file}, exit_files, {"cannot write", file});
  expect_failure({"run", file, "--out", (fs::path{file} / "x").string()}, exit_files, {"cannot write"});
  expect_failure({"run", file, "--out", "/proc/vmxsys"}, exit_files, {"/proc/vmxsys"});
  expect_failure({"run", file, "--trace", "kvm=" + (dir / "none" / "t").string()}, exit_files,
                 {"cannot write", "none"});
  expect_failure({"run", file, "--trace", "kvm=" + dir.string()}, exit_files, {"not a regular file"});
  expect_failure({"study", "ple_storm", "--out", file}, exit_files, {"cannot write"});
}

TEST_F(failures, configurations) {
  expect_failure({"run", file, "-p", "machine.cores=0"}, exit_usage, {"machine.cores"});
  expect_failure({"run", file, "-p", "machine.memory=1MiB"}, exit_usage, {"memory"});
  expect_failure({"run", file, "-p", "vms[0].memory=32GiB"}, exit_usage, {"memory"});
  expect_failure({"run", file, "--until", "-3ms"}, exit_usage, {"until", "-3ms"});
  expect_failure({"run", file, "-p", "host.spin_policy=ipi_reciever"}, exit_usage,
                 {"host.spin_policy", "did you mean \"ipi_receivers\""});
  expect_failure({"run", file, "-p", "host.spin_polcy=none"}, exit_usage, {"did you mean \"spin_policy\""});
  expect_failure({"run", file, "-p", "machine.cores=0", "-p", "host.hz=1", "-p", "vms[0].vcpus=x"}, exit_usage,
                 {"machine.cores", "host.hz", "vms[0].vcpus"});
  expect_failure({"study", "ple_strom"}, exit_usage, {"did you mean \"ple_storm\""});
  expect_failure({"study", "ple_storm", "-p", "host.hz=1"}, exit_usage, {"host.hz"});
}

TEST_F(failures, broken_json) {
  std::ofstream{file} << "{\"until\": ";
  expect_failure({"run", file}, exit_usage, {file});
}

TEST_F(failures, a_full_disk_is_status_3_and_leaves_nothing) {
  if (!fs::exists("/dev/full")) GTEST_SKIP();
  expect_failure({"run", file, "--trace", "kvm=/dev/full"}, exit_files, {"/dev/full"});
}

TEST_F(failures, json_carries_the_errors) {
  const outcome o = call({"run", file, "-p", "host.hz=1", "--json"});
  EXPECT_EQ(o.status, exit_usage);
  const json::value v = json::parse(o.out);
  EXPECT_EQ(v.at("schema").as_int64(), 1);
  EXPECT_EQ(v.at("errors").at(0).at("path").as_string(), "host.hz");
  expect_nothing_left();
}

TEST_F(failures, a_warning_is_none) {
  const outcome o = call({"run", file, "-p", "host.ple_window_shrink=8192", "--json", "--quiet"});
  ASSERT_EQ(o.status, exit_ok) << o.err;
  EXPECT_EQ(o.err.rfind("warning: host.ple_window_shrink = 8192: ", 0), 0u) << o.err;
  EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
  const json::value v = json::parse(o.out);
  EXPECT_EQ(v.at("warnings").as_array().size(), 1u);
  EXPECT_EQ(v.at("warnings").at(0).at("path").as_string(), "host.ple_window_shrink");
  EXPECT_EQ(v.at("warnings").at(0).at("value").as_string(), "8192");
  const outcome none = call({"run", file, "--json", "--quiet"});
  EXPECT_TRUE(none.err.empty()) << none.err;
  EXPECT_TRUE(json::parse(none.out).at("warnings").as_array().empty());
}

TEST_F(failures, none_in_a_run_with_every_output) {
  const fs::path out = dir / "results" / "here", trace = dir / "trace.txt";
  const outcome o = call({"run", file, "--json", "--quiet", "--out", out.string(), "--trace", "kvm=" + trace.string()});
  ASSERT_EQ(o.status, exit_ok) << o.err;
  EXPECT_TRUE(o.err.empty()) << o.err;
  const json::value v = json::parse(o.out);
  EXPECT_GE(v.at("schema").as_int64(), 1);
  EXPECT_EQ(v.at("fact_hash").as_string().size(), 16u);
  EXPECT_TRUE(v.as_object().contains("ple_exits"));
  EXPECT_TRUE(v.as_object().contains("longest_run"));
  EXPECT_GT(v.at("vms").at(0).at("work").to_number<std::int64_t>(), 10);
  std::vector<std::string> names;
  for (const auto& e : fs::directory_iterator{out}) names.push_back(e.path().filename().string());
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{"effective.json", "stats.json"}));
  std::ifstream stats{out / "stats.json"};
  const std::string text{std::istreambuf_iterator<char>{stats}, {}};
  EXPECT_EQ(json::parse(text), v);
  EXPECT_GT(fs::file_size(trace), 1000u);
  // The effective configuration is the same run.
  const outcome again = call({"run", (out / "effective.json").string(), "--json", "--quiet"});
  ASSERT_EQ(again.status, exit_ok) << again.err;
  EXPECT_EQ(json::parse(again.out).at("fact_hash"), v.at("fact_hash"));
}

TEST_F(failures, exit_status_0_2_3) {
  EXPECT_EQ(call({"run", file, "-q"}).status, exit_ok);
  EXPECT_EQ(call({"check", file}).status, exit_ok);
  EXPECT_EQ(call({"rum", file}).status, exit_usage);
  EXPECT_EQ(call({"check", (dir / "none").string()}).status, exit_files);
}

}  // namespace
}  // namespace vmxsys::platform
