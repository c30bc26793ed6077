#include <boost/json.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <sys/time.h>
#include <unistd.h>

#include <vmxsys/platform/cli/command_line.hpp>
#include <vmxsys/platform/experiments/detail/study_kit.hpp>
#include <vmxsys/platform/observe/report/report.hpp>
#include <vmxsys/platform/run/interruption.hpp>
#include <vmxsys/platform/run/workers.hpp>

#include "execution_fixture.hpp"

// A run or study that is interrupted tells what there is by then, and that it is a part.
namespace vmxsys::platform::testing {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

run_result stopped_after(unsigned ms, const run_config& config) {
  execution_options how;
  how.bare = true;
  how.stop = [ms, asked = 0u]() mutable { return ++asked == ms; };
  return execute(config, how);
}

/// As if the interrupted run had been meant to end there.
std::string as_whole(run_result part, const run_result& whole) {
  part.partial = false;
  part.until_ns = whole.until_ns;
  return document(part);
}

TEST(interruption, what_was_measured_is_a_whole_run_that_ends_there) {
  for (const unsigned ms : {21u, 33u, 59u}) {
    const run_result part = stopped_after(ms, short_study());
    const run_result whole = run_bare(short_study({"until=" + std::to_string(ms) + "ms"}));
    EXPECT_TRUE(part.partial) << ms;
    EXPECT_FALSE(whole.partial) << ms;
    EXPECT_EQ(part.until_ns, 60'000'000u);
    EXPECT_EQ(part.simulated_ns, ms * 1'000'000u);
    EXPECT_EQ(part.reached_cycle, whole.reached_cycle);
    EXPECT_EQ(as_whole(part, whole), document(whole)) << ms;
    EXPECT_NE(to_json(part).find("\"partial\": true"), std::string::npos);
  }
}

TEST(interruption, in_the_last_step_is_none) {
  const run_result r = stopped_after(60, short_study());
  EXPECT_FALSE(r.partial);
  EXPECT_EQ(document(r), document(run_bare(short_study())));
}

TEST(interruption, is_told_in_the_first_line) {
  std::ostringstream out;
  print_report(out, stopped_after(33, short_study()));
  EXPECT_EQ(out.str().rfind("interrupted at 33.00 ms of 60.00 ms: figures are of what was measured until then\n", 0),
            0u)
      << out.str();
}

TEST(interruption, of_the_warm_up_has_nothing_to_show) {
  for (const unsigned ms : {1u, 20u}) {
    const run_result r = stopped_after(ms, short_study());
    EXPECT_TRUE(r.partial);
    EXPECT_EQ(r.measured_ns, 0u);
    std::ostringstream out;
    print_report(out, r);
    EXPECT_NE(out.str().find("before the measurement began: nothing was measured"), std::string::npos) << out.str();
    EXPECT_EQ(out.str().find("Virtual machines"), std::string::npos) << out.str();
  }
}

// -- signals ----------------------------------------------------------------------------------------------------------

struct outcome {
  int status;
  std::string out, err;
};

void interrupt_once(int) { ::raise(SIGINT); }
void interrupt_twice(int) {
  ::raise(SIGINT);
  ::raise(SIGINT);
}

/// A command in a process that gets SIGINT `times` times, first after some milliseconds.
outcome call(const std::vector<std::string>& arguments, unsigned ms, unsigned times = 1) {
  const std::string text = run_in_workers(1, 1, [&](std::size_t) {
    catch_interrupts();  // it may come before the command does that
    std::signal(SIGALRM, times == 1 ? interrupt_once : interrupt_twice);
    const ::itimerval when{{0, 0}, {ms / 1000, static_cast<suseconds_t>(ms % 1000 * 1000)}};
    ::setitimer(ITIMER_REAL, &when, nullptr);
    std::ostringstream out, err;
    const int status = command_line_main(arguments, out, err);
    return json::serialize(json::array{status, out.str(), err.str()});
  })[0];
  const json::value v = json::parse(text);
  return {static_cast<int>(v.at(0).as_int64()), std::string{v.at(1).as_string()}, std::string{v.at(2).as_string()}};
}

class interrupted_command : public ::testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / ("vmxsys_interruption_" + std::to_string(::getpid()));
    fs::create_directories(dir);
    file = (dir / "run.json").string();
    std::ofstream{file} << R"({"until": "1000s", "machine": {"cores": 2},
        "vms": [{"name": "a", "vcpus": 2, "workload": {"name": "lock_bound", "work": "5us", "hold": "20us"}}]})";
  }
  void TearDown() override { fs::remove_all(dir); }
  std::set<std::string> files_in(const fs::path& where) const {
    std::set<std::string> names;
    for (const auto& e : fs::directory_iterator{where}) names.insert(e.path().filename().string());
    return names;
  }
  fs::path dir;
  std::string file;
};

