#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "notification.hpp"
#include "virtual_interrupts.hpp"

namespace vmxsys::apic {

// Posted interrupts: the descriptor, what a poster does to it (a processor's software, IPI virtualization, an
// interrupt-remapping unit), and what the processor that is notified does, step by step. SDM Vol. 3C §32.6; VT-d
// specification, "Interrupt Posting".

/// Layout of the 64-byte posted-interrupt descriptor; it lies at a multiple of 64. All little-endian.
namespace posted_interrupt_descriptor {
inline constexpr std::size_t bytes = 64;
inline constexpr std::size_t pir = 0;        ///< 256 posted-interrupt requests: vector v is bit v & 63 of word v / 64
inline constexpr std::size_t pir_words = 4;  ///< of 64 bits
inline constexpr std::size_t information = 32;  ///< a 64-bit word: ON, SN, NV, NDST
inline constexpr std::size_t software = 40;     ///< 24 bytes that no hardware looks at

/// In the information word.
inline constexpr std::uint64_t on = 1;                 ///< outstanding notification
inline constexpr std::uint64_t sn = 1u << 1;           ///< suppress notification
inline constexpr unsigned nv_shift = 16;               ///< notification vector, 8 bits
inline constexpr unsigned ndst_shift = 32;             ///< notification destination, 32 bits
inline constexpr std::uint64_t reserved = 0xFF00FFFC;  ///< bits 15:2 and 31:24

constexpr physical_address pir_word(physical_address descriptor, unsigned word) noexcept {
  return descriptor + pir + 8 * word;
}
/// Address of the 64-bit word that holds the request of `vector`, and its bit there.
constexpr physical_address pir_word_of(physical_address descriptor, std::uint8_t vector) noexcept {
  return pir_word(descriptor, vector >> 6);
}
constexpr std::uint64_t pir_bit_of(std::uint8_t vector) noexcept { return std::uint64_t{1} << (vector & 63); }
}  // namespace posted_interrupt_descriptor

/// The information word, decoded. Reserved bits are dropped and written as 0.
struct descriptor_info {
  bool outstanding = false;       ///< ON
  bool suppressed = false;        ///< SN
  std::uint8_t vector = 0;        ///< NV
  std::uint32_t destination = 0;  ///< NDST: an x2APIC ID, or an xAPIC ID in bits 15:8

