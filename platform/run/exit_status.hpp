#pragma once

namespace vmxsys::platform {

/// Exit codes of the process.
enum exit_status : int {
  exit_ok = 0,
  exit_usage = 2,      ///< command line or configuration
  exit_files = 3,      ///< a file cannot be read or written
  exit_invariant = 4,  ///< the model contradicts itself: a defect
  exit_interrupted = 130
};

}  // namespace vmxsys::platform
