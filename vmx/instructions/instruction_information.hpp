#pragma once
#include <cstdint>

#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>

namespace vmxsys::vmx {

/// The VM-exit instruction information (440EH), all formats of SDM Vol. 3C §30.2.5 in one struct: the operands of the
/// instruction that exited, so that software need not decode it. A format has some of the parts; `encode` and
/// `decode_information` leave the others 0.
struct instruction_information {
  std::uint8_t scaling = 0;                        ///< 1:0, the index is multiplied by 2^scaling
  general_register reg1 = general_register::rax;   ///< 6:3, the register operand (VMREAD, VMWRITE: if `in_register`)
  std::uint8_t address_size = 2;                   ///< 9:7, 0 16 bits, 1 32, 2 64
  bool in_register = false;                        ///< 10, the r/m operand is a register
  std::uint8_t operand_size = 0;                   ///< 12:11, 0 16 bits, 1 32, 2 64; descriptor tables: 11 only
  std::uint8_t segment = 0;                        ///< 17:15, 0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS
  general_register index = general_register::rax;  ///< 21:18
  bool no_index = false;                           ///< 22
  general_register base = general_register::rax;   ///< 26:23
  bool no_base = false;                            ///< 27
  std::uint8_t identity = 0;                       ///< 29:28, SGDT SIDT LGDT LIDT or SLDT STR LLDT LTR
  general_register reg2 = general_register::rax;   ///< 31:28, second register operand (the encoding, the type)
};

/// The bits a format defines; the others are undefined on a processor and 0 here.
constexpr std::uint32_t defined_bits(information_kind kind) noexcept {
  constexpr std::uint32_t scaling = 3, reg1 = 15u << 3, address_size = 7u << 7, in_register = 1u << 10;
  constexpr std::uint32_t operand_size = 3u << 11, segment = 7u << 15, index = 31u << 18, base = 31u << 23;
  constexpr std::uint32_t identity = 3u << 28, reg2 = 15u << 28;
  constexpr std::uint32_t address = scaling | address_size | segment | index | base;
  switch (kind) {
    case information_kind::none:
      return 0;
    case information_kind::string_io:
      return address_size | segment;
    case information_kind::invalidation:
      return address | reg2;
    case information_kind::descriptor_table:
      return address | 1u << 11 | identity;
    case information_kind::segment:
      return address | reg1 | in_register | identity;
    case information_kind::sized_register:
      return reg1 | operand_size;
    case information_kind::memory:
      return address;
    case information_kind::vmread_vmwrite:
      return address | reg1 | in_register | reg2;
    case information_kind::two_registers:
      return reg1 | reg2;
    case information_kind::one_register:
      return reg1;
  }
  return 0;
}

constexpr std::uint32_t encode(const instruction_information& i, information_kind kind) noexcept {
  const auto number = [](general_register r) { return std::uint32_t{static_cast<std::uint8_t>(r)}; };
  const bool has_identity = kind == information_kind::descriptor_table || kind == information_kind::segment;
  const std::uint32_t all = (i.scaling & 3u) | number(i.reg1) << 3 | (i.address_size & 7u) << 7 |
                            (i.in_register ? 1u << 10 : 0) | (i.operand_size & 3u) << 11 | (i.segment & 7u) << 15 |
                            number(i.index) << 18 | (i.no_index ? 1u << 22 : 0) | number(i.base) << 23 |
                            (i.no_base ? 1u << 27 : 0) |
                            (has_identity ? (i.identity & 3u) << 28 : number(i.reg2) << 28);
  return all & defined_bits(kind);
}

constexpr instruction_information decode_information(std::uint32_t word, information_kind kind) noexcept {
  const std::uint32_t w = word & defined_bits(kind);
  const auto reg = [w](unsigned low) { return static_cast<general_register>(qualification::detail::bits(w, low, 4)); };
  const bool has_identity = kind == information_kind::descriptor_table || kind == information_kind::segment;
  return {qualification::detail::bits(w, 0, 2),
          reg(3),
          qualification::detail::bits(w, 7, 3),
          qualification::detail::bit(w, 10),
          qualification::detail::bits(w, 11, 2),
          qualification::detail::bits(w, 15, 3),
          reg(18),
          qualification::detail::bit(w, 22),
          reg(23),
          qualification::detail::bit(w, 27),
          has_identity ? qualification::detail::bits(w, 28, 2) : std::uint8_t{0},
          has_identity ? general_register::rax : reg(28)};
}

}  // namespace vmxsys::vmx