  friend constexpr bool operator==(const descriptor_info& a, const descriptor_info& b) noexcept {
    return a.outstanding == b.outstanding && a.suppressed == b.suppressed && a.vector == b.vector &&
           a.destination == b.destination;
  }
};
constexpr std::uint64_t encode(const descriptor_info& i) noexcept {
  namespace d = posted_interrupt_descriptor;
  return (i.outstanding ? d::on : 0) | (i.suppressed ? d::sn : 0) | std::uint64_t{i.vector} << d::nv_shift |
         std::uint64_t{i.destination} << d::ndst_shift;
}
constexpr descriptor_info decode_descriptor_info(std::uint64_t word) noexcept {
  namespace d = posted_interrupt_descriptor;
  return {(word & d::on) != 0, (word & d::sn) != 0, static_cast<std::uint8_t>(word >> d::nv_shift),
          static_cast<std::uint32_t>(word >> d::ndst_shift)};
}

descriptor_info read_descriptor_info(const physical_memory& memory, physical_address descriptor);
void write_descriptor_info(physical_memory& memory, physical_address descriptor, const descriptor_info& info);

/// The PIR bit of `vector`, and whether any is set.
bool is_posted(const physical_memory& memory, physical_address descriptor, std::uint8_t vector);
bool any_posted(const physical_memory& memory, physical_address descriptor);

// Posting is two atomic read-modify-writes, of the PIR and of the information word. Each function is one of them; the
// caller sees to it that nothing else touches the word in between.

/// PIR[vector] := 1. True if it was 0 before.
bool set_pir(physical_memory& memory, physical_address descriptor, std::uint8_t vector);

/// If ON is 0, and SN is 0 or the interrupt is urgent: ON := 1, and the notification is to be sent.
std::optional<notification> announce(physical_memory& memory, physical_address descriptor, bool urgent = false);

/// Both, in this order: what IPI virtualization and an interrupt-remapping unit do. `urgent` (URG of a posted-format
/// remapping entry) ignores SN. `vector` is the virtual one.
std::optional<notification> post(physical_memory& memory, physical_address descriptor, std::uint8_t vector,
                                 bool urgent = false);

// -- the processor that is notified -----------------------------------------------------------------------------------

/// Posted-interrupt processing, SDM Vol. 3C §32.6, one step after the other. Nothing interrupts it.
enum class posting_step : std::uint8_t {
  acknowledge,  ///< the local APIC gives out the vector; another than the notification vector is an ordinary exit
  clear_on,     ///< a locked AND: only ON changes
  write_eoi,    ///< 0 to the local APIC's EOI register: the physical interrupt is over
  merge_pir,    ///< VIRR |= PIR, PIR := 0; no other agent comes between the read of a PIR bit and its clear
  raise_rvi,    ///< RVI := max(RVI, highest bit that was in PIR)
  evaluate,     ///< pending virtual interrupts
  done,
};
inline constexpr std::size_t posting_step_count = static_cast<std::size_t>(posting_step::done);

/// What a step touches: who pays for it, and who can race with it.
enum class posting_place : std::uint8_t { local_apic, descriptor, processor };

struct posting_step_info {
  posting_step step;
  const char* name;
  posting_place place;
};
inline constexpr std::array<posting_step_info, posting_step_count> posting_step_table{{
    {posting_step::acknowledge, "acknowledge", posting_place::local_apic},
    {posting_step::clear_on, "clear ON", posting_place::descriptor},
    {posting_step::write_eoi, "write EOI", posting_place::local_apic},
    {posting_step::merge_pir, "merge PIR", posting_place::descriptor},
    {posting_step::raise_rvi, "raise RVI", posting_place::processor},
    {posting_step::evaluate, "evaluate", posting_place::processor},
}};
constexpr const char* name_of(posting_step s) noexcept {
  return s == posting_step::done ? "done" : posting_step_table[static_cast<std::size_t>(s)].name;
}

/// Posted-interrupt processing in progress: a plain value. Between the steps the caller may let time pass and others
/// act on memory.
///
///     posted_processing p;
///     const std::uint8_t vector = <acknowledge the local APIC>;
///     if (!p.acknowledge(v, vector)) <VM exit 1 with this vector>;
///     while (p.next != posting_step::done) {
///       if (p.next == posting_step::write_eoi) <write 0 to the local APIC's EOI>;
///       p.step(a);
///     }
struct posted_processing {
  posting_step next = posting_step::acknowledge;
  std::int16_t highest_posted = -1;  ///< of the bits that merge_pir found in PIR; -1 for none

  /// The first step. False: not the notification vector; done, and the interrupt causes an ordinary exit 1.
  bool acknowledge(const vmx::vmcs& v, std::uint8_t vector) noexcept;

  /// Carries out `next`, which is neither acknowledge nor done, and goes on to the one after it. `write_eoi` does
  /// nothing here: the local APIC is the caller's.
  void step(const virtual_apic& a);

  friend constexpr bool operator==(const posted_processing& a, const posted_processing& b) noexcept {
    return a.next == b.next && a.highest_posted == b.highest_posted;
  }
};

/// "Process posted interrupts" is 1 and `vector` is the notification vector. SDM Vol. 3C §32.6.
bool is_notification(const vmx::vmcs& v, std::uint8_t vector) noexcept;

/// The two descriptor steps by themselves, for software and for tests. `merge_pir` moves PIR to VIRR and returns the
/// highest vector moved, or -1.
void clear_on(physical_memory& memory, physical_address descriptor);
int merge_pir(physical_memory& memory, physical_address descriptor, virtual_apic_page page);

}  // namespace vmxsys::apic
