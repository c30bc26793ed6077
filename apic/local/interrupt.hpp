#pragma once
#include <cstdint>

namespace vmxsys::apic {

/// Delivery mode, as encoded in bits 10:8 of the ICR, of LVT entries and of MSI data (SDM Vol. 3A §13.5.1, §13.6.1).
/// Encoding 3 is reserved everywhere; `ext_int` exists in LVT entries and MSIs only and is reserved in the ICR.
enum class delivery_mode : std::uint8_t {
  fixed = 0,
  lowest_priority = 1,
  smi = 2,
  reserved = 3,
  nmi = 4,
  init = 5,
  startup = 6,
  ext_int = 7,
};

/// Only fixed and lowest-priority interrupts go through IRR and ISR; everything else reaches the core directly
/// (SDM Vol. 3A §13.8).
constexpr bool goes_through_irr(delivery_mode mode) noexcept {
  return mode == delivery_mode::fixed || mode == delivery_mode::lowest_priority;
}

/// Vectors 0..15 are illegal for fixed interrupts (SDM Vol. 3A §13.5.2).
constexpr bool is_legal_vector(std::uint8_t vector) noexcept { return vector >= 16; }

/// What arrives at one local APIC: an IPI, an MSI, or a local source.
struct interrupt_message {
  delivery_mode mode = delivery_mode::fixed;
  std::uint8_t vector = 0;  ///< fixed and lowest priority: 16..255; startup: page number of the start address
  bool level = false;       ///< level-triggered: its EOI is broadcast

  friend constexpr bool operator==(const interrupt_message& a, const interrupt_message& b) noexcept {
    return a.mode == b.mode && a.vector == b.vector && a.level == b.level;
  }
};

/// EOI message to the I/O APICs after a level-triggered interrupt was served (SDM Vol. 3A §13.8.5).
struct eoi_broadcast {
  std::uint8_t vector = 0;
};

}  // namespace vmxsys::apic
