#include <gtest/gtest.h>

#include <vmxsys/apic/virtualization/x2apic_access.hpp>

#include "virtual_apic_bench.hpp"

namespace vmxsys::apic {
namespace {

using apic_testing::all_apic_controls;
using apic_testing::is_quiet;
using apic_testing::is_trap;
using apic_testing::virtual_apic_bench;
using vmx::exit_reason;
using vmx::field;
using verdict = x2apic_verdict;

constexpr apic_controls tpr_shadow = apic_controls{} | apic_control::tpr_shadow;
constexpr apic_controls with_arv = tpr_shadow | apic_control::register_virtualization;
constexpr apic_controls with_vid = tpr_shadow | apic_control::interrupt_delivery;
constexpr apic_controls with_ipiv = tpr_shadow | apic_control::ipi_virtualization;

// Every MSR of the range in both directions, under every combination of the controls: the manual's sentences once more.
TEST(virtual_x2apic, every_msr_direction_and_control) {
  for (const apic_controls controls : all_apic_controls()) {
    if (!has(controls, apic_control::tpr_shadow)) continue;
    const bool arv = controls & 2, vid = controls & 4, ipiv = controls & 8;
    for (std::uint32_t msr = 0x800; msr <= 0x8FF; ++msr) {
      virtual_apic_bench b;
      b.with(controls);
      const auto at = static_cast<std::uint16_t>((msr - 0x800) * 16);
      b.page().write_64(at, 0x1122334455667788);
      const bool read = msr == 0x808 || arv;
      const x2apic_outcome r = read_x2apic(b.a, msr);
      ASSERT_EQ(r.verdict, read ? verdict::virtualized : verdict::native) << std::hex << msr;
      ASSERT_EQ(r.value, read ? 0x1122334455667788u : 0u) << std::hex << msr;
      ASSERT_TRUE(is_quiet(r.result));

      const bool write = msr == 0x808 || (vid && (msr == 0x80B || msr == 0x83F)) || (ipiv && msr == 0x830);
      const x2apic_outcome w = write_x2apic(b.a, msr, 0);
      ASSERT_EQ(w.verdict, write ? verdict::virtualized : verdict::native) << std::hex << msr;
      ASSERT_EQ(b.page().read_64(at), write ? 0 : 0x1122334455667788u) << std::hex << msr;
    }
  }
}

// Which bits of the value make a virtualized write fault: each by itself.
TEST(virtual_x2apic, every_reserved_bit_faults_and_changes_nothing) {
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t value = std::uint64_t{1} << bit;
    const auto expect = [&](std::uint32_t msr, bool faults) {
      virtual_apic_bench b;
      b.with(with_vid | apic_control::ipi_virtualization);
      b.page().write_64(offset_of(msr), 0xABCD);
      const x2apic_outcome o = write_x2apic(b.a, msr, value);
      EXPECT_EQ(o.verdict, faults ? verdict::fault_gp : verdict::virtualized) << std::hex << msr << ' ' << bit;
      EXPECT_EQ(b.page().read_64(offset_of(msr)), faults ? 0xABCD : value) << std::hex << msr << ' ' << bit;
      if (faults) EXPECT_TRUE(is_quiet(o.result));
    };
    expect(0x808, bit >= 8);
    expect(0x80B, true);
    expect(0x83F, bit >= 8);
    expect(0x830, bit == 13 || bit == 16 || bit == 17 || (bit >= 20 && bit < 32));
  }
}

TEST(virtual_x2apic, tpr_write_is_tpr_virtualization) {
  virtual_apic_bench b;
  b.with(tpr_shadow);
  b.v.write(field::tpr_threshold, 4);
  b.page().write_64(vapic::tpr, ~std::uint64_t{0});
  EXPECT_TRUE(is_trap(write_x2apic(b.a, 0x808, 0x3F).result, exit_reason::tpr_below_threshold, 0));
  EXPECT_EQ(b.page().read_64(vapic::tpr), 0x3Fu);
  EXPECT_TRUE(is_quiet(write_x2apic(b.a, 0x808, 0x40).result));
  EXPECT_EQ(read_x2apic(b.a, 0x808).value, 0x40u);
}

TEST(virtual_x2apic, eoi_write_is_eoi_virtualization) {
  virtual_apic_bench b;
  b.with(with_vid);
  b.page().set_in_service(0x52);
  b.page().set_in_service(0x81);
  b.state.svi = 0x81;
  b.eoi_exit(0x81);
  EXPECT_TRUE(is_trap(write_x2apic(b.a, 0x80B, 0).result, exit_reason::virtualized_eoi, 0x81));
  EXPECT_EQ(b.state.svi, 0x52);
  EXPECT_TRUE(is_quiet(write_x2apic(b.a, 0x80B, 0).result));
  EXPECT_EQ(b.state.svi, 0);
}

TEST(virtual_x2apic, self_ipi_is_pended_from_vector_16_and_exits_below) {
  virtual_apic_bench b;
  b.with(with_vid);
  EXPECT_TRUE(is_trap(write_x2apic(b.a, 0x83F, 15).result, exit_reason::apic_write, 0x3F0));
  EXPECT_EQ(b.page().read_64(vapic::self_ipi), 15u);
  EXPECT_EQ(b.state.rvi, 0);
  EXPECT_TRUE(is_quiet(write_x2apic(b.a, 0x83F, 16).result));
  EXPECT_EQ(b.state.rvi, 16);
  EXPECT_TRUE(b.page().requested(16));
  EXPECT_TRUE(b.state.recognized);
}

TEST(virtual_x2apic, icr_is_virtualized_for_one_plain_fixed_ipi_only) {
  virtual_apic_bench b;
  b.with(with_ipiv | apic_control::interrupt_delivery);
  b.v.write(field::last_pid_pointer_index, 0xFFFF);
  b.memory.write<std::uint64_t>(b.table + 8 * 0x104, b.descriptor | 1);
  // Bit 14 (level) does not count, bit 12 does.
  for (const std::uint64_t low : {0x00FDu, 0x40FDu}) {
    const x2apic_outcome o = write_x2apic(b.a, 0x830, std::uint64_t{0x104} << 32 | low);
    EXPECT_EQ(o.verdict, verdict::virtualized);
    EXPECT_EQ(o.result.posted, b.descriptor);
    EXPECT_FALSE(o.result.trap);
    EXPECT_EQ(b.page().read_64(vapic::icr_low), std::uint64_t{0x104} << 32 | low);
  }
  for (const std::uint64_t low : {0x10FDu, 0x01FDu, 0x04FDu, 0x08FDu, 0x80FDu, 0x800FDu, 0xC00FDu, 0x000Fu})
    EXPECT_TRUE(
        is_trap(write_x2apic(b.a, 0x830, std::uint64_t{0x104} << 32 | low).result, exit_reason::apic_write, 0x300))
        << std::hex << low;
}

TEST(virtual_x2apic, self_shorthand_in_the_icr_is_not_virtualized) {
  virtual_apic_bench b;
  b.with(with_vid | apic_control::ipi_virtualization);
  EXPECT_TRUE(is_trap(write_x2apic(b.a, 0x830, 0x40041).result, exit_reason::apic_write, 0x300));
  EXPECT_EQ(b.state, virtual_interrupt_state{});
  // Without IPI virtualization it is the physical local APIC's.
  b.with(with_vid);
  EXPECT_EQ(write_x2apic(b.a, 0x830, 0x40041).verdict, verdict::native);
}

TEST(virtual_x2apic, the_destination_has_32_bits_and_none_is_a_broadcast) {
  virtual_apic_bench b;
  b.with(with_ipiv);
  b.v.write(field::last_pid_pointer_index, 0xFFFF);
  for (const std::uint64_t to : {0xFFFFFFFFu, 0x10000u})
    EXPECT_TRUE(is_trap(write_x2apic(b.a, 0x830, to << 32 | 0x41).result, exit_reason::apic_write, 0x300));
  for (const std::uint64_t to : {0xFFu, 0xFFFFu}) {
    b.memory.write<std::uint64_t>(b.table + 8 * to, b.descriptor | 1);
    EXPECT_TRUE(write_x2apic(b.a, 0x830, to << 32 | 0x41).result.posted);
  }
}

TEST(virtual_x2apic, every_row_is_the_first_that_fits_somewhere) {
  const auto row = [](apic_controls c, std::uint32_t msr, bool write) {
    return &find_x2apic_rule(c, msr, write) - x2apic_table.data();
  };
  EXPECT_EQ(row(tpr_shadow, 0x808, false), 0);
  EXPECT_EQ(row(with_arv, 0x802, false), 1);
  EXPECT_EQ(row(tpr_shadow, 0x802, false), 2);
  EXPECT_EQ(row(tpr_shadow, 0x808, true), 3);
  EXPECT_EQ(row(with_vid, 0x80B, true), 4);
  EXPECT_EQ(row(with_vid, 0x83F, true), 5);
  EXPECT_EQ(row(with_ipiv, 0x830, true), 6);
  EXPECT_EQ(row(with_arv, 0x80F, true), 7);
}

// -- CR8 --------------------------------------------------------------------------------------------------------------

TEST(virtual_cr8, is_the_upper_half_of_vtpr) {
  virtual_apic_bench b;
  for (unsigned vtpr = 0; vtpr < 256; ++vtpr) {
    b.page().write_32(vapic::tpr, vtpr | 0xFFFFFF00);
    EXPECT_EQ(read_cr8(b.a), vtpr / 16);
  }
  for (unsigned cr8 = 0; cr8 < 16; ++cr8) {
    b.page().write_32(vapic::tpr, 0xFFFFFFFF);
    EXPECT_TRUE(is_quiet(write_cr8(b.a, cr8)));
    EXPECT_EQ(b.page().read_32(vapic::tpr), cr8 * 16);
  }
}

TEST(virtual_cr8, write_is_tpr_virtualization) {
  virtual_apic_bench b;
  b.v.write(field::tpr_threshold, 7);
  EXPECT_TRUE(is_trap(write_cr8(b.a, 6), exit_reason::tpr_below_threshold, 0));
  EXPECT_TRUE(is_quiet(write_cr8(b.a, 7)));
  b.delivering();
  self_ipi_virtualization(b.a, 0x71);
  write_cr8(b.a, 7);
  EXPECT_FALSE(b.state.recognized);
  write_cr8(b.a, 6);
  EXPECT_TRUE(b.state.recognized);
}

}  // namespace
}  // namespace vmxsys::apic
