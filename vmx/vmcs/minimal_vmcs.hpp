#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include <vmxsys/vmx/spin_detectors/spin_detector.hpp>

#include "capability.hpp"
#include "control.hpp"
#include "processor.hpp"
#include "vmcs.hpp"

namespace vmxsys::vmx {

/// What may be chosen about a minimal VMCS. Controls are wishes: bits the processor demands are added, bits it does not
/// know are dropped. Asking for a secondary or tertiary control, or for a secondary VM-exit control, activates those.
struct minimal_vmcs_options {
  std::uint64_t host_rip = 0xFFFF'FFFF'8100'0000;
  std::uint64_t host_rsp = 0xFFFF'FFFF'8200'0000;
  std::uint64_t host_cr3 = 0x1000;
  std::uint64_t guest_rip = 0xFFFF'FFFF'8000'0000;
  std::uint64_t guest_rsp = 0xFFFF'FFFF'8010'0000;
  std::uint64_t guest_cr3 = 0x2000;
  std::uint64_t guest_rflags = 0x202;  ///< interrupts on
  std::uint64_t pin = pin_based::external_interrupt_exiting | pin_based::nmi_exiting;
  std::uint64_t primary = vmx::primary::hlt_exiting;
  std::uint64_t secondary = 0;
  std::uint64_t tertiary = 0;
  std::uint64_t vm_exit = vm_exit_control::host_address_space_size | vm_exit_control::acknowledge_interrupt_on_exit;
  std::uint64_t vm_exit_2 = 0;
  std::uint64_t vm_entry = vm_entry_control::ia_32e_mode_guest;
  std::uint32_t ple_gap = default_ple_gap;
  std::uint32_t ple_window = default_ple_window;
};

/// The least a hypervisor must write so that VM entry passes every check: a 64-bit host and a 64-bit guest in kernel
/// mode, nothing shared, no bitmaps, no EPT, no events. In the order a hypervisor might VMWRITE them; only components
/// the processor has. SDM Vol. 3C §29.2, §29.3.
std::vector<std::pair<field, std::uint64_t>> minimal_vmcs_fields(const capabilities& caps,
                                                                 const minimal_vmcs_options& options = {});

/// A clear VMCS with those fields and the processor's revision identifier.
vmcs make_minimal_vmcs(const capabilities& caps, const minimal_vmcs_options& options = {});

}  // namespace vmxsys::vmx
