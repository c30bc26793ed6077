#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <sys/resource.h>
#include <unistd.h>

#include <vmxsys/platform/observe/trace/trace_sink.hpp>
#include <vmxsys/platform/observe/trace/tracepoint_patterns.hpp>

#include "command_line_call.hpp"

// `vmxsys run --trace NAME=FILE -e EVENTS` and what can go wrong with it.
namespace {

using namespace vmxsys::platform;
using namespace vmxsys::platform_tests;
namespace fs = std::filesystem;

class trace_command : public testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / ("vmxsys_traces_" + std::to_string(::getpid()));
    fs::remove_all(dir);
    fs::create_directories(dir);
    file = (dir / "run.json").string();
    std::ofstream{file} << R"({"until": "2ms", "machine": {"cores": 2},
        "vms": [{"name": "a", "vcpus": 2, "workload": {"name": "lock_bound", "work": "5us", "hold": "20us"}}]})";
  }
  void TearDown() override { fs::remove_all(dir); }

  std::string path(const char* name) const { return (dir / name).string(); }
  static std::string read(const std::string& name) {
    std::ifstream in{name};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator{dir}, fs::directory_iterator{}));
  }

  fs::path dir;
  std::string file;
};

TEST_F(trace_command, each_format_goes_to_its_file) {
  const outcome o = call_in_a_process({"run", file, "-q", "--trace", "kvm=" + path("kvm.txt"), "--trace",
                                       "kvm_stat=" + path("stat.txt"), "--trace", "sched_map=" + path("map.txt")});
  ASSERT_EQ(o.status, exit_ok) << o.err;
  EXPECT_EQ(o.err, "");
  EXPECT_TRUE(o.out.starts_with("simulated 2.00 ms")) << o.out;
  EXPECT_HAS(read(path("kvm.txt")), "kvm:kvm_entry: vcpu 1\n");
  EXPECT_HAS(read(path("kvm.txt")), "       CPU 0/KVM     1 [000]     0.0000");
  EXPECT_FALSE(has(read(path("kvm.txt")), "sched:"));
  EXPECT_TRUE(read(path("stat.txt")).starts_with("\n\nAnalyze events for all VMs, all VCPUs:\n\n"));
  EXPECT_HAS(read(path("map.txt")), " secs A0 => CPU 0/KVM:1\n");
  EXPECT_EQ(files(), 4u);
}

