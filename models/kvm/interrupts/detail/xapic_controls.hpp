#pragma once
#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

namespace vmxsys::models {

inline constexpr physical_address apic_access_page = apic::apic_base::reset_page;

/// FlexPriority: what guests in xAPIC mode need on each path.
inline void select_xapic_controls(vmx::minimal_vmcs_options& options) {
  options.primary |= vmx::primary::use_tpr_shadow;
  options.secondary |= vmx::secondary::virtualize_apic_accesses;
}

}  // namespace vmxsys::models