TEST_F(interrupted_command, a_run_prints_and_writes_what_was_measured) {
  const fs::path out = dir / "out";
  const outcome o =
      call({"run", file, "--json", "-q", "--out", out.string(), "--trace", "kvm=" + (dir / "t").string()}, 400);
  EXPECT_EQ(o.status, exit_interrupted) << o.err;
  EXPECT_EQ(o.err.rfind("vmxsys: interrupted at ", 0), 0u) << o.err;
  const json::value v = json::parse(o.out);
  EXPECT_TRUE(v.at("partial").as_bool());
  EXPECT_GT(v.at("simulated_ns").to_number<std::uint64_t>(), 0u);
  EXPECT_LT(v.at("simulated_ns").to_number<std::uint64_t>(), 1'000'000'000'000u);
  EXPECT_EQ(v.at("until_ns").to_number<std::uint64_t>(), 1'000'000'000'000u);
  EXPECT_GT(v.at("reached_cycle").to_number<std::uint64_t>(), 0u);
  EXPECT_GT(v.at("vms").at(0).at("work").to_number<std::uint64_t>(), 0u);
  EXPECT_EQ(files_in(out), (std::set<std::string>{"effective.json", "stats.json"}));
  std::ifstream stats{out / "stats.json"};
  EXPECT_EQ(json::parse(std::string{std::istreambuf_iterator<char>{stats}, {}}), v);
  EXPECT_EQ(files_in(dir), (std::set<std::string>{"out", "run.json", "t"}));
}

TEST_F(interrupted_command, a_run_says_so_as_text) {
  const outcome o = call({"run", file, "-q"}, 300);
  EXPECT_EQ(o.status, exit_interrupted);
  EXPECT_EQ(o.out.rfind("interrupted at ", 0), 0u) << o.out;
  EXPECT_NE(o.out.find("of 1000.00 s: figures are of what was measured until then"), std::string::npos) << o.out;
}

TEST_F(interrupted_command, a_second_signal_ends_it_at_once) {
  try {
    call({"run", file, "-q"}, 300, 2);
    ADD_FAILURE() << "it went on";
  } catch (const worker_error& e) {
    EXPECT_NE(std::string{e.what()}.find("killed by signal 2"), std::string::npos) << e.what();
  }
}

// How far a study gets by then does not matter: what has run and what is missing are the whole.
TEST_F(interrupted_command, a_study_names_what_is_missing) {
  const struct {
    std::vector<std::string> arguments;
    std::size_t runs;
  } studies[] = {
      {{"ple_storm", "--until", "60ms"}, 22},
      {{"detectors", "--until", "60ms", "-p", "measure_from=10ms"}, 21},
      {{"ipi_ladder", "--until", "7ms", "-p", "vms[0].vcpus=30", "-p", "machine.cores=15"}, 40},
      {{"timer_ladder", "--until", "300ms"}, 24},
  };
  for (const auto& s : studies)
    for (const unsigned ms : {1u, 700u}) {
      const fs::path out = dir / s.arguments[0];
      std::vector<std::string> arguments{"study"};
      arguments.insert(arguments.end(), s.arguments.begin(), s.arguments.end());
      arguments.insert(arguments.end(), {"-q", "--jobs", "1"});
      const outcome text = call(arguments, ms);
      arguments.insert(arguments.end(), {"--json", "--out", out.string()});
      const outcome o = call(arguments, ms);
      ASSERT_EQ(o.status, exit_interrupted) << s.arguments[0] << o.err;
      EXPECT_EQ(text.status, exit_interrupted) << s.arguments[0] << text.err;
      EXPECT_EQ(text.out.rfind("interrupted ", 0), 0u) << text.out;
      EXPECT_NE(text.out.find("\nMissing\n"), std::string::npos) << text.out;
      const json::value v = json::parse(o.out);
      EXPECT_TRUE(v.at("partial").as_bool());
      const std::size_t missing = v.at("missing").as_array().size();
      EXPECT_GT(missing, 0u) << s.arguments[0];
      EXPECT_LE(missing, s.runs) << s.arguments[0];
      if (const json::value* runs = v.as_object().if_contains("runs"))
        EXPECT_EQ(runs->as_array().size() + missing, s.runs);
      EXPECT_TRUE(v.at("findings").as_array().empty());
      EXPECT_EQ(files_in(out), (std::set<std::string>{"effective.json", "stats.json"}));
    }
}

TEST(study_results, of_a_part_are_marked) {
  const run_config base;
  const std::vector<std::string> missing{"first", "third"};
  const auto shown = [&](std::size_t runs) {
    std::ostringstream out;
    const int status = show_study(
        {"key", base, "{}", missing, runs, []() -> std::string { throw std::logic_error("a picture of a part"); },
         [](std::ostream& to) { to << "figures\n"; }},
        {}, nullptr, out);
    EXPECT_EQ(status, exit_interrupted);
    return out.str();
  };
  EXPECT_EQ(shown(3),
            "interrupted after 1 of 3 runs: figures are of these alone\n\nfigures\n\nMissing\n  first\n  third\n");
  EXPECT_EQ(shown(2), "interrupted before the first of 2 runs had ended\n\nMissing\n  first\n  third\n");
}

}  // namespace
}  // namespace vmxsys::platform::testing
