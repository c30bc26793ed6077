#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

#include <vmxsys/platform/run/execution.hpp>
#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/platform/run/workers.hpp>

namespace {

using namespace vmxsys::platform;

std::string number(std::size_t i) { return "job " + std::to_string(i); }

TEST(workers, results_are_in_the_order_of_the_jobs) {
  // Later jobs end first.
  const auto results = run_in_workers(8, 4, [](std::size_t i) {
    ::usleep(static_cast<useconds_t>((8 - i) * 4000));
    return number(i);
  });
  ASSERT_EQ(results.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(results[i], number(i));
}

TEST(workers, any_number_of_jobs_and_of_processes) {
  EXPECT_TRUE(run_in_workers(0, 4, number).empty());
  for (const unsigned jobs : {0u, 1u, 2u, 7u, 64u}) {
    const auto results = run_in_workers(5, jobs, number);
    ASSERT_EQ(results.size(), 5u) << jobs;
    for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(results[i], number(i)) << jobs;
  }
}

TEST(workers, each_is_a_process_of_its_own_and_leaves_this_one_alone) {
  int here = 0;
  const pid_t me = ::getpid();
  const auto results = run_in_workers(6, 3, [&](std::size_t) {
    here = 1;
    return std::to_string(::getpid());
  });
  EXPECT_EQ(here, 0);
  std::set<std::string> processes{results.begin(), results.end()};
  EXPECT_EQ(processes.size(), 6u);
  EXPECT_EQ(processes.count(std::to_string(me)), 0u);
}

TEST(workers, results_larger_than_a_pipe_arrive_whole) {
  const auto big = [](std::size_t i) {
    std::string text;
    for (std::size_t n = 0; text.size() < 3'000'000 + i; ++n) text += std::to_string(n * (i + 1)) + '\0';
    return text;
  };
  const auto results = run_in_workers(3, 3, big);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(results[i] == big(i)) << i;
}

TEST(workers, done_counts_up_in_this_process) {
  std::vector<std::size_t> seen;
  run_in_workers(5, 2, number, [&](std::size_t n) { seen.push_back(n); });
  EXPECT_EQ(seen, (std::vector<std::size_t>{1, 2, 3, 4, 5}));
}

worker_error failure_of(const std::function<std::string(std::size_t)>& job, std::size_t count = 4, unsigned jobs = 2) {
  try {
    run_in_workers(count, jobs, job);
  } catch (const worker_error& e) {
    return e;
  }
  ADD_FAILURE() << "nothing failed";
  return {0, ""};
}

TEST(workers, a_job_that_throws_tells_status_and_message) {
  const worker_error e = failure_of([](std::size_t i) -> std::string {
    if (i == 2) throw std::logic_error("the books of CPU 3 do not close");
    return number(i);
  });
  EXPECT_EQ(e.status(), exit_invariant);
  EXPECT_STREQ(e.what(), "the books of CPU 3 do not close");
}

TEST(workers, an_interrupted_job_has_its_own_status) {
  const worker_error e = failure_of([](std::size_t) -> std::string { throw execution_interrupted{}; });
  EXPECT_EQ(e.status(), exit_interrupted);
}

TEST(workers, an_exception_of_any_type_is_a_failure) {
  const worker_error e = failure_of([](std::size_t) -> std::string { throw 42; });
  EXPECT_EQ(e.status(), exit_invariant);
  EXPECT_FALSE(std::string{e.what()}.empty());
}

TEST(workers, a_killed_worker_is_reported_as_killed) {
  const worker_error silent = failure_of([](std::size_t i) -> std::string {
    if (i == 1) ::kill(::getpid(), SIGKILL);
    return number(i);
  });
  EXPECT_EQ(silent.status(), exit_invariant);
  EXPECT_NE(std::string{silent.what()}.find("killed by signal 9"), std::string::npos) << silent.what();
}

TEST(workers, an_exit_without_a_word_is_reported) {
  const worker_error e = failure_of([](std::size_t) -> std::string { ::_exit(7); });
  EXPECT_EQ(e.status(), 7);
  EXPECT_FALSE(std::string{e.what()}.empty());
}

TEST(workers, a_failure_stops_the_others) {
  const auto start = std::chrono::steady_clock::now();
  failure_of(
      [](std::size_t i) -> std::string {
        if (i == 0) throw std::runtime_error("first");
        ::sleep(30);
        return number(i);
      },
      6, 3);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{10});
}

TEST(workers, stop_ends_them_all) {
  const auto start = std::chrono::steady_clock::now();
  unsigned asked = 0;
  try {
    run_in_workers(
        4, 2,
        [](std::size_t i) {
          ::sleep(30);
          return number(i);
        },
        {}, [&] { return ++asked > 1; });
    ADD_FAILURE() << "nothing was stopped";
  } catch (const worker_error& e) {
    EXPECT_EQ(e.status(), exit_interrupted);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{10});
}

TEST(workers, an_interruption_keeps_what_has_finished) {
  std::size_t finished = 0;
  try {
    run_in_workers(
        5, 5,
        [](std::size_t i) {
          if (i % 2 != 0) ::sleep(30);
          return number(i);
        },
        [&](std::size_t n) { finished = n; }, [&] { return finished == 3; });
    ADD_FAILURE() << "nothing was stopped";
  } catch (const workers_interrupted& e) {
    EXPECT_EQ(e.status(), exit_interrupted);
    ASSERT_EQ(e.finished().size(), 5u);
    for (std::size_t i = 0; i < 5; ++i)
      EXPECT_EQ(e.finished()[i], i % 2 == 0 ? std::optional{number(i)} : std::nullopt) << i;
  }
}

// The last job has ended: that nothing is left to do comes before a late interruption.
TEST(workers, an_interruption_after_the_last_job_is_none) {
  bool last = false;
  const auto results = run_in_workers(
      2, 1, number, [&](std::size_t n) { last = n == 2; }, [&] { return last; });
  EXPECT_EQ(results, (std::vector<std::string>{number(0), number(1)}));
}

TEST(workers, an_interrupted_job_keeps_what_has_finished) {
  try {
    run_in_workers(2, 1, [](std::size_t i) {
      if (i == 1) throw execution_interrupted{};
      return number(i);
    });
    ADD_FAILURE() << "nothing was stopped";
  } catch (const workers_interrupted& e) {
    EXPECT_EQ(e.finished(), (std::vector<std::optional<std::string>>{number(0), std::nullopt}));
  }
}

#ifdef __linux__
TEST(workers, die_with_the_process_that_started_them) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t middle = ::fork();
  if (middle == 0) {
    ::close(ends[0]);
    run_in_workers(1, 1, [&](std::size_t) -> std::string {
      const char started = '!';
      if (::write(ends[1], &started, 1) != 1) ::_exit(1);
      ::sleep(30);
      return {};
    });
    ::_exit(0);
  }
  ::close(ends[1]);
  char text = 0;
  ASSERT_EQ(::read(ends[0], &text, 1), 1);
  ::kill(middle, SIGKILL);
  ::waitpid(middle, nullptr, 0);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(::read(ends[0], &text, 1), 0);  // at the death of the last that holds the other end
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds{10});
  ::close(ends[0]);
}
#endif

TEST(workers, no_zombies_and_no_descriptors_are_left) {
  const auto descriptors = [] {
    int n = 0;
    for (int fd = 0; fd < 256; ++fd) n += ::fcntl(fd, F_GETFD) >= 0;
    return n;
  };
  const int before = descriptors();
  run_in_workers(6, 3, number);
  failure_of([](std::size_t) -> std::string { throw std::runtime_error("no"); });
  EXPECT_EQ(descriptors(), before);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

}  // namespace
