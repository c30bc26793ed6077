#include "processor.hpp"

namespace vmxsys::vmx {

bool write_feature_control(vmx_state& state, std::uint64_t value, std::uint64_t allowed) noexcept {
  if ((state.feature_control & feature_control_bits::lock) != 0 || (value & ~allowed) != 0) return false;
  state.feature_control = value;
  return true;
}

bool cr0_write_allowed(const vmx_state& state, const capabilities& caps, std::uint64_t value,
                       bool unrestricted_guest) noexcept {
  constexpr std::uint64_t pe_and_pg = 0x8000'0001;
  const bool free = unrestricted_guest && state.mode == operation::non_root;
  return state.mode == operation::off || caps.cr0_legal(value, free ? pe_and_pg : 0);
}

bool cr4_write_allowed(const vmx_state& state, const capabilities& caps, std::uint64_t value) noexcept {
  return state.mode == operation::off || caps.cr4_legal(value);
}

init_effect receive_init(vmx_state& state, bool waits_for_sipi) noexcept {
  if (state.mode == operation::off) return init_effect::resets;
  if (state.mode == operation::non_root && !waits_for_sipi) return init_effect::exits;
  state.latched_init = true;
  return init_effect::latched;
}

}  // namespace vmxsys::vmx
