#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include "vmcs.hpp"

namespace vmxsys::vmx {

/// Bits 10:8 of the interruption-information words. 1 is reserved. SDM Vol. 3C §27.8.3, §27.9.2, §27.9.3 (newer
/// editions say "event identification").
enum class event_type : std::uint8_t {
  external_interrupt = 0,
  nmi = 2,
  hardware_exception = 3,
  software_interrupt = 4,             ///< INT n
  privileged_software_exception = 5,  ///< INT1
  software_exception = 6,             ///< INT3, INTO
  other_event = 7,                    ///< on entry: pending MTF exit (vector 0)
};

/// A decoded interruption-information word: VM-entry (4016H), VM-exit (4404H) or IDT-vectoring (4408H).
struct event_information {
  std::uint8_t vector = 0;
  event_type type = event_type::external_interrupt;
  bool error_code = false;  ///< bit 11: deliver (entry) or present (exit)
  /// Bit 12: NMI unblocking due to IRET in 4404H; reserved in 4016H, undefined in 4408H.
  bool bit_12 = false;
  bool nested = false;  ///< bit 13, entry only
  bool valid = false;   ///< bit 31; a word without it says nothing
};

namespace event_bits {
inline constexpr std::uint32_t vector = 0xFF;
inline constexpr std::uint32_t type = 7u << 8;
inline constexpr std::uint32_t error_code = 1u << 11;
inline constexpr std::uint32_t nmi_unblocking = 1u << 12;
inline constexpr std::uint32_t nested = 1u << 13;
inline constexpr std::uint32_t valid = 1u << 31;
inline constexpr std::uint32_t entry_reserved = 0x7FFF'D000;  ///< bits 30:14 and 12 of 4016H
}  // namespace event_bits

constexpr std::uint32_t encode(const event_information& e) noexcept {
  return e.vector | static_cast<std::uint32_t>(e.type) << 8 | (e.error_code ? event_bits::error_code : 0) |
         (e.bit_12 ? event_bits::nmi_unblocking : 0) | (e.nested ? event_bits::nested : 0) |
         (e.valid ? event_bits::valid : 0);
}

constexpr event_information decode_event(std::uint32_t word) noexcept {
  return {static_cast<std::uint8_t>(word & event_bits::vector),
          static_cast<event_type>((word & event_bits::type) >> 8),
          (word & event_bits::error_code) != 0,
          (word & event_bits::nmi_unblocking) != 0,
          (word & event_bits::nested) != 0,
          (word & event_bits::valid) != 0};
}

/// "Injecting" in the SDM's sense: valid and vectored. Type 7 only makes an MTF exit pending. §29.6.
constexpr bool is_injecting(std::uint32_t entry_word) noexcept {
  return (entry_word & event_bits::valid) != 0 && decode_event(entry_word).type != event_type::other_event;
}

/// Guest activity state, SDM Vol. 3C §27.4.2; the values of field 4826H.
enum class activity_state : std::uint8_t { active = 0, hlt = 1, shutdown = 2, wait_for_sipi = 3 };

/// Bits of the guest interruptibility state, field 4824H, SDM Vol. 3C §27.4.2.
namespace interruptibility {
inline constexpr std::uint32_t sti = 1u << 0;
inline constexpr std::uint32_t mov_ss = 1u << 1;
inline constexpr std::uint32_t smi = 1u << 2;
inline constexpr std::uint32_t nmi = 1u << 3;  ///< virtual-NMI blocking when "virtual NMIs" is 1
inline constexpr std::uint32_t enclave = 1u << 4;
inline constexpr std::uint32_t reserved = ~std::uint32_t{31};
}  // namespace interruptibility

namespace rflags_bits {
inline constexpr std::uint64_t cf = 1u << 0;
inline constexpr std::uint64_t one = 1u << 1;  ///< always 1
inline constexpr std::uint64_t pf = 1u << 2;
inline constexpr std::uint64_t af = 1u << 4;
inline constexpr std::uint64_t zf = 1u << 6;
inline constexpr std::uint64_t sf = 1u << 7;
inline constexpr std::uint64_t tf = 1u << 8;
inline constexpr std::uint64_t interrupt_flag = 1u << 9;
inline constexpr std::uint64_t of = 1u << 11;
inline constexpr std::uint64_t rf = 1u << 16;
inline constexpr std::uint64_t vm = 1u << 17;
}  // namespace rflags_bits

/// What in the guest holds events back: RFLAGS and the interruptibility bits.
struct guest_blocking {
  std::uint64_t rflags = 0;
  std::uint32_t interruptibility = 0;

  /// Maskable interrupts could be delivered: IF = 1, no shadow of STI or MOV SS. SDM Vol. 3C §28.2.
  constexpr bool interrupt_window_open() const noexcept {
    return (rflags & rflags_bits::interrupt_flag) != 0 &&
           (interruptibility & (interruptibility::sti | interruptibility::mov_ss)) == 0;
  }
  /// NMIs could be delivered. `sti_blocks_nmi` is a switch: the SDM leaves it to the processor.
  constexpr bool nmi_window_open(bool sti_blocks_nmi = true) const noexcept {
    const std::uint32_t shadow = interruptibility::mov_ss | (sti_blocks_nmi ? interruptibility::sti : 0u);
    return (interruptibility & (interruptibility::nmi | shadow)) == 0;
  }
};

/// From the guest-state area.
guest_blocking blocking_of(const vmcs& v) noexcept;
activity_state activity_of(const vmcs& v) noexcept;

/// May an event of this kind be injected into this activity state? SDM Vol. 3C §29.3.1.5.
bool injectable(const event_information& e, activity_state activity) noexcept;

const char* name_of(event_type type) noexcept;
const char* name_of(activity_state activity) noexcept;

}  // namespace vmxsys::vmx
