#include "trace_sink.hpp"

namespace vmxsys::platform {

// clang-format off
#define ENTRIES(entry) \
  entry(kvm_trace_entry) \
  entry(kvm_stat_entry) \
  entry(sched_map_entry)
// clang-format on
VMXSYS_CATALOGUE(trace_formats, trace_format_entry, "trace format", ENTRIES)

}  // namespace vmxsys::platform
