#pragma once
#include <iosfwd>

#include <vmxsys/platform/observe/run_result.hpp>

namespace vmxsys::platform {

/// The result of one run as text for people: what happened, the exit table, where time went, spins, locks, fairness.
void print_report(std::ostream& out, const run_result& result);

/// Where a partial run was interrupted, in a line.
std::string interruption(const run_result& result);

/// The table of detectors that watched.
void print_detectors(std::ostream& out, const std::vector<detector_row>& detectors);

/// Formats nanoseconds with a unit that suits the size ("22.1 us").
std::string readable_ns(double ns);
/// 12345678 as "12 345 678".
std::string grouped(std::uint64_t count);
/// 0.123 as "12.3%".
std::string percent(double share);
/// The same, or "-" where there is none.
std::string optional_percent(const std::optional<double>& share);

}  // namespace vmxsys::platform
