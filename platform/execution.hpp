#pragma once
#include <functional>
#include <iosfwd>

#include "run_result.hpp"
#include "simulation.hpp"

namespace vmxsys::platform {

/// What to do besides running.
struct execution_options {
  std::ostream* kvm_trace = nullptr;       ///< where kvm_entry and kvm_exit go
  cpu::fact_observer* observer = nullptr;  ///< one more observer
  /// Called now and then with the share of the run that is done.
  std::function<void(double done, cycles now)> progress;
  /// Asked after every simulated millisecond at the latest; true ends the run there, with what was measured so far.
  std::function<bool()> stop;
  models::spin_policy_maker make_policy;  ///< when set, makes the host's spin policy instead of the name
  bool bare = false;                      ///< never under SystemC
};

/// Runs a configuration from cycle 0 to its end and sums it up. Closes every CPU's books and checks them:
/// cpu::invariant_error if they do not close. Where `stop` ended it before, the result is `partial` and its books close
/// at the cycle it reached. Under SystemC, once a process: more runs are worker processes (workers.hpp) or `bare`.
run_result execute(const run_config& config, const execution_options& options = {});

/// `stop` said so.
class execution_interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

/// The same for callers to whom a part of a run is of no use: execution_interrupted instead of a partial result.
run_result execute_whole(const run_config& config, const execution_options& options = {});

}  // namespace vmxsys::platform
