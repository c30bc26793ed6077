#pragma once
#include <boost/json/fwd.hpp>
#include <string_view>

#include "value_type.hpp"

namespace vmxsys::platform {

/// Applies "vms[0].vcpus=4", "vms[*].guest.hz=100" or, where an element of a list stands by its name,
/// "traces.kvm.ns=true" to a document of this type. Faults go to r.
void apply_override(boost::json::value& document, std::string_view assignment, const value_type& type, reading& r);

}  // namespace vmxsys::platform
