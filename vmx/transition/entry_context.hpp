#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/processor.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>

namespace vmxsys::vmx {

/// What the manual leaves to the processor, and where sources disagree. The defaults follow the newest SDM.
struct entry_options {
  /// #CP (vector 21) is among the exceptions that are injected with an error code. Looked at only where IA32_VMX_BASIC
  /// bit 56 is 0. The SDM keeps 21 among those without (Vol. 3C §29.2.1.3); KVM expects a code when it offers CET.
  bool cp_has_error_code = false;
  /// An NMI is not injected under blocking by STI. Older editions of Vol. 3C §29.3.1.5 let a processor skip this test.
  bool sti_blocks_nmi_injection = true;
  /// Exit qualification when that test fails: 3, or 0 on processors that do not tell (§29.8).
  std::uint64_t sti_nmi_qualification = 3;
  /// "Host address-space size" against IA32_EFER.LMA and against the host's IA32_EFER field fails with error 7 instead
  /// of 8. Both are seen; every other check of host state gives 8.
  bool address_space_size_is_control = false;
  /// Bit 11 (BLD) of the pending debug exceptions may be 1. §27.4.2 defines it for processors with bus-lock debug
  /// exceptions; the check of §29.3.1.5 still lists bits 11:4 as 0.
  bool bus_lock_in_pending_debug = false;
};

/// What the checks need to know of a processor beyond its VMX capability MSRs: the defined bits of the MSRs that an
/// entry loads, and two features. A bit that is 0 here is reserved.
struct entry_features {
  std::uint64_t perf_global_ctrl = 0x7'0000'000F;  ///< four general counters, three fixed ones
  std::uint64_t debugctl = 0xFFC3;                 ///< SDM Vol. 3B, IA32_DEBUGCTL; bit 2 with bus-lock detection
  std::uint64_t rtit_ctl = 0x0180'FFFF'8F7B'FFFF;  ///< Vol. 3C, Intel Processor Trace; all bits that are defined
  std::uint64_t lbr_ctl = 0x7F'000F;               ///< Vol. 3B, architectural LBRs
  std::uint64_t spec_ctrl = 0x5FF;                 ///< Vol. 4, IA32_SPEC_CTRL: 8:0 and BHI_DIS_S
  bool rtm = true;                                 ///< transactional memory: pending debug exceptions have bit 16
  bool sgx = false;
};

/// The defaults, with bus-lock detection where "VMM bus-lock detection" exists and SGX where "enable ENCLS exiting"
/// does.
entry_features entry_features_of(const capabilities& caps) noexcept;

/// What the checks look at besides the VMCS. Make one per logical processor and keep it: the constructor digests the
/// capabilities, options and features, which must not change afterwards.
class entry_context {
 public:
  entry_context(const capabilities& caps, const physical_memory& memory, const entry_options& options = {}) noexcept
      : entry_context{caps, memory, options, entry_features_of(caps)} {}
  entry_context(const capabilities& caps, const physical_memory& memory, const entry_options& options,
                const entry_features& features) noexcept;

  const capabilities& caps() const noexcept { return *caps_; }
  const physical_memory& memory() const noexcept { return *memory_; }
  const entry_options& options() const noexcept { return options_; }
  const entry_features& features() const noexcept { return features_; }

  /// IA32_EFER.LMA of the host now.
  bool long_mode() const noexcept { return long_mode_; }
  void set_long_mode(bool on) noexcept { long_mode_ = on; }
  /// The address of the VMCS being checked; its own link pointer must not name it.
  physical_address current_vmcs() const noexcept { return current_vmcs_; }
  void set_current_vmcs(physical_address at) noexcept { current_vmcs_ = at; }
  /// In system-management mode. The dual-monitor treatment is not modelled; this lets its checks be made.
  bool in_smm() const noexcept { return in_smm_; }
  void set_in_smm(bool on) noexcept { in_smm_ = on; }
  /// IA32_RTIT_CTL.TraceEn of the host now.
  bool tracing() const noexcept { return tracing_; }
  void set_tracing(bool on) noexcept { tracing_ = on; }
  /// The host uses PAE paging, with this CR3: a guest that goes on with both need not have its PDPTEs loaded.
  bool pae_paging_with(std::uint64_t cr3) const noexcept { return pae_paging_ && cr3_ == cr3; }
  void set_paging(bool pae_paging, std::uint64_t cr3) noexcept {
    pae_paging_ = pae_paging;
    cr3_ = cr3;
  }

  /// Long mode, tracing and paging from the registers of the host.
  void look_at(const processor_state& host) noexcept;

  /// Equal digests: a check that depends only on the VMCS and on this context comes out the same. The low byte but for
  /// bits 2:0 is free for further conditions.
  std::uint64_t digest() const noexcept {
    return digest_ ^ (long_mode_ ? 1u : 0u) ^ (in_smm_ ? 2u : 0u) ^ (tracing_ ? 4u : 0u);
  }

 private:
  const capabilities* caps_;
  const physical_memory* memory_;
  entry_options options_;
  entry_features features_;
  std::uint64_t digest_;
  physical_address current_vmcs_ = no_vmcs;
  std::uint64_t cr3_ = 0;
  bool long_mode_ = true;
  bool in_smm_ = false;
  bool tracing_ = false;
  bool pae_paging_ = false;
};

}  // namespace vmxsys::vmx
