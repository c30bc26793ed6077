#include <gtest/gtest.h>

#include <vmxsys/vmx/events/control_registers.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

#include "random_numbers.hpp"

namespace vmxsys::vmx {
namespace {

using which = masked_register;

struct owned : vmcs {
  owned(std::uint64_t mask, std::uint64_t shadow) : vmcs{4} {
    for (const field f : {field::cr0_guest_host_mask, field::cr4_guest_host_mask}) write(f, mask);
    for (const field f : {field::cr0_read_shadow, field::cr4_read_shadow}) write(f, shadow);
  }
};

capabilities processor() {
  capabilities caps;
  caps.cr0_fixed0 = 0x8000'0021;
  caps.cr0_fixed1 = 0xFFFF'FFFF;
  caps.cr4_fixed0 = 0x2000;
  caps.cr4_fixed1 = 0x37'27FF;
  return caps;
}

TEST(cr_mask, each_register_has_its_own) {
  vmcs v{4};
  v.write(field::cr0_guest_host_mask, 1);
  v.write(field::cr4_guest_host_mask, 2);
  v.write(field::cr0_read_shadow, 1);
  EXPECT_EQ(guest_view(v, which::cr0, 0xF0), 0xF1u);
  EXPECT_EQ(guest_view(v, which::cr4, 0xF2), 0xF0u);
  EXPECT_TRUE(mov_to_masked_exits(v, which::cr0, 0));
  EXPECT_FALSE(mov_to_masked_exits(v, which::cr4, 0));
  EXPECT_TRUE(mov_to_masked_exits(v, which::cr4, 2));
  EXPECT_EQ(after_mov(v, which::cr0, 0, ~std::uint64_t{0}), ~std::uint64_t{1});
  EXPECT_EQ(after_mov(v, which::cr4, 0, ~std::uint64_t{0}), ~std::uint64_t{2});
}

TEST(fixed_bits, must_be_as_the_msrs_say) {
  const owned v{0, 0};
  const capabilities caps = processor();
  EXPECT_FALSE(breaks_fixed_bits(v, caps, which::cr0, 0x8000'0021));
  for (const std::uint64_t bit : {cr0_bits::pe, cr0_bits::ne, cr0_bits::pg}) {
    EXPECT_TRUE(breaks_fixed_bits(v, caps, which::cr0, 0x8000'0031 & ~bit));
    EXPECT_FALSE(breaks_fixed_bits(owned{bit, 0}, caps, which::cr0, 0x8000'0031 & ~bit)) << "the host owns it";
  }
  EXPECT_TRUE(breaks_fixed_bits(v, caps, which::cr0, 0x1'8000'0021)) << "must be 0";
  EXPECT_FALSE(breaks_fixed_bits(v, caps, which::cr4, 0x2020));
  EXPECT_TRUE(breaks_fixed_bits(v, caps, which::cr4, 0x0020));
  EXPECT_TRUE(breaks_fixed_bits(v, caps, which::cr4, 0x2020 | 1u << 11));
  EXPECT_FALSE(breaks_fixed_bits(owned{1u << 11, 0}, caps, which::cr4, 0x2020 | 1u << 11));
}

TEST(fixed_bits, an_unrestricted_guest_frees_pe_and_pg_only) {
  owned v{0, 0};
  v.write(field::primary_processor_based_controls, primary::activate_secondary_controls);
  v.write(field::secondary_processor_based_controls, secondary::unrestricted_guest);
  const capabilities caps = processor();
  EXPECT_FALSE(breaks_fixed_bits(v, caps, which::cr0, cr0_bits::ne));
  EXPECT_FALSE(breaks_fixed_bits(v, caps, which::cr0, cr0_bits::ne | cr0_bits::pe));
  EXPECT_TRUE(breaks_fixed_bits(v, caps, which::cr0, cr0_bits::pe | cr0_bits::pg));
  EXPECT_TRUE(breaks_fixed_bits(v, caps, which::cr4, 0x20)) << "VMXE is not freed";
}

TEST(clts, by_mask_and_shadow) {
  EXPECT_EQ(clts(owned{0, 0}), clts_effect::clears);
  EXPECT_EQ(clts(owned{0, cr0_bits::ts}), clts_effect::clears);
  EXPECT_EQ(clts(owned{cr0_bits::ts, 0}), clts_effect::nothing);
  EXPECT_EQ(clts(owned{cr0_bits::ts, cr0_bits::ts}), clts_effect::exits);
  EXPECT_EQ(clts(owned{~cr0_bits::ts, ~std::uint64_t{0}}), clts_effect::clears);
}

// All masks, shadows, sources and old values of the four bits.
TEST(lmsw, every_combination) {
  for (unsigned mask = 0; mask < 16; ++mask)
    for (unsigned shadow = 0; shadow < 16; ++shadow)
      for (unsigned source = 0; source < 16; ++source) {
        const owned v{mask, shadow};
        bool exits = (mask & 1) != 0 && (source & 1) != 0 && (shadow & 1) == 0;
        for (unsigned bit = 1; bit <= 3; ++bit)
          exits = exits || ((mask >> bit & 1) != 0 && (source >> bit & 1) != (shadow >> bit & 1));
        EXPECT_EQ(lmsw_exits(v, static_cast<std::uint16_t>(source)), exits) << mask << ' ' << shadow << ' ' << source;
        for (unsigned real = 0; real < 16; ++real) {
          std::uint64_t expected = 0x8000'0030;
          for (unsigned bit = 0; bit <= 3; ++bit) {
            const bool old = real >> bit & 1, written = source >> bit & 1;
            const bool value = (mask >> bit & 1) != 0 ? old : bit == 0 ? old || written : written;
            expected |= value ? 1u << bit : 0;
          }
          EXPECT_EQ(after_lmsw(v, 0x8000'0030 | real, static_cast<std::uint16_t>(source)), expected);
        }
      }
  EXPECT_FALSE(lmsw_exits(owned{0xFFF0, 0}, 0xFFF0)) << "bits above 3 are not LMSW's";
  EXPECT_EQ(after_lmsw(owned{0, 0}, 0x8000'0031, 0xFFF0), 0x8000'0031u);
}

TEST(cr3_targets, only_the_first_n_count) {
  const field targets[] = {field::cr3_target_value_0, field::cr3_target_value_1, field::cr3_target_value_2,
                           field::cr3_target_value_3};
  vmcs v{4};
  for (unsigned i = 0; i < 4; ++i) v.write(targets[i], 0x1000 * (i + 1));
  EXPECT_FALSE(mov_to_cr3_exits(v, 0x9000)) << "without the control";
  v.write(field::primary_processor_based_controls, primary::cr3_load_exiting);
  for (unsigned count = 0; count <= 5; ++count) {
    v.write(field::cr3_target_count, count);
    for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(mov_to_cr3_exits(v, 0x1000 * (i + 1)), i >= count) << count << i;
    EXPECT_TRUE(mov_to_cr3_exits(v, 0x1001)) << "all 64 bits are compared";
    EXPECT_TRUE(mov_to_cr3_exits(v, 1ull << 63 | 0x1000));
  }
}

TEST(pdptes, reload_when_pae_paging_is_touched) {
  const std::uint64_t cr0 = 0x8000'0031, cr4 = 0x2020;
  EXPECT_TRUE(reloads_pdptes(which::cr0, cr0 & ~cr0_bits::pg, cr0, cr4, false)) << "paging comes on";
  EXPECT_FALSE(reloads_pdptes(which::cr0, cr0, cr0 & ~cr0_bits::pg, cr4, false)) << "off";
  EXPECT_FALSE(reloads_pdptes(which::cr0, cr0 & ~cr0_bits::pg, cr0, cr4, true)) << "IA-32e mode";
  EXPECT_FALSE(reloads_pdptes(which::cr0, cr0 & ~cr0_bits::pg, cr0, cr4 & ~cr4_bits::pae, false));
  for (const std::uint64_t bit : {cr0_bits::cd, cr0_bits::nw})
    EXPECT_TRUE(reloads_pdptes(which::cr0, cr0, cr0 | bit, cr4, false));
  EXPECT_FALSE(reloads_pdptes(which::cr0, cr0, cr0 | cr0_bits::ts, cr4, false));
  EXPECT_FALSE(reloads_pdptes(which::cr0, cr0, cr0, cr4, false));
  for (const std::uint64_t bit : {cr4_bits::pge, cr4_bits::pse, cr4_bits::smep})
    EXPECT_TRUE(reloads_pdptes(which::cr4, cr4, cr4 | bit, cr0, false));
  EXPECT_TRUE(reloads_pdptes(which::cr4, cr4 & ~cr4_bits::pae, cr4, cr0, false));
  EXPECT_FALSE(reloads_pdptes(which::cr4, cr4, cr4 & ~cr4_bits::pae, cr0, false));
  EXPECT_FALSE(reloads_pdptes(which::cr4, cr4, cr4 | cr4_bits::umip, cr0, false));
  EXPECT_FALSE(reloads_pdptes(which::cr4, cr4, cr4 | cr4_bits::pge, cr0 & ~cr0_bits::pg, false));
}

// The rules once more, bit by bit.
TEST(cr_mask, agrees_with_a_bitwise_restatement_on_random_values) {
  vmxsys::testing::random_numbers random{27};
  const capabilities caps = processor();
  int exits = 0, faults = 0, loads = 0;
  for (int n = 0; n < 50'000; ++n) {
    const which reg = random.one_in(2) ? which::cr0 : which::cr4;
    const bool cr0 = reg == which::cr0;
    const std::uint64_t legal = cr0 ? 0x8000'0031 : 0x2020;
    const auto sparse = [&] { return random() & random() & random() & random(); };
    const std::uint64_t mask = random.one_in(3) ? random() : sparse(), shadow = legal ^ sparse();
    const std::uint64_t real = legal ^ (sparse() & 0x1E);
    const std::uint64_t allowed = cr0 ? caps.cr0_fixed1 : caps.cr4_fixed1;
    const std::uint64_t source =
        random.one_in(2) ? (shadow & mask) | ((real ^ (sparse() & allowed)) & ~mask) : real ^ (sparse() & sparse());
    const bool unrestricted = random.one_in(2);
    owned v{mask, shadow};
    v.write(field::primary_processor_based_controls, primary::activate_secondary_controls);
    v.write(field::secondary_processor_based_controls, unrestricted ? secondary::unrestricted_guest : 0);

    bool exit = false, fault = false;
    std::uint64_t seen = 0, loaded = 0;
    for (unsigned bit = 0; bit < 64; ++bit) {
      const auto of = [bit](std::uint64_t word) { return (word >> bit & 1) != 0; };
      const auto put = [bit](std::uint64_t& word, bool value) { word |= value ? 1ull << bit : 0; };
      if (of(mask)) {
        if (of(source) != of(shadow)) exit = true;
        put(seen, of(shadow));
        put(loaded, of(real));
        continue;
      }
      put(seen, of(real));
      put(loaded, of(source));
      const bool must_be_1 = of(cr0 ? caps.cr0_fixed0 : caps.cr4_fixed0);
      const bool may_be_1 = of(cr0 ? caps.cr0_fixed1 : caps.cr4_fixed1);
      const bool freed = unrestricted && cr0 && (bit == 0 || bit == 31);
      if (!freed && ((must_be_1 && !of(source)) || (!may_be_1 && of(source)))) fault = true;
    }
    ASSERT_EQ(mov_to_masked_exits(v, reg, source), exit);
    ASSERT_EQ(guest_view(v, reg, real), seen);
    ASSERT_EQ(after_mov(v, reg, real, source), loaded);
    ASSERT_EQ(breaks_fixed_bits(v, caps, reg, source), fault);
    ++(exit ? exits : fault ? faults : loads);
  }
  EXPECT_GT(exits, 5000);
  EXPECT_GT(faults, 2000);
  EXPECT_GT(loads, 1000);
}

}  // namespace
}  // namespace vmxsys::vmx
