#pragma once
#include <cstdint>
#include <optional>

namespace vmxsys::apic {

/// Where a startup IPI makes a processor begin, in real mode: CS selector VV00H, CS base 000VV000H, IP 0
/// (SDM Vol. 3A §13.6.1 and "MP initialization").
struct startup_address {
  std::uint16_t selector = 0;
  std::uint32_t base = 0;
};

constexpr startup_address startup_address_of(std::uint8_t vector) noexcept {
  return {static_cast<std::uint16_t>(vector << 8), static_cast<std::uint32_t>(vector) << 12};
}

/// INIT and SIPI as one processor sees them (SDM Vol. 3A §13.4.7.3): the bootstrap processor starts at the reset
/// vector, an application processor waits for a SIPI, and only the first SIPI in that state counts; in any other
/// state a SIPI is dropped, never remembered. VMX operation decides before whether an INIT or SIPI gets this far
/// (INIT is held in VMX root operation and exits in non-root operation).
class startup_state {
 public:
  enum class state : std::uint8_t { running, wait_for_sipi };

  /// What an INIT did.
  enum class init_effect : std::uint8_t {
    restarts,  ///< bootstrap processor: executes from the reset vector
    waits,     ///< application processor: now waits for a SIPI
    none,      ///< it was waiting already
  };

  /// In the state after RESET.
  explicit startup_state(bool bootstrap) noexcept : bootstrap_{bootstrap} { reset(); }

  state now() const noexcept { return state_; }
  bool bootstrap() const noexcept { return bootstrap_; }

  void reset() noexcept;
  init_effect init() noexcept;
  /// The address to start from, or nothing if the SIPI is dropped.
  std::optional<startup_address> sipi(std::uint8_t vector) noexcept;

 private:
  bool bootstrap_;
  state state_ = state::running;
};

}  // namespace vmxsys::apic
