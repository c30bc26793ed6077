#pragma once
// A preset out of its document.
#include <vector>

#include <vmxsys/platform/presets/preset.hpp>

#include "preset_document.hpp"

namespace vmxsys::platform {

/// Where round_trip comes from.
enum class round_trip_rule {
  measured,  ///< the document; the micro-steps must add up to it
  sum        ///< the micro-steps, some of which a configuration has set
};

/// Every cost must be there and nothing else. Faults go to `errors`; what is faulty is 0 in the result.
preset read_preset(const preset_document& document, round_trip_rule rule, std::vector<config_error>& errors);

}  // namespace vmxsys::platform
