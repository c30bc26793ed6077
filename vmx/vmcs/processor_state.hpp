#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "event.hpp"

namespace vmxsys::vmx {

/// The segment registers in the order of their VMCS fields (SDM Vol. 3D, appendix B).
enum class segment_name : std::uint8_t { es, cs, ss, ds, fs, gs, ldtr, tr };
inline constexpr std::size_t segment_count = 8;

/// Access rights in the format of the VMCS (SDM Vol. 3C §27.4.1): type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14,
/// G 15, unusable 16.
namespace access_rights {
inline constexpr std::uint32_t type = 15;
inline constexpr std::uint32_t code_or_data = 1u << 4;  ///< S
inline constexpr std::uint32_t dpl = 3u << 5;
inline constexpr std::uint32_t present = 1u << 7;
inline constexpr std::uint32_t long_mode = 1u << 13;    ///< L
inline constexpr std::uint32_t default_big = 1u << 14;  ///< D/B
inline constexpr std::uint32_t granularity = 1u << 15;
inline constexpr std::uint32_t unusable = 1u << 16;
inline constexpr std::uint32_t reserved = 0xFFFE'0F00;
}  // namespace access_rights

struct segment_register {
  std::uint16_t selector = 0;
  std::uint32_t limit = 0;
  std::uint32_t rights = access_rights::unusable;
  std::uint64_t base = 0;

  constexpr bool usable() const noexcept { return (rights & access_rights::unusable) == 0; }
  constexpr unsigned dpl() const noexcept { return (rights & access_rights::dpl) >> 5; }
};

/// GDTR or IDTR.
struct table_register {
  std::uint64_t base = 0;
  std::uint32_t limit = 0xFFFF;
};

/// The FRED MSRs that a VMCS holds (SDM Vol. 3C §27.4.1): IA32_FRED_CONFIG, IA32_FRED_RSP1-3, IA32_FRED_STKLVLS and
/// IA32_FRED_SSP1-3.
struct fred_registers {
  std::uint64_t config = 0;
  std::array<std::uint64_t, 3> rsp{};
  std::uint64_t stklvls = 0;
  std::array<std::uint64_t, 3> ssp{};
};

/// The registers and non-register state of a logical processor that VM entries load and VM exits save (SDM Vol. 3C
/// §27.4, §27.5): what the processor is, as against what its VMCS says. A plain value; general registers other than RSP
/// are software's own and not here. Defaults are those of a 64-bit kernel at CPL 0.
struct processor_state {
  std::uint64_t cr0 = 0x8000'0033;  ///< PG, NE, ET, MP, PE
  std::uint64_t cr2 = 0;
  std::uint64_t cr3 = 0;
  std::uint64_t cr4 = 0x2020;  ///< VMXE, PAE
  std::uint64_t dr6 = 0xFFFF'0FF0;
  std::uint64_t dr7 = 0x400;
  std::uint64_t rsp = 0;
  std::uint64_t rip = 0;
  std::uint64_t rflags = rflags_bits::one;
  std::array<segment_register, segment_count> segments{};
  table_register gdtr;
  table_register idtr;

  std::uint64_t efer = 0x500;  ///< LMA, LME
  std::uint64_t pat = 0x0007'0406'0007'0406;
  std::uint64_t debugctl = 0;
  std::uint64_t perf_global_ctrl = 0;
  std::uint64_t bndcfgs = 0;
  std::uint64_t rtit_ctl = 0;
  std::uint64_t lbr_ctl = 0;
  std::uint64_t spec_ctrl = 0;
  std::uint64_t pkrs = 0;
  std::uint64_t s_cet = 0;
  std::uint64_t ssp = 0;
  std::uint64_t interrupt_ssp_table_addr = 0;
  std::uint32_t sysenter_cs = 0;
  std::uint64_t sysenter_esp = 0;
  std::uint64_t sysenter_eip = 0;
  std::uint8_t uinv = 0;
  fred_registers fred;
  std::array<std::uint64_t, 4> pdpte{};  ///< meaningful with PAE paging outside IA-32e mode

  activity_state activity = activity_state::active;
  bool sti_blocking = false;
  bool mov_ss_blocking = false;
  bool nmi_blocking = false;
  bool virtual_nmi_blocking = false;  ///< non-root operation with "virtual NMIs" only
  bool enclave_interruption = false;  ///< bit 4 of field 4824H
  std::uint64_t pending_debug = 0;    ///< in the format of field 6822H
  bool monitor_armed = false;         ///< address-range monitoring (MONITOR)
  /// The VMX-preemption timer's count. A machine that computes it only when asked brings it up to date
  /// (`preemption_timer_value`) before a VM exit.
  std::uint32_t preemption_timer = 0;
  std::uint64_t guest_deadline = 0;  ///< of APIC-timer virtualization, in TSC units; 0 is disarmed
  /// Not 0: in the shutdown of the VMX abort with this number, which only RESET ends (SDM Vol. 3C §30.7). `activity` is
  /// shutdown then, but nothing that wakes an ordinary shutdown does.
  std::uint8_t vmx_abort = 0;

  segment_register& operator[](segment_name s) noexcept { return segments[static_cast<std::size_t>(s)]; }
  const segment_register& operator[](segment_name s) const noexcept { return segments[static_cast<std::size_t>(s)]; }
  /// SS.DPL (SDM Vol. 3C §29.3.2.2), also where SS is unusable.
  unsigned cpl() const noexcept { return (*this)[segment_name::ss].dpl(); }
};

/// RDMSR and WRMSR of one logical processor at CPL 0: what the MSR lists of VM entries and exits go through.
class msr_interface {
 public:
  virtual ~msr_interface() = default;
  /// False: RDMSR would cause #GP(0).
  virtual bool read_msr(std::uint32_t msr, std::uint64_t& value) = 0;
  /// False: WRMSR would cause #GP(0); nothing has changed.
  virtual bool write_msr(std::uint32_t msr, std::uint64_t value) = 0;
};

}  // namespace vmxsys::vmx
