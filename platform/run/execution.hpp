#pragma once
#include <functional>
#include <iosfwd>
#include <vector>

#include <vmxsys/platform/machine/simulation.hpp>
#include <vmxsys/platform/observe/run_result.hpp>

namespace vmxsys::platform {

/// A trace of the run. The options of the format stand in the configuration (run_config::traces).
struct trace_output {
  std::string format;  ///< of execution_options::names
  std::ostream* to = nullptr;
  std::vector<std::string> tracepoints;  ///< as trace_environment::tracepoints
};

/// What to do besides running.
struct execution_options {
  std::vector<trace_output> traces;
  cpu::fact_observer* observer = nullptr;  ///< one more observer
  /// Called now and then with the share of the run that is done.
  std::function<void(double done, cycles now)> progress;
  /// Asked after every simulated millisecond at the latest; true ends the run there, with what was measured so far.
  std::function<bool()> stop;
  catalogues names = catalogues::shipped();  ///< what the configuration's names mean
  bool bare = false;                         ///< never under SystemC
};

/// Runs a configuration from cycle 0 to its end and sums it up. Closes every CPU's accounting and checks it:
/// cpu::invariant_error if it does not close. Where `stop` ended it before, the result is `partial` and its accounting
/// closes at the cycle it reached. Under SystemC, once a process: more runs are worker processes (workers.hpp) or
/// `bare`.
run_result execute(const run_config& config, const execution_options& options = {});

/// `stop` said so.
class execution_interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

/// The same for callers that cannot use a part of a run: execution_interrupted instead of a partial result.
run_result execute_whole(const run_config& config, const execution_options& options = {});

}  // namespace vmxsys::platform
