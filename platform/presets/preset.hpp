#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <vmxsys/cpu/memory/cost_table.hpp>
#include <vmxsys/models/kernel/kernel_costs.hpp>
#include <vmxsys/models/kvm/kvm_costs.hpp>

#include "catalogue.hpp"
#include "cost_overrides.hpp"

namespace vmxsys::platform {

/// How well a number is known.
enum class provenance {
  published,  ///< printed in the source
  derived,    ///< calculated from printed numbers
  assumed     ///< not published; a guess inside `range`, to be swept
};
std::string_view to_string(provenance p) noexcept;

/// One number of a preset as its file has it.
struct preset_quantity {
  std::string path;    ///< "instruction.pause"; an idle state stands by its name: "idle_states.C1.exit_latency"
  double value;        ///< in `unit`
  std::string unit;    ///< "cycles" (TSC), "core_cycles", "ns", "us", "kHz" or "ratio"
  cycles converted;    ///< what the model uses; 0 for kHz and ratio
  std::string source;  ///< publication, manual or public data set
  provenance status;
  double lowest, highest;  ///< plausible range, in `unit`

  /// A cost of its own, which a configuration may set; not a clock, and not round_trip, which is a sum.
  bool is_cost() const { return path.find('.') != std::string::npos; }
};

/// A microarchitecture: a capability row of vmx/, clocks, and what everything costs. platform/presets/<name>.json.
struct preset {
  std::string name;
  std::string description;
  std::string capabilities;  ///< name of a vmx::capability_row
  std::uint64_t tsc_khz = 0;
  double core_per_tsc = 1;                  ///< core clocks per TSC cycle, by which core_cycles are converted
  cpu::hardware_costs costs;                ///< TSC cycles
  models::kernel_costs kernel;              ///< paths of a Linux kernel, host or guest
  models::kvm_costs kvm;                    ///< paths of the hypervisor
  cycles round_trip;                        ///< published VM exit + VM entry; the micro-steps add up to it
  std::vector<preset_quantity> quantities;  ///< every number with its source
};

/// One of a catalogue; null when there is none of that name, or when it is faulty, of which make_preset tells. Those
/// that ship are made once.
std::shared_ptr<const preset> find_preset(std::string_view name, const catalogue<preset_entry>& from = presets());

struct preset_request {
  std::string name_or_file;         ///< of a catalogue's entry; a file when it ends in ".json" or holds a '/'
  unsigned core_clock_percent = 0;  ///< core clock in percent of the TSC's, 10 .. 1000; 0: as the file says
  std::vector<cost_override> costs{};
};

/// A preset of a catalogue or from a file, with what the request sets. Costs in core_cycles follow the core clock;
/// costs in TSC cycles or in time do not. A number that the request sets has the source "set in the configuration", and
/// round_trip is then the sum of the micro-steps. std::invalid_argument with all faults, one a line.
preset make_preset(const preset_request& request, const catalogue<preset_entry>& from = presets());

/// make_preset without costs of its own.
preset preset_at_core_clock(std::string_view name, unsigned percent);

}  // namespace vmxsys::platform
