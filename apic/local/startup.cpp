#include "startup.hpp"

namespace vmxsys::apic {

void startup_state::reset() noexcept { state_ = bootstrap_ ? state::running : state::wait_for_sipi; }

startup_state::init_effect startup_state::init() noexcept {
  if (bootstrap_) return init_effect::restarts;
  if (state_ == state::wait_for_sipi) return init_effect::none;
  state_ = state::wait_for_sipi;
  return init_effect::waits;
}

std::optional<startup_address> startup_state::sipi(std::uint8_t vector) noexcept {
  if (state_ != state::wait_for_sipi) return std::nullopt;
  state_ = state::running;
  return startup_address_of(vector);
}

}  // namespace vmxsys::apic
