#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

#include <vmxsys/platform/cli/list.hpp>
#include <vmxsys/platform/run/output_file.hpp>

#include "command_line_call.hpp"

namespace {

using namespace vmxsys::platform;
using namespace vmxsys::platform_tests;
namespace fs = std::filesystem;

class in_a_directory : public testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / ("vmxsys_command_" + std::to_string(::getpid()));
    fs::create_directories(dir);
    std::ofstream{dir / "run.json"} << R"({"vms": [{"name": "a", "vcpus": 2}]})";
    file = (dir / "run.json").string();
  }
  void TearDown() override { fs::remove_all(dir); }
  std::size_t files_in(const fs::path& where) const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator{where}, fs::directory_iterator{}));
  }
  fs::path dir;
  std::string file;
};

TEST(command_line, all_options) {
  const command_line line =
      parse_command_line({"run", "a.json", "-p", "vms[0].vcpus=4", "--until", "1ms", "-p", "seed=2", "--seed", "3",
                          "--out", "o", "--trace", "kvm=t.txt", "--stepped", "--json", "--quiet"});
  ASSERT_TRUE(line.to_do) << line.text;
  const options& o = *line.to_do;
  EXPECT_EQ(o.command, "run");
  EXPECT_EQ(o.argument, "a.json");
  EXPECT_EQ(o.overrides,
            (std::vector<std::string>{"vms[0].vcpus=4", "seed=2", "until=1ms", "seed=3", "machine.stepped=true"}));
  EXPECT_EQ(o.out, fs::path{"o"});
  ASSERT_EQ(o.traces.size(), 1u);
  EXPECT_EQ(o.traces[0].format, "kvm");
  EXPECT_EQ(o.traces[0].file, fs::path{"t.txt"});
  EXPECT_TRUE(o.tracepoints.empty());
  EXPECT_TRUE(o.json);
  EXPECT_TRUE(o.quiet);
  const command_line study = parse_command_line({"study", "ple_storm", "--jobs", "4"});
  ASSERT_TRUE(study.to_do) << study.text;
  EXPECT_EQ(study.to_do->jobs, 4u);
}

TEST(command_line, traces) {
  const command_line line = parse_command_line(
      {"run", "a.json", "--trace", "kvm_stat=s", "-e", "kvm_exit,sched:*", "--trace", "kvm=-", "--event", "kvm_entry"});
  ASSERT_TRUE(line.to_do) << line.text;
  ASSERT_EQ(line.to_do->traces.size(), 2u);
  EXPECT_EQ(line.to_do->traces[0].format, "kvm_stat");
  EXPECT_FALSE(line.to_do->traces[0].to_standard_output());
  EXPECT_EQ(line.to_do->traces[1].format, "kvm");
  EXPECT_TRUE(line.to_do->traces[1].to_standard_output());
  EXPECT_EQ(line.to_do->tracepoints, (std::vector<std::string>{"kvm_exit", "sched:*", "kvm_entry"}));
}

TEST(command_line, help_and_version) {
  EXPECT_EQ(call({"--help"}).status, exit_ok);
  EXPECT_HAS(call({"--help"}).out, "vmxsys run FILE");
  EXPECT_HAS(call({"--version"}).out, "vmxsys ");
  EXPECT_EQ(call({}).status, exit_usage);
  EXPECT_HAS(call({}).err, "vmxsys run FILE");
}

TEST(command_line, mistakes_name_the_nearest) {
  EXPECT_HAS(call({"rum", "x"}).err, "no command \"rum\" (did you mean \"run\"?)");
  EXPECT_HAS(call({"run", "x", "--util=1ms"}).err, "did you mean \"--until\"?");
  EXPECT_HAS(call({"list", "parameter"}).err, "did you mean \"parameters\"?");
  for (const std::vector<std::string>& wrong : std::vector<std::vector<std::string>>{{"rum"},
                                                                                     {"run"},
                                                                                     {"check"},
                                                                                     {"study"},
                                                                                     {"study", "nothing"},
                                                                                     {"run", "a", "b"},
                                                                                     {"study", "s", "--jobs", "0"},
                                                                                     {"study", "s", "--jobs", "x"},
                                                                                     {"run", "a", "--trace"},
                                                                                     {"run", "a", "-p", "seed"},
                                                                                     {"run", "a", "-p"},
                                                                                     {"run", "a", "--json=1"},
                                                                                     {"run", "a", "--see", "1"},
                                                                                     {"run", "a", "-z"},
                                                                                     {"run", "a", "--until"},
                                                                                     {"-"},
                                                                                     {"run", ""}}) {
    EXPECT_EQ(call(wrong).status, exit_usage);
    EXPECT_FALSE(call(wrong).err.empty());
    EXPECT_TRUE(call(wrong).out.empty());
  }
}

