#pragma once
#include <cstdint>

namespace vmxsys::apic {

/// Operating mode of a local APIC, IA32_APIC_BASE bits 11 and 10 (SDM Vol. 3A §13.12.1).
enum class apic_mode : std::uint8_t { disabled, xapic, x2apic };

}  // namespace vmxsys::apic
