#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "apic_access.hpp"
#include "virtual_interrupts.hpp"

namespace vmxsys::apic {

// RDMSR and WRMSR of 800H to 8FFH with "virtualize x2APIC mode" (SDM Vol. 3C §32.5), and CR8 with "use TPR shadow"
// (§32.3). The MSR bitmap comes first (`vmx::decide`: effect virtual_x2apic). None of this depends on the mode of the
// physical local APIC, but what is native does.

/// What an access does.
enum class x2apic_effect : std::uint8_t {
  native,    ///< to the physical local APIC, with its faults: also WRMSR 830H without IPI virtualization
  read,      ///< 8 bytes of the virtual-APIC page; never #GP
  tpr,       ///< 8 bytes to the page; TPR virtualization
  eoi,       ///< EOI virtualization
  self_ipi,  ///< self-IPI virtualization; a vector below 16: exit 56, qualification 3F0H
  ipi,       ///< IPI virtualization where the command allows, else exit 56, qualification 300H
};

/// One row. The first that fits decides.
struct x2apic_rule {
  std::uint32_t first, last;  ///< MSRs
  bool write;
  apic_controls needs;  ///< one of them must be 1
  const char* name;
  std::uint64_t must_be_zero;  ///< bits of the value written; else #GP(0)
  x2apic_effect effect;
};
inline constexpr std::array<x2apic_rule, 8> x2apic_table{{
    {0x808, 0x808, false, detail::always, "RDMSR TPR", 0, x2apic_effect::read},
    {0x800, 0x8FF, false, detail::arv, "RDMSR, APIC-register virtualization", 0, x2apic_effect::read},
    {0x800, 0x8FF, false, detail::always, "RDMSR, else", 0, x2apic_effect::native},
    {0x808, 0x808, true, detail::always, "WRMSR TPR", ~std::uint64_t{0xFF}, x2apic_effect::tpr},
    {0x80B, 0x80B, true, apic_controls{} | apic_control::interrupt_delivery, "WRMSR EOI", ~std::uint64_t{0},
     x2apic_effect::eoi},
    {0x83F, 0x83F, true, apic_controls{} | apic_control::interrupt_delivery, "WRMSR SELF IPI", ~std::uint64_t{0xFF},
     x2apic_effect::self_ipi},
    {0x830, 0x830, true, apic_controls{} | apic_control::ipi_virtualization, "WRMSR ICR", 0xFFF3'2000,
     x2apic_effect::ipi},
    {0x800, 0x8FF, true, detail::always, "WRMSR, else", 0, x2apic_effect::native},
}};
/// Precondition: `msr` is 800H .. 8FFH and "use TPR shadow" is among the controls.
const x2apic_rule& find_x2apic_rule(apic_controls controls, std::uint32_t msr, bool write) noexcept;

enum class x2apic_verdict : std::uint8_t { native, virtualized, fault_gp };

struct x2apic_outcome {
  x2apic_verdict verdict = x2apic_verdict::native;
  std::uint64_t value = 0;       ///< read
  virtualization_result result;  ///< of a virtualized write
};

/// RDMSR and WRMSR at CPL 0 of 800H .. 8FFH. `native`: nothing has happened, the caller accesses the physical local
/// APIC. Precondition: "virtualize x2APIC mode" is 1, and so "use TPR shadow".
x2apic_outcome read_x2apic(const virtual_apic& a, std::uint32_t msr);
x2apic_outcome write_x2apic(const virtual_apic& a, std::uint32_t msr, std::uint64_t value);

/// MOV from CR8: VTPR[7:4]. Precondition: effect tpr_shadow, that is, no exit and "use TPR shadow".
std::uint64_t read_cr8(const virtual_apic& a);
/// MOV to CR8 of 0 .. 15 (more is #GP before): VTPR := value << 4, all other bits 0, and TPR virtualization.
virtualization_result write_cr8(const virtual_apic& a, std::uint64_t value);

}  // namespace vmxsys::apic