TEST_F(in_a_directory, check) {
  const outcome good = call({"check", file});
  EXPECT_EQ(good.status, exit_ok) << good.err;
  EXPECT_HAS(good.out, "\"ple_window\": 4096");
  const outcome bad = call({"check", file, "-p", "vms[0].vcpu=3"});
  EXPECT_EQ(bad.status, exit_usage);
  EXPECT_HAS(bad.err, "did you mean \"vcpus\"?");
  const outcome json = call({"check", file, "-p", "machine.cores=0", "--json"});
  EXPECT_EQ(json.status, exit_usage);
  EXPECT_HAS(json.out, "\"schema\":1");
  EXPECT_HAS(json.out, "\"path\":\"machine.cores\"");
  EXPECT_EQ(call({"check", (dir / "none.json").string()}).status, exit_files);
  EXPECT_EQ(call({"run", (dir / "none.json").string()}).status, exit_files);
  EXPECT_EQ(call({"run", file, "--until", "never"}).status, exit_usage);
}

TEST_F(in_a_directory, what_is_doubtful_is_a_warning_and_goes_on) {
  const std::string line = "warning: host.ple_window_shrink = 8192: greater than ple_window (4096)";
  const std::vector<std::string> doubtful{file, "-p", "host.ple_window_shrink=8192"};
  const auto with = [&](const char* command, std::vector<std::string> more) {
    more.insert(more.begin(), doubtful.begin(), doubtful.end());
    more.insert(more.begin(), command);
    return call(more);
  };
  const outcome checked = with("check", {});
  EXPECT_EQ(checked.status, exit_ok);
  EXPECT_HAS(checked.err, line);
  EXPECT_EQ(std::count(checked.err.begin(), checked.err.end(), '\n'), 1);
  EXPECT_FALSE(has(checked.out, "warning"));
  const outcome json = with("check", {"--json"});
  EXPECT_HAS(json.out, R"("errors":[],"warnings":[{"origin":"","path":"host.ple_window_shrink","value":"8192")");
  EXPECT_HAS(json.err, line);
  EXPECT_EQ(call({"check", file}).err, "");
  EXPECT_HAS(call({"check", file, "--json"}).out, R"("warnings":[])");
  // Beside an error elsewhere.
  const outcome both = with("check", {"-p", "vms[0].vcpus=0"});
  EXPECT_EQ(both.status, exit_usage);
  EXPECT_HAS(both.err, line);
  EXPECT_HAS(both.err, "vms[0].vcpus = 0");
}

TEST_F(in_a_directory, outputs_are_tried_before_the_run) {
  const std::string below_a_file = (fs::path{file} / "out").string();
  EXPECT_EQ(call({"run", file, "--out", below_a_file}).status, exit_files);
  EXPECT_HAS(call({"run", file, "--out", below_a_file}).err, "cannot write");
  EXPECT_EQ(call({"run", file, "--trace", "kvm=" + (dir / "none" / "trace").string()}).status, exit_files);
}

TEST_F(in_a_directory, list_topics_all_print) {
  const std::string all = call({"list"}).out;
  std::istringstream lines{all.substr(all.find('\n') + 1)};
  unsigned topics = 0;
  for (std::string line; std::getline(lines, line); ++topics) {
    const std::string topic = line.substr(2, line.find(' ', 2) - 2);
    EXPECT_EQ(call({"list", topic}).status, exit_ok) << topic;
    EXPECT_FALSE(call({"list", topic}).out.empty()) << topic;
    EXPECT_HAS(call({"list", topic, "--json"}).out, "\"schema\":1");
  }
  EXPECT_GT(topics, 20u);
  EXPECT_HAS(call({"list", "parameters"}).out, "vms[].vcpus");
  EXPECT_HAS(all, "parameters");
}

TEST_F(in_a_directory, list_prints_one_entry_with_its_options) {
  const std::string cfs = call({"list", "schedulers", "cfs"}).out;
  EXPECT_HAS(cfs, "wakeup_granularity\n");
  EXPECT_HAS(cfs, "name; default v6.1; v3.4, v5.10, v6.1");
  EXPECT_HAS(cfs, "kernel/sched/fair.c");
  EXPECT_HAS(call({"list", "schedulers", "round_robin", "--json"}).out, "\"default\":\"10ms\"");
  const auto wrong = call({"list", "schedulers", "csf"});
  EXPECT_EQ(wrong.status, exit_usage);
  EXPECT_HAS(wrong.err, "no \"csf\" among schedulers (did you mean \"cfs\"?)");
}