TEST_F(trace_command, events_are_chosen_by_name_group_and_pattern) {
  const auto trace = [&](const std::vector<std::string>& more) {
    std::vector<std::string> arguments{"run", file, "-q", "--trace", "kvm=" + path("t")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const outcome o = call_in_a_process(arguments);
    EXPECT_EQ(o.status, exit_ok) << o.err;
    return read(path("t"));
  };
  const std::string two = trace({"-e", "kvm_exit,kvm_entry"});
  EXPECT_HAS(two, ": kvm:kvm_entry: vcpu 0\n");
  EXPECT_HAS(two, ":  kvm:kvm_exit: vcpu 0 reason ");
  EXPECT_FALSE(has(two, "kvm_inj_virq"));
  EXPECT_EQ(trace({"-e", "kvm:kvm_exit", "--event", "kvm_entry"}), two);
  EXPECT_EQ(trace({"-e", "kvm_e*"}), two);
  const std::string all = trace({"-e", "kvm,sched"});
  EXPECT_HAS(all, " kvm:kvm_entry: vcpu 0\n");
  EXPECT_HAS(all,
             " sched:sched_switch: prev_comm=swapper/0 prev_pid=0 prev_prio=120 prev_state=R ==> "
             "next_comm=CPU 0/KVM next_pid=1 next_prio=120\n");
}

TEST_F(trace_command, standard_output_is_the_traces_alone) {
  const outcome o = call_in_a_process({"run", file, "--trace", "kvm=-", "--trace", "sched_map=" + path("map.txt")});
  ASSERT_EQ(o.status, exit_ok) << o.err;
  EXPECT_TRUE(o.out.starts_with("       CPU 0/KVM     1 [000]")) << o.out.substr(0, 200);
  EXPECT_FALSE(has(o.out, "fact hash"));
  EXPECT_HAS(o.err, "simulated 2.00 ms");
  EXPECT_HAS(o.err, "Where every CPU cycle went");
  EXPECT_EQ(call_in_a_process({"run", file, "--trace", "kvm=" + path("t")}).status, exit_ok);
  EXPECT_EQ(read(path("t")), o.out);
  EXPECT_TRUE(call_in_a_process({"run", file, "--trace", "kvm_stat=-"}).out.starts_with("\n\nAnalyze events"));
}

TEST_F(trace_command, mistakes_are_refused_before_the_run) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong{
      {{"--trace", "kvn=f"}, "no trace format \"kvn\" (did you mean \"kvm\"?); formats: kvm, kvm_stat, sched_map"},
      {{"--trace", "schedmap=f"}, "did you mean \"sched_map\"?"},
      {{"--trace", "=f"}, "no trace format \"\"; formats: "},
      {{"--trace", "kvm_stat"}, "--trace takes NAME=FILE, e.g. kvm_stat=trace.txt, or kvm_stat=- for standard output"},
      {{"--trace", "kvm="}, "--trace takes NAME=FILE"},
      {{"--trace", "kvm=a", "--trace", "kvm=b"}, "--trace kvm= is given twice"},
      {{"--trace", "kvm=a", "--trace", "kvm_stat=./a"}, "--trace kvm= and --trace kvm_stat= cannot both write to ./a"},
      {{"--trace", "kvm=-", "--trace", "sched_map=-"}, "cannot both write to standard output"},
      {{"--trace", "kvm=-", "--json"}, "--json and --trace kvm=- cannot both write to standard output"},
      {{"-e", "kvm_exit"}, "-e chooses tracepoints of a trace; give --trace kvm=FILE as well"},
      {{"--trace", "kvm_stat=a", "-e", "kvm_exit"}, "give --trace kvm=FILE as well"},
      {{"--trace", "kvm=a", "-e", "kvm_exti"}, "no tracepoint \"kvm_exti\" (did you mean \"kvm_exit\"?)"},
      {{"--trace", "kvm=a", "-e", "kvm_entry,kvm:kvm_exti"}, "(did you mean \"kvm:kvm_exit\"?)"},
      {{"--trace", "kvm=a", "-e", "shed"}, "(did you mean \"sched\"?); see vmxsys list tracepoints"},
      {{"--trace", "kvm=a", "-e", "irq:*"}, "no tracepoint \"irq:*\"; see vmxsys list tracepoints"},
      {{"--trace", "kvm=a", "-e", "kvm_exit,"}, "no tracepoint \"\""},
  };
  for (const auto& [more, says] : wrong) {
    std::vector<std::string> arguments{"run", file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const outcome o = call(arguments);
    EXPECT_EQ(o.status, exit_usage) << more.back();
    EXPECT_HAS(o.err, says);
    EXPECT_EQ(o.out, "");
  }
  EXPECT_FALSE(fs::exists("a"));
  EXPECT_EQ(files(), 1u);
}

TEST_F(trace_command, lists) {
  const outcome traces = call({"list", "traces"});
  for (const trace_format_entry* f : trace_formats()) EXPECT_HAS(traces.out, std::string{f->name} + ' ');
  const outcome tracepoints = call({"list", "tracepoints"});
  EXPECT_HAS(tracepoints.out, "kvm:kvm_ple_window_update ");
  EXPECT_HAS(tracepoints.out, "sched:sched_migrate_task ");
  EXPECT_HAS(call({"list", "traces", "--json"}).out, "\"name\":\"kvm_stat\"");
}

// -- disks and pipes --------------------------------------------------------------------------------------------------

TEST_F(trace_command, files_are_tried_before_the_run_all_of_them) {
  const outcome o = call_in_a_process({"run", file, "--until", "1000s", "--trace", "kvm=" + path("t"), "--trace",
                                       "kvm_stat=" + (dir / "none" / "s").string()});
  EXPECT_EQ(o.status, exit_files);
  EXPECT_HAS(o.err, "cannot write");
  EXPECT_EQ(files(), 1u);
}

TEST_F(trace_command, a_disk_that_fills_ends_the_run_and_leaves_nothing) {
  const auto small_disk = [] {
    const rlimit limit{64 << 10, 64 << 10};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    std::signal(SIGXFSZ, SIG_IGN);
  };
  const outcome o = call_in_a_process(
      {"run", file, "--until", "1000s", "--trace", "kvm_stat=" + path("s"), "--trace", "kvm=" + path("t")}, small_disk);
  EXPECT_EQ(o.status, exit_files);
  EXPECT_HAS(o.err, "vmxsys: cannot write " + path("t") + ": File too large\n");
  EXPECT_EQ(o.out, "");
  EXPECT_EQ(files(), 1u) << "neither the whole one nor the other";
}

/// Takes some characters and no more.
class short_pipe final : public std::streambuf {
 protected:
  int overflow(int c) override { return left_-- > 0 ? c : EOF; }

 private:
  int left_ = 1000;
};

TEST_F(trace_command, a_broken_standard_output_ends_the_run) {
  const std::string answer = run_in_workers(1, 1, [&](std::size_t) {
    short_pipe pipe;
    std::ostream out{&pipe};
    std::ostringstream err;
    const int status = command_line_main({"run", file, "-q", "--until", "1000s", "--trace", "kvm=-"}, out, err);
    return std::to_string(status) + ' ' + err.str();
  })[0];
  EXPECT_EQ(answer, "3 vmxsys: cannot write to standard output\n");
}

// -- patterns ---------------------------------------------------------------------------------------------------------

TEST(tracepoint_patterns, as_perf_and_trace_cmd_take_them) {
  constexpr std::string_view exit = "kvm:kvm_exit";
  for (const char* yes : {"kvm:kvm_exit", "kvm_exit", "kvm", "kvm:*", "*", "*:*", "kvm_ex*", "*exit", "k*e*t",
                          "kvm_exi?", "*:kvm_exit", "kvm:kvm_exit*", "k?m"})
    EXPECT_TRUE(names_tracepoint(yes, exit)) << yes;
  for (const char* no : {"", "kvm_exi", "kvm_exit_", "exit", "kvm:", ":kvm_exit", "sched:*", "kvm:exit", "kvm_exit?",
                         "?", "kv", "kvm:kvm_exit:*", "KVM"})
    EXPECT_FALSE(names_tracepoint(no, exit)) << no;
  EXPECT_TRUE(names_tracepoint("*a*ab", "g:aaab"));
  EXPECT_FALSE(names_tracepoint("*a*ab", "g:aaba"));
}

}  // namespace
