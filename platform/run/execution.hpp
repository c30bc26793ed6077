#pragma once
#include <functional>
#include <iosfwd>

#include <vmxsys/platform/machine/simulation.hpp>
#include <vmxsys/platform/observe/run_result.hpp>

namespace vmxsys::platform {

/// What to do besides running.
struct execution_options {
  std::ostream* kvm_trace = nullptr;       ///< where kvm_entry and kvm_exit go
  cpu::fact_observer* observer = nullptr;  ///< one more observer
  /// Called now and then with the share of the run that is done.
  std::function<void(double done, cycles now)> progress;
  /// Asked after every simulated millisecond at the latest; true ends the run with execution_interrupted.
  std::function<bool()> stop;
  catalogues names = catalogues::shipped();  ///< what the configuration's names mean
  bool bare = false;                         ///< never under SystemC
};

/// `stop` said so.
class execution_interrupted : public std::exception {
 public:
  const char* what() const noexcept override { return "interrupted"; }
};

/// Runs a configuration from cycle 0 to its end and sums it up. Closes every CPU's books and checks them:
/// cpu::invariant_error if they do not close. Under SystemC, once a process: more runs are worker processes
/// (workers.hpp) or `bare`.
run_result execute(const run_config& config, const execution_options& options = {});

}  // namespace vmxsys::platform
