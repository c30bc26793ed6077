#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/vmx/base/parameter.hpp>

#include "trace_format.hpp"
#include "traced_kernel.hpp"

// Linux tracepoints out of facts.
namespace vmxsys::platform {

/// One tracepoint that fires, with what a tracer records around it. The views are the stream's.
struct tracepoint_event {
  std::string_view name;  ///< "group:name"
  std::string payload;    ///< its text
  unsigned cpu = 0;
  std::uint64_t ns = 0;              ///< since cycle 0
  models::trace::task_name current;  ///< the thread that the CPU executes
};

/// The tracepoints whose contents the facts give: those of KVM where the hypervisor records a fact, and of the
/// scheduler. Texts of Linux 5.6 (arch/x86/kvm/trace.h, include/trace/events/{kvm,sched}.h); kvm_apicv_accept_irq is
/// younger.
std::vector<choice> known_tracepoints();

/// Turns the facts of a run into those tracepoints that were chosen. Give it every fact, in order.
class tracepoint_stream {
 public:
  /// `patterns` as in tracepoint_patterns.hpp. Throws std::invalid_argument for one that names none.
  tracepoint_stream(const observed_machine& of, const std::vector<std::string>& patterns);

  std::optional<tracepoint_event> next(const cpu::fact_view& fact);
  /// Length of the longest name chosen: perf pads to it.
  std::size_t width() const { return width_; }

 private:
  void follow_sleep(const cpu::fact_view& fact);

  traced_kernel kernel_;
  std::vector<std::size_t> chosen_;          // indices in the table
  std::unordered_set<std::uint32_t> slept_;  // vCPU threads that have slept since their last VM exit
  std::size_t width_ = 0;
};

}  // namespace vmxsys::platform
