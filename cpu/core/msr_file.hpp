#pragma once
#include <array>
#include <cstdint>

#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/processor.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>

namespace vmxsys::cpu {

namespace msr {
inline constexpr std::uint32_t time_stamp_counter = 0x10;
inline constexpr std::uint32_t feature_control = 0x3A;
inline constexpr std::uint32_t spec_ctrl = 0x48;
inline constexpr std::uint32_t umwait_control = 0xE1;
inline constexpr std::uint32_t sysenter_cs = 0x174;
inline constexpr std::uint32_t sysenter_esp = 0x175;
inline constexpr std::uint32_t sysenter_eip = 0x176;
inline constexpr std::uint32_t debugctl = 0x1D9;
inline constexpr std::uint32_t pat = 0x277;
inline constexpr std::uint32_t perf_global_ctrl = 0x38F;
inline constexpr std::uint32_t xss = 0xDA0;
inline constexpr std::uint32_t efer = 0xC000'0080;
inline constexpr std::uint32_t star = 0xC000'0081;
inline constexpr std::uint32_t lstar = 0xC000'0082;
inline constexpr std::uint32_t cstar = 0xC000'0083;
inline constexpr std::uint32_t fmask = 0xC000'0084;
inline constexpr std::uint32_t fs_base = 0xC000'0100;
inline constexpr std::uint32_t gs_base = 0xC000'0101;
inline constexpr std::uint32_t kernel_gs_base = 0xC000'0102;
inline constexpr std::uint32_t tsc_aux = 0xC000'0103;
}  // namespace msr

/// The model-specific registers of one logical CPU but those of the local APIC: what VM entries and exits load and save
/// (they lie in the processor state), the capabilities, and the plain ones that hypervisors switch by MSR lists. Any
/// other MSR is not implemented: #GP(0). SDM Vol. 4.
class msr_file {
 public:
  msr_file(vmx::processor_state& registers, vmx::vmx_state& vmx, const vmx::capabilities& caps)
      : registers_{registers}, vmx_{vmx}, caps_{caps} {}

  /// False: #GP(0). The TSC reads `tsc`, which is the processor's own.
  bool read(std::uint32_t number, std::uint64_t tsc, std::uint64_t& value) const;
  bool write(std::uint32_t number, std::uint64_t value);

  std::uint32_t umwait_control() const { return static_cast<std::uint32_t>(plain_[0]); }
  std::uint64_t xss() const { return plain_[1]; }
  std::uint32_t tsc_aux() const { return static_cast<std::uint32_t>(plain_[7]); }

 private:
  static constexpr std::array<std::uint32_t, 8> plain_numbers{
      msr::umwait_control, msr::xss, msr::star, msr::lstar, msr::cstar, msr::fmask, msr::kernel_gs_base, msr::tsc_aux};
  bool canonical(std::uint64_t address) const;
  std::uint64_t* in_state(std::uint32_t number);

  vmx::processor_state& registers_;
  vmx::vmx_state& vmx_;
  const vmx::capabilities& caps_;
  std::array<std::uint64_t, plain_numbers.size()> plain_{};
};

}  // namespace vmxsys::cpu
