#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "virtual_interrupts.hpp"

namespace vmxsys::apic {

// IPI virtualization, SDM Vol. 3C §32.1.6: a guest's IPI to one virtual processor becomes a post into the descriptor
// that the PID-pointer table names, and a physical notification. The sender does not exit, and does not learn whether
// the target runs.

/// Entry of the PID-pointer table: 8 bytes; entry T belongs to virtual APIC ID T.
namespace pid_pointer {
inline constexpr std::size_t bytes = 8;
inline constexpr std::uint64_t valid = 1;
inline constexpr std::uint64_t reserved = 0x3E;                 ///< bits 5:1
inline constexpr std::uint64_t address = ~std::uint64_t{0x3F};  ///< of the descriptor
constexpr std::uint64_t encode(physical_address descriptor) noexcept { return (descriptor & address) | valid; }
}  // namespace pid_pointer

/// Why an IPI is not virtualized, in the order of the tests. Each but `posts` is exit 56, qualification 300H.
enum class ipi_obstacle : std::uint8_t {
  vector_below_16,
  beyond_last_index,
  bad_entry,  ///< not valid, reserved bits, or an address beyond the processor's width
  none,
};
struct ipi_obstacle_info {
  ipi_obstacle obstacle;
  const char* name;
};
inline constexpr std::array<ipi_obstacle_info, 3> ipi_obstacle_table{{
    {ipi_obstacle::vector_below_16, "vector below 16"},
    {ipi_obstacle::beyond_last_index, "destination above the last PID-pointer index"},
    {ipi_obstacle::bad_entry, "PID-pointer entry not valid"},
}};

/// Where an IPI goes.
struct ipi_target {
  ipi_obstacle obstacle = ipi_obstacle::none;
  physical_address descriptor = 0;  ///< if there is no obstacle
};

/// Looks the destination up. `destination` is an index and nothing else: FFH and FFFFFFFFH are no broadcasts.
/// `physical_address_width` as in `virtual_apic`.
ipi_target find_target(const vmx::vmcs& v, const physical_memory& memory, std::uint8_t vector,
                       std::uint32_t destination, unsigned physical_address_width);

/// IPI virtualization of (vector, destination): posts and names the CPU to notify, or gives exit 56 with qualification
/// 300H. Precondition: "IPI virtualization" is 1.
virtualization_result virtualize_ipi(const virtual_apic& a, std::uint8_t vector, std::uint32_t destination);

/// The emulation of a virtualized write of ICR low from the values in the virtual-APIC page (xAPIC form; 8-bit
/// destination): self-IPI virtualization, IPI virtualization, or exit 56 with the qualification `offset` (of the
/// write, in 300H .. 303H). SDM Vol. 3C §32.4.3.2.
virtualization_result emulate_icr_write(const virtual_apic& a, std::uint16_t offset);

/// What becomes of a command in the ICR. Rows in the order in which they are tried; bit 14 (level) counts for none, and
/// bit 11 (destination mode) not for the first.
enum class icr_route : std::uint8_t { self_ipi, ipi, exit };

struct icr_route_rule {
  icr_route route;
  const char* name;
  std::uint32_t mask;   ///< ICR low & mask
  std::uint32_t value;  ///< must be this
  bool legal_vector;    ///< and the vector 16 or more. (IPI virtualization tests it later, to the same end.)
  bool xapic;           ///< tried for a write of page offset 300H
  bool x2apic;          ///< tried for WRMSR 830H, where the self shorthand is not virtualized
};
inline constexpr std::array<icr_route_rule, 3> icr_route_table{{
    {icr_route::self_ipi, "self-IPI virtualization", 0xFFFFB700, 0x00040000, true, true, false},
    {icr_route::ipi, "IPI virtualization", 0xFFFFBF00, 0, false, true, true},
    {icr_route::exit, "APIC-write exit", 0, 0, false, true, true},
}};

/// The first row that fits; `vid` and `ipiv` are the controls "virtual-interrupt delivery" and "IPI virtualization".
icr_route route_of(std::uint32_t icr_low, bool x2apic, bool vid, bool ipiv) noexcept;

}  // namespace vmxsys::apic
