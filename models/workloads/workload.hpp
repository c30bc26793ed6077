#pragma once

namespace vmxsys::models {

/// The threads of a workload and what they share; it must outlive the programs of its kernel's threads
/// (kernel::abandon_threads). Each finished unit of work is recorded as a `work_fact`.
class workload {
 public:
  virtual ~workload() = default;
};

}  // namespace vmxsys::models
