#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <iterator>
#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#endif
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

#include "command_line_call.hpp"

// The command line as its users meet it: what goes wrong, and what is left behind. Each call is a process of its own,
// because a run may elaborate SystemC.
namespace vmxsys::platform {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

using platform_tests::outcome;

outcome call(const std::vector<std::string>& arguments, const std::function<void()>& before = {}) {
  const std::string text = run_in_workers(1, 1, [&](std::size_t) {
    std::ostringstream out, err;
    if (before) before();
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
    const outcome o = call(arguments, before);
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
  std::function<void()> before;  ///< in the process of the command
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

TEST_F(failures, a_trace_goes_into_a_file) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  expect_failure({"run", file, "--trace", "kvm=/dev/full"}, exit_files, {"/dev/full"});
}

/// Files of a process of this size at most: a full disk that needs no mount.
std::function<void()> files_of(std::uint64_t bytes) {
  return [bytes] {
    const ::rlimit limit{bytes, bytes};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  };
}

TEST_F(failures, a_file_that_may_not_grow_says_so_and_leaves_nothing) {
  const std::string out = (dir / "out" / "here").string(), trace = (dir / "t").string();
  before = files_of(0);
  expect_failure({"run", file, "--out", out}, exit_files, {"cannot write", "effective.json: File too large"});
  expect_failure({"study", "timer_ladder", "--until", "6ms", "--out", out}, exit_files, {"json: File too large"});
  before = files_of(4096);  // effective.json fits
  expect_failure({"run", file, "--out", out}, exit_files, {"stats.json: File too large"});
  before = files_of(30'000);  // stats.json, too; the run fails where the trace does
  expect_failure({"run", file, "--until", "200ms", "--out", out, "--trace", "kvm=" + trace}, exit_files,
                 {"cannot write " + trace + ": File too large"});
}

TEST_F(failures, an_older_result_stays_when_the_new_one_has_no_room) {
  const fs::path out = dir / "out";
  fs::create_directories(out);
  std::ofstream{out / "stats.json"} << "older";
  before = files_of(4096);
  EXPECT_EQ(call({"run", file, "--out", out.string()}, before).status, exit_files);
  std::string text;
  std::getline(std::ifstream{out / "stats.json"}, text);
  EXPECT_EQ(text, "older");
  EXPECT_EQ(std::distance(fs::directory_iterator{out}, fs::directory_iterator{}), 1);
}

#ifdef __linux__
/// What is in a small file system of this process's own after the command has run, beside how that ended.
outcome on_a_small_disk(const fs::path& disk, const char* size, const std::vector<std::string>& arguments,
                        std::string& left) {
  const std::string text = run_in_workers(1, 1, [&](std::size_t) -> std::string {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", disk.c_str(), "tmpfs", 0, size) != 0)
      return json::serialize(json::array{-1, std::strerror(errno), "", ""});
    std::ostringstream out, err;
    const int status = command_line_main(arguments, out, err);
    std::string names;
    for (const auto& e : fs::recursive_directory_iterator{disk}) names += e.path().filename().string() + '\n';
    return json::serialize(json::array{status, out.str(), err.str(), names});
  })[0];
  const json::value v = json::parse(text);
  left = std::string{v.at(3).as_string()};
  return {static_cast<int>(v.at(0).as_int64()), std::string{v.at(1).as_string()}, std::string{v.at(2).as_string()}};
}

TEST_F(failures, a_full_disk_is_told_and_leaves_nothing) {
  const fs::path disk = dir / "disk";
  fs::create_directories(disk);
  const std::string out = (disk / "out").string(), trace = (disk / "t").string();
  std::string left;
  const outcome run = on_a_small_disk(disk, "size=8k", {"run", file, "--out", out}, left);
  if (run.status == -1) GTEST_SKIP() << "no file system can be mounted here: " << run.out;
  EXPECT_EQ(run.status, exit_files);
  EXPECT_NE(run.err.find("stats.json: No space left on device"), std::string::npos) << run.err;
  EXPECT_EQ(left, "");
  const outcome study =
      on_a_small_disk(disk, "size=8k", {"study", "timer_ladder", "--until", "6ms", "--out", out}, left);
  EXPECT_EQ(study.status, exit_files);
  EXPECT_NE(study.err.find("No space left on device"), std::string::npos) << study.err;
  EXPECT_EQ(left, "");
  const outcome traced = on_a_small_disk(
      disk, "size=64k", {"run", file, "--until", "200ms", "--out", out, "--trace", "kvm=" + trace}, left);
  EXPECT_EQ(traced.status, exit_files);
  EXPECT_NE(traced.err.find(trace + ": No space left on device"), std::string::npos) << traced.err;
  EXPECT_EQ(left, "");
}
#endif

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
  EXPECT_TRUE(v.as_object().contains("longest_exit_streak"));
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
