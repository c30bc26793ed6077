#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>

#include "capability.hpp"
#include "vmcs.hpp"

namespace vmxsys::vmx {

/// SDM Vol. 3C §26.3: outside VMX operation, or in its root or non-root half.
enum class operation : std::uint8_t { off, root, non_root };

/// "No current VMCS", SDM Vol. 3C §27.1.
inline constexpr physical_address no_vmcs = ~physical_address{0};

/// Bits of IA32_FEATURE_CONTROL, MSR 3AH; SDM Vol. 3C §26.7.
namespace feature_control_bits {
inline constexpr std::uint64_t lock = 1u << 0;
inline constexpr std::uint64_t vmx_inside_smx = 1u << 1;
inline constexpr std::uint64_t vmx_outside_smx = 1u << 2;
/// The bits that concern VMX; the others belong to SMX, SGX and LMCE.
inline constexpr std::uint64_t vmx_bits = lock | vmx_inside_smx | vmx_outside_smx;
}  // namespace feature_control_bits

/// The VMX part of a logical processor's state.
struct vmx_state {
  operation mode = operation::off;
  physical_address vmxon_pointer = no_vmcs;
  physical_address current_vmcs = no_vmcs;
  /// The active copy `current_vmcs` names; nullptr exactly when that is `no_vmcs`. Kept so that the hot path needs no
  /// lookup; owned by the vmcs_store.
  vmcs* current = nullptr;
  /// An INIT waits: it arrived in root operation, or in a guest that another exit took it from. The next guest takes
  /// it, or VMXOFF.
  bool latched_init = false;
  std::uint64_t feature_control = feature_control_bits::lock | feature_control_bits::vmx_outside_smx;

  bool has_current() const noexcept { return current_vmcs != no_vmcs; }
};

/// The mode an instruction executes in, as far as the VMX instructions look at it.
struct execution_mode {
  unsigned cpl = 0;
  std::uint64_t cr0 = 0x8000'0031;  ///< PG, NE, ET, PE
  std::uint64_t cr4 = 0x2020;       ///< VMXE, PAE
  bool virtual_8086 = false;        ///< RFLAGS.VM
  bool long_mode = true;            ///< IA32_EFER.LMA
  bool code_64_bit = true;          ///< CS.L; long_mode without it is compatibility mode
  bool a20_masked = false;
  bool inside_smx = false;
  bool mov_ss_blocking = false;

  constexpr bool compatibility() const noexcept { return long_mode && !code_64_bit; }
  /// Operands of VMX instructions have 64 bits here and 32 elsewhere.
  constexpr bool in_64_bit_mode() const noexcept { return long_mode && code_64_bit; }
};

/// The VMCSs that are active somewhere in the machine, by region address. The machine owns them and gives every
/// logical processor the same store.
///
/// A VMCS must not be active on two logical processors at once; software moves it with VMCLEAR (SDM Vol. 3C §27.11.1).
/// `activate` by another processor while it is active is a software error, which an implementation should report.
class vmcs_store {
 public:
  virtual ~vmcs_store() = default;
  /// The active copy of a region; nullptr when it is not active.
  virtual vmcs* find(physical_address region) = 0;
  /// Makes a region active on a processor; loads it from memory unless it is active already. The reference stays valid
  /// until `deactivate`.
  virtual vmcs& activate(physical_address region, std::uint32_t processor, const physical_memory& memory) = 0;
  /// Drops the copy without writing it back (the caller has stored it). Not active: nothing happens.
  virtual void deactivate(physical_address region) = 0;
  /// The processor executes VMXOFF: `vmcs::note_vmxoff` for every VMCS that is active on it. A store that does nothing
  /// here never gives error 6.
  virtual void note_vmxoff(std::uint32_t /*processor*/) {}
};

/// WRMSR of IA32_FEATURE_CONTROL (MSR 3AH). False, and nothing changes: #GP(0), because the register is locked or the
/// value has a bit outside `allowed` (add the bits of the features the machine has besides VMX). Only RESET unlocks it.
/// SDM Vol. 3C §26.7.
bool write_feature_control(vmx_state& state, std::uint64_t value,
                           std::uint64_t allowed = feature_control_bits::vmx_bits) noexcept;

/// May MOV to CR0 or CR4 (outside the guest: no masks and shadows) give the register this value? False: #GP(0). In VMX
/// operation the fixed bits must hold; so CR4.VMXE cannot be cleared there. Outside, CR4.VMXE can be changed freely;
/// the bits that have nothing to do with VMX are the caller's. `unrestricted_guest`: that control is in force, non-root
/// operation only. SDM Vol. 3C §26.7, §26.8, §28.6.
bool cr0_write_allowed(const vmx_state& state, const capabilities& caps, std::uint64_t value,
                       bool unrestricted_guest = false) noexcept;
bool cr4_write_allowed(const vmx_state& state, const capabilities& caps, std::uint64_t value) noexcept;

/// What an INIT signal does. `resets`: the processor takes it at once. `latched`: it is remembered in
/// vmx_state::latched_init, in root operation until VMXOFF, in a guest that waits for a SIPI until that state ends.
/// `exits`: VM exit with reason 3, which consumes it. SDM Vol. 3C §26.8, §28.2.
enum class init_effect : std::uint8_t { resets, latched, exits };
init_effect receive_init(vmx_state& state, bool waits_for_sipi) noexcept;

}  // namespace vmxsys::vmx
