#pragma once
#include <cstddef>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace vmxsys::platform {

/// A worker process failed; `status` is its exit status, what() what it said.
class worker_error : public std::runtime_error {
 public:
  worker_error(int status, const std::string& what) : std::runtime_error{what}, status_{status} {}
  int status() const { return status_; }

 private:
  int status_;
};

/// The jobs were interrupted; status() is exit_interrupted.
class workers_interrupted : public worker_error {
 public:
  explicit workers_interrupted(std::vector<std::optional<std::string>> finished);
  /// What the jobs that had ended returned, by number.
  const std::vector<std::optional<std::string>>& finished() const { return finished_; }

 private:
  std::vector<std::optional<std::string>> finished_;
};

/// Runs job(0) ... job(count - 1), at most `jobs` at a time, each in a process forked from this one, and returns what
/// they returned, by number. No SystemC module may exist yet and no thread may run: a child elaborates for itself.
/// `done`, if given, is called in this process after each job with the number of finished ones. Throws worker_error for
/// the first that fails, workers_interrupted when `stop` says so or a job throws execution_interrupted, after the
/// others were stopped. On Linux the children die with this process.
std::vector<std::string> run_in_workers(std::size_t count, unsigned jobs,
                                        const std::function<std::string(std::size_t)>& job,
                                        const std::function<void(std::size_t)>& done = {},
                                        const std::function<bool()>& stop = {});

}  // namespace vmxsys::platform
