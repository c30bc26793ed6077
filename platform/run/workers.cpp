#include "workers.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iostream>
#include <optional>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <unistd.h>

#include <vmxsys/cpu/facts/accounting.hpp>

#include "execution.hpp"
#include "options.hpp"

namespace vmxsys::platform {

namespace {

struct worker {
  std::size_t number;
  pid_t process;
  int pipe;
  std::string output;
};

bool write_all(int to, const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(to, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += static_cast<std::size_t>(n);
  }
  return true;
}

/// What a child does; never returns.
[[noreturn]] void work(int to, std::size_t number, const std::function<std::string(std::size_t)>& job) {
  int status = exit_ok;
  std::string output;
  try {
    output = job(number);
  } catch (const execution_interrupted& e) {
    status = exit_interrupted;
    output = e.what();
  } catch (const std::exception& e) {
    status = exit_invariant;
    output = e.what();
  } catch (...) {
    status = exit_invariant;
    output = "an exception that is no std::exception";
  }
  if (!write_all(to, output)) status = exit_invariant;
  ::close(to);
  ::_exit(status);
}

worker start(std::size_t number, const std::function<std::string(std::size_t)>& job) {
  int ends[2];
  if (::pipe(ends) != 0) throw worker_error(exit_files, std::string{"no pipe for a worker: "} + std::strerror(errno));
#ifdef __linux__
  const pid_t parent = ::getpid();
#endif
  const pid_t process = ::fork();
  if (process < 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    throw worker_error(exit_files, std::string{"no worker process: "} + std::strerror(errno));
  }
  if (process == 0) {
    ::close(ends[0]);
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(exit_interrupted);  // it was gone before
#endif
    work(ends[1], number, job);
  }
  ::close(ends[1]);
  return {number, process, ends[0], {}};
}

/// Waits a moment for output of any worker and reads it; the index of one that has closed its pipe, if there is one.
std::optional<std::size_t> read_some(std::vector<worker>& running) {
  std::vector<pollfd> polls;
  for (const worker& w : running) polls.push_back({w.pipe, POLLIN, 0});
  constexpr int moment_ms = 200;
  if (::poll(polls.data(), polls.size(), moment_ms) <= 0) return std::nullopt;
  for (std::size_t i = 0; i < polls.size(); ++i) {
    if ((polls[i].revents & (POLLIN | POLLHUP)) == 0) continue;
    char buffer[65536];
    const ssize_t n = ::read(polls[i].fd, buffer, sizeof buffer);
    if (n > 0)
      running[i].output.append(buffer, static_cast<std::size_t>(n));
    else if (n == 0 || errno != EINTR)
      return i;
  }
  return std::nullopt;
}

/// How a process ended. A killed one may have said a part of its result, which is not what went wrong.
int finish(worker& w) {
  ::close(w.pipe);
  int status = 0;
  while (::waitpid(w.process, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  w.output = "a worker process was killed by signal " + std::to_string(WTERMSIG(status));
  return exit_invariant;
}

void stop(std::vector<worker>& running) {
  for (const worker& w : running) ::kill(w.process, SIGKILL);
  for (worker& w : running) finish(w);
  running.clear();
}

}  // namespace

workers_interrupted::workers_interrupted(std::vector<std::optional<std::string>> finished)
    : worker_error{exit_interrupted, "interrupted"}, finished_{std::move(finished)} {}

std::vector<std::string> run_in_workers(std::size_t count, unsigned jobs,
                                        const std::function<std::string(std::size_t)>& job,
                                        const std::function<void(std::size_t)>& done,
                                        const std::function<bool()>& stop_now) {
  std::cout.flush();
  std::cerr.flush();
  std::vector<std::optional<std::string>> results(count);
  std::vector<worker> running;
  std::size_t next = 0, finished = 0;
  while (finished < count) {
    while (next < count && running.size() < std::max(1u, jobs)) running.push_back(start(next++, job));
    if (const std::optional<std::size_t> closed = read_some(running)) {
      worker w = std::move(running[*closed]);
      running.erase(running.begin() + static_cast<std::ptrdiff_t>(*closed));
      if (const int status = finish(w); status != exit_ok) {
        stop(running);
        if (status == exit_interrupted) throw workers_interrupted{std::move(results)};
        throw worker_error(status, w.output.empty() ? "a worker process ended without a word" : w.output);
      }
      results[w.number] = std::move(w.output);
      ++finished;
      if (done) done(finished);
    }
    if (finished < count && stop_now && stop_now()) {
      stop(running);
      throw workers_interrupted{std::move(results)};
    }
  }
  std::vector<std::string> all;
  all.reserve(count);
  for (std::optional<std::string>& r : results) all.push_back(std::move(*r));
  return all;
}

}  // namespace vmxsys::platform