TEST_F(in_a_directory, output_file_is_whole_or_not_there) {
  const fs::path target = dir / "result.txt";
  {
    output_file f{target};
    f.stream() << "half";
  }
  EXPECT_FALSE(fs::exists(target));
  EXPECT_EQ(files_in(dir), 1u);  // run.json
  {
    output_file f{target};
    f.stream() << "whole";
    EXPECT_FALSE(fs::exists(target));
    f.commit();
  }
  std::string text;
  std::getline(std::ifstream{target}, text);
  EXPECT_EQ(text, "whole");
  {
    output_file f{target};
    f.stream() << "interrupted";
  }
  std::getline(std::ifstream{target}, text);
  EXPECT_EQ(text, "whole");
  EXPECT_EQ(files_in(dir), 2u);
  EXPECT_THROW(output_file{dir}, file_error);
  EXPECT_THROW(output_file{dir / "none" / "x"}, file_error);
}

TEST_F(in_a_directory, output_files_appear_together) {
  const auto text_of = [&](const char* name) {
    std::string text;
    std::getline(std::ifstream{dir / name}, text);
    return text;
  };
  std::ofstream{dir / "b"} << "old";
  {
    output_files files;
    files.add(dir / "a") << "1";
    files.add(dir / "b", "2");
    EXPECT_EQ(text_of("b"), "old");
    EXPECT_FALSE(fs::exists(dir / "a"));
    files.commit();
  }
  EXPECT_EQ(text_of("a"), "1");
  EXPECT_EQ(text_of("b"), "2");
  {
    output_files files;
    files.add(dir / "a", "3");
    files.add(dir / "c", "4");
  }
  EXPECT_EQ(text_of("a"), "1");
  EXPECT_EQ(files_in(dir), 3u);  // with run.json
}

TEST_F(in_a_directory, output_files_that_cannot_all_get_their_names_get_none) {
  output_files files;
  files.add(dir / "a", "1");
  files.add(dir / "b", "2");
  files.add(dir / "c", "3");
  fs::create_directories(dir / "b" / "in the way");
  EXPECT_THROW(files.commit(), file_error);
  EXPECT_FALSE(fs::exists(dir / "a"));
  EXPECT_FALSE(fs::exists(dir / "c"));
}

TEST_F(in_a_directory, output_directory_is_made_and_goes_again_if_nothing_is_in_it) {
  {
    const output_directory out{dir / "a" / "b"};
    EXPECT_EQ(files_in(out.path()), 0u);
  }
  EXPECT_FALSE(fs::exists(dir / "a"));
  {
    const output_directory out{dir / "a" / "b" / ""};
    std::ofstream{out.path() / "x"};
  }
  EXPECT_TRUE(fs::exists(dir / "a" / "b" / "x"));
  fs::create_directories(dir / "mine");
  { const output_directory out{dir / "mine"}; }
  { const output_directory out{dir / "mine" / "c"}; }
  EXPECT_TRUE(fs::exists(dir / "mine")) << "it was there before";
  EXPECT_FALSE(fs::exists(dir / "mine" / "c"));
  EXPECT_THROW(output_directory{fs::path{file}}, file_error);
  EXPECT_THROW(output_directory{fs::path{file} / "x"}, file_error);
}

TEST_F(in_a_directory, a_run_that_cannot_begin_leaves_no_directory) {
  EXPECT_EQ(call({"run", file, "--out", (dir / "out").string(), "--trace", "kvm=" + dir.string()}).status, exit_files);
  EXPECT_EQ(call({"study", "ple_storm", "--out", (dir / "out").string(), "-p", "host.hz=1"}).status, exit_usage);
  EXPECT_EQ(files_in(dir), 1u);
}

TEST(descriptor_stream, a_write_that_fails_says_why_and_only_once) {
  const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  if (full < 0) GTEST_SKIP() << "no /dev/full here";
  {
    descriptor_stream out{full, "to the device"};
    out << "short";  // stays in the buffer
    try {
      out.flush();
      ADD_FAILURE() << "nothing failed";
    } catch (const file_error& e) {
      EXPECT_STREQ(e.what(), "cannot write to the device: No space left on device");
    }
    EXPECT_TRUE(out.bad());
  }
  {
    descriptor_stream out{full, "to the device"};
    EXPECT_THROW(out << std::string(1'000'000, 'x'), file_error) << "not only at the end";
  }
  {
    descriptor_stream out{full, "to the device"};
    std::ostringstream err;
    EXPECT_EQ(command_line_main({"list", "costs"}, out, err), exit_files);
    EXPECT_EQ(err.str(), "vmxsys: cannot write to the device: No space left on device\n");
  }
  ::close(full);
}

}  // namespace
