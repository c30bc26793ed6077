#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <vmxsys/cpu/memory/cost_table.hpp>
#include <vmxsys/models/kernel/kernel_costs.hpp>
#include <vmxsys/models/kvm/kvm_costs.hpp>

namespace vmxsys::platform {

/// How well a number is known.
enum class knowledge {
  published,  ///< printed in the source
  derived,    ///< calculated from printed numbers
  assumed     ///< published by nobody; a guess inside `range`, to be swept
};
std::string_view to_string(knowledge k) noexcept;

/// One number of a preset as its file has it.
struct preset_quantity {
  std::string path;    ///< "instruction.pause"
  double value;        ///< in `unit`
  std::string unit;    ///< "cycles" (TSC), "core_cycles", "ns", "us", "kHz" or "ratio"
  cycles converted;    ///< what the model uses; 0 for kHz and ratio
  std::string source;  ///< publication, manual or public data set
  knowledge status;
  double lowest, highest;  ///< plausible range, in `unit`
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
  std::vector<preset_quantity> quantities;  ///< every number with its source, in the order of the file
};

/// What a machine is unless told otherwise.
inline constexpr const char* default_preset_name = "haswell_ep";

/// The presets compiled into the library, by name. A broken one is a defect of the library: std::logic_error.
const std::vector<preset>& presets();
std::vector<std::string> preset_names();
/// nullptr when there is none of that name.
const preset* find_preset(std::string_view name);

/// The same preset with its core clock at `percent` of the TSC's: costs in core_cycles are converted anew, whatever is
/// in TSC cycles or in time stays. 0: as the file says. std::invalid_argument for a name that is none.
preset preset_at_core_clock(std::string_view name, unsigned percent);

/// Reads a preset from JSON text. Every key of the cost structs must be there and nothing else; std::invalid_argument
/// names all faults. `core_clock_percent` as above.
preset parse_preset(std::string_view json_text, unsigned core_clock_percent = 0);

}  // namespace vmxsys::platform
