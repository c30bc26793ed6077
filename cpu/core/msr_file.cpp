#include "msr_file.hpp"

#include <algorithm>

#include <vmxsys/vmx/vmcs/register_bits.hpp>

namespace vmxsys::cpu {

bool msr_file::canonical(std::uint64_t address) const { return vmx::sign_extended(address, caps_) == address; }

std::uint64_t* msr_file::in_state(std::uint32_t number) {
  switch (number) {
    case msr::spec_ctrl:
      return &registers_.spec_ctrl;
    case msr::sysenter_esp:
      return &registers_.sysenter_esp;
    case msr::sysenter_eip:
      return &registers_.sysenter_eip;
    case msr::debugctl:
      return &registers_.debugctl;
    case msr::pat:
      return &registers_.pat;
    case msr::perf_global_ctrl:
      return &registers_.perf_global_ctrl;
    case msr::efer:
      return &registers_.efer;
    case msr::fs_base:
      return &registers_[vmx::segment_name::fs].base;
    case msr::gs_base:
      return &registers_[vmx::segment_name::gs].base;
    default:
      break;
  }
  const auto it = std::find(plain_numbers.begin(), plain_numbers.end(), number);
  return it == plain_numbers.end() ? nullptr : &plain_[static_cast<std::size_t>(it - plain_numbers.begin())];
}

bool msr_file::read(std::uint32_t number, std::uint64_t tsc, std::uint64_t& value) const {
  if (number == msr::time_stamp_counter) {
    value = tsc;
  } else if (number == msr::feature_control) {
    value = vmx_.feature_control;
  } else if (number == msr::sysenter_cs) {
    value = registers_.sysenter_cs;
  } else if (const std::uint64_t* held = const_cast<msr_file*>(this)->in_state(number)) {
    value = *held;
  } else if (const std::uint64_t* capability = vmx::find_capability_msr(caps_, number)) {
    value = *capability;
  } else {
    return false;
  }
  return true;
}

bool msr_file::write(std::uint32_t number, std::uint64_t value) {
  switch (number) {
    case msr::feature_control:
      return vmx::write_feature_control(vmx_, value);
    case msr::sysenter_cs:
      registers_.sysenter_cs = static_cast<std::uint32_t>(value);
      return true;
    case msr::sysenter_esp:
    case msr::sysenter_eip:
    case msr::fs_base:
    case msr::gs_base:
    case msr::kernel_gs_base:
    case msr::lstar:
    case msr::cstar:
      if (!canonical(value)) return false;
      break;
    case msr::efer:
      // LMA is the processor's own, and LME cannot change under paging.
      if (((value ^ registers_.efer) & vmx::efer_bits::lme) != 0) return false;
      value = (value & ~vmx::efer_bits::lma) | (registers_.efer & vmx::efer_bits::lma);
      break;
    case msr::umwait_control:
    case msr::tsc_aux:
    case msr::fmask:
      if (value >> 32 != 0) return false;
      break;
    default:
      break;
  }
  std::uint64_t* held = in_state(number);
  if (held == nullptr) return false;
  *held = value;
  return true;
}

}  // namespace vmxsys::cpu
