#pragma once
#include <gtest/gtest.h>
#include <string>

#include <vmxsys/vmx/instructions/instruction.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>

#include "flat_memory.hpp"

// A guest in front of one instruction, for tests of what instructions do in VMX non-root operation.
namespace vmxsys::vmx::test {

inline constexpr physical_address msr_page = 0x5000;
inline constexpr physical_address port_page_a = 0x6000;
inline constexpr physical_address port_page_b = 0x7000;
inline constexpr physical_address vmread_page = 0x8000;
inline constexpr physical_address vmwrite_page = 0x9000;

// A guest in 64-bit mode at CPL 0 in which every instruction exists and nothing exits that need not.
struct guest {
  vmcs v{4};
  capabilities caps = find_capability_row("cascade_lake_sp")->values;
  test::flat_memory memory;
  guest_instruction i;
  instruction_switches switches;

  explicit guest(mnemonic what) {
    v.write(field::primary_processor_based_controls,
            primary::activate_secondary_controls | primary::activate_tertiary_controls | primary::use_msr_bitmaps);
    v.write(field::secondary_processor_based_controls,
            secondary::enable_rdtscp | secondary::enable_invpcid | secondary::enable_xsaves |
                secondary::enable_user_wait_and_pause | secondary::enable_vm_functions | secondary::vmcs_shadowing |
                secondary::enable_encls_exiting | secondary::enable_enclv_exiting | secondary::enable_pconfig);
    v.write(field::tertiary_processor_based_controls, tertiary::enable_msr_list_instructions | tertiary::enable_pbndkb);
    v.write(field::msr_bitmap_address, msr_page);
    v.write(field::io_bitmap_a_address, port_page_a);
    v.write(field::io_bitmap_b_address, port_page_b);
    v.write(field::vmread_bitmap_address, vmread_page);
    v.write(field::vmwrite_bitmap_address, vmwrite_page);
    v.write(field::vm_function_controls, 1);
    caps.ept_vpid |= 1ull << 20 | 1ull << 32;
    i.what = what;
    i.length = 3;
    i.mode.cr4 = cr4_bits::vmxe | cr4_bits::pae | cr4_bits::smxe | cr4_bits::osxsave | cr4_bits::kl | cr4_bits::pce;
    caps.cr4_fixed1 |= i.mode.cr4;
    i.in_smm = true;
    // Reading back what is there never exits, whatever the instruction.
    i.source = what == mnemonic::mov_to_cr4 ? i.mode.cr4 : what == mnemonic::mov_to_cr3 ? 0x1000 : i.mode.cr0;
    if (what == mnemonic::vmread || what == mnemonic::vmwrite) i.source = 0x681E;
    i.msr = 0xC0;
    i.port = 0x60;
  }
  void add(field f, std::uint64_t bits) { v.write(f, v.read(f) | bits); }
  void remove(field f, std::uint64_t bits) { v.write(f, v.read(f) & ~bits); }
  void primary_on(std::uint64_t bits) { add(field::primary_processor_based_controls, bits); }
  void secondary_on(std::uint64_t bits) { add(field::secondary_processor_based_controls, bits); }
  void tertiary_on(std::uint64_t bits) { add(field::tertiary_processor_based_controls, bits); }
  void set_bit(physical_address page, std::uint32_t bit) {
    const physical_address at = page + bit / 8;
    memory.write(at, static_cast<std::uint8_t>(memory.read<std::uint8_t>(at) | 1u << bit % 8));
  }
  instruction_outcome decide() const { return vmx::decide(v, caps, memory, i, switches); }
};

// What can be wrong, a letter each. Those from L on put the guest at CPL 3.
inline void spoil(guest& g, char how) {
  execution_mode& mode = g.i.mode;
  const auto legacy = [&] { mode.long_mode = mode.code_64_bit = false; };
  switch (how) {
    case 'P':
      legacy();
      mode.cr0 &= ~cr0_bits::pe;
      mode.cpl = 3;  // means nothing there
      break;
    case 'X':
      legacy();
      break;
    case 'C':
      mode.code_64_bit = false;
      break;
    case 'S':
      mode.cr4 &= ~cr4_bits::smxe;
      break;
    case 'O':
      mode.cr4 &= ~cr4_bits::osxsave;
      break;
    case 'K':
      mode.cr4 &= ~cr4_bits::kl;
      break;
    case 'E':
      g.caps.ept_vpid &= ~(1ull << 20);
      break;
    case 'F':
      g.caps.ept_vpid &= ~(1ull << 32);
      break;
    case 'R':
      g.i.in_smm = false;
      break;
    case 'N':
      g.i.user_msr_enabled = false;
      break;
    case 'Q':
      g.i.user_msr_permitted = false;
      break;
    case 'A':
      g.i.eax = 64;
      g.v.write(field::vm_function_controls, 0);
      break;
    case 'D':
      mode.cr4 |= cr4_bits::de;
      g.i.debug_register = 5;
      break;
    case 'L':
      mode.cpl = 3;
      break;
    case 'V':
      legacy();
      mode.virtual_8086 = true;
      break;
    case 'T':
      mode.cpl = 3;
      mode.cr4 |= cr4_bits::tsd;
      break;
    case 'M':
      mode.cpl = 3;
      mode.cr4 &= ~cr4_bits::pce;
      break;
    case 'U':
      mode.cpl = 3;
      mode.cr4 |= cr4_bits::umip;
      break;
    case 'I':  // CPL above IOPL
      mode.cpl = 3;
      g.i.rflags |= 2u << 12;
      g.i.port_permitted = false;
      break;
    case 'J':  // IOPL does not help in virtual-8086 mode
      legacy();
      mode.virtual_8086 = true;
      g.i.rflags |= 3u << 12;
      g.i.port_permitted = false;
      break;
    default:
      FAIL() << how;
  }
}
inline const std::string every_spoiler = "PXCSOKEFRNQADLVTMUIJ";

// Arrangements that make an instruction exit.
inline void masked_ts(guest& g) {
  g.v.write(field::cr0_guest_host_mask, cr0_bits::ts);
  g.v.write(field::cr0_read_shadow, cr0_bits::ts);
}
inline void masked_lmsw(guest& g) {
  masked_ts(g);
  g.i.source = 0xABC1;
  g.i.memory_operand = true;
  g.i.linear_address = 0x4444;
}
inline void port_bit(guest& g) {
  g.primary_on(primary::use_io_bitmaps);
  g.set_bit(port_page_a, 0x63);
  g.i.bytes = 4;
  g.i.rep = true;
  g.i.immediate_port = true;
  g.i.linear_address = 0x5555;
}

}  // namespace vmxsys::vmx::test
