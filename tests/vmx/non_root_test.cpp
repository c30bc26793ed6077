#include <vmxsys/vmx/non_root.hpp>
#include <vmxsys/vmx/preemption_timer.hpp>

#include <gtest/gtest.h>

#include "flat_memory.hpp"

namespace vmxsys::vmx {
namespace {

constexpr physical_address bitmap = 0x5000;

class vmx_non_root : public testing::Test {
 protected:
  void set_primary(std::uint64_t controls) { v.write(field::primary_processor_based_controls, controls); }
  void set_secondary(std::uint64_t controls) {
    set_primary(v.read(field::primary_processor_based_controls) | primary::activate_secondary_controls);
    v.write(field::secondary_processor_based_controls, controls);
  }
  void set_bit(physical_address byte, unsigned bit) { memory.write(byte, static_cast<std::uint8_t>(1u << bit)); }

  vmcs v{4};
  test::flat_memory memory;
};

TEST_F(vmx_non_root, secondary_controls_count_only_when_activated) {
  v.write(field::secondary_processor_based_controls, secondary::pause_loop_exiting | secondary::wbinvd_exiting);
  EXPECT_FALSE(spin_parameters_of(v).ple_enabled);
  EXPECT_FALSE(wbinvd_exits(v));
  set_primary(primary::activate_secondary_controls | primary::pause_exiting);
  v.write(field::ple_gap, 128);
  v.write(field::ple_window, 4096);
  const spin_parameters p = spin_parameters_of(v);
  EXPECT_TRUE(p.ple_enabled);
  EXPECT_TRUE(p.pause_exiting);
  EXPECT_EQ(p.ple_gap, 128u);
  EXPECT_EQ(p.ple_window, 4096u);
  EXPECT_TRUE(wbinvd_exits(v));
}

TEST_F(vmx_non_root, one_control_each) {
  EXPECT_FALSE(hlt_exits(v) || mwait_exits(v) || rdtsc_exits(v) || monitor_exits(v));
  set_primary(primary::hlt_exiting);
  EXPECT_TRUE(hlt_exits(v));
  set_primary(primary::mwait_exiting);
  EXPECT_TRUE(mwait_exits(v));
  set_primary(primary::rdtsc_exiting);
  EXPECT_TRUE(rdtsc_exits(v));
  EXPECT_TRUE(cpuid_exits() && vmcall_exits());
}

TEST_F(vmx_non_root, msr_bitmap_boundaries) {
  set_primary(primary::use_msr_bitmaps);
  v.write(field::msr_bitmap_address, bitmap);
  struct row {
    std::uint32_t msr;
    physical_address read_byte;
    unsigned bit;
  };
  for (const row& r : {row{0, 0, 0}, row{7, 0, 7}, row{8, 1, 0}, row{0x1FFF, 0x3FF, 7}, row{0xC000'0000, 0x400, 0},
                       row{0xC000'1FFF, 0x7FF, 7}, row{0x830, 0x106, 0}}) {
    EXPECT_FALSE(rdmsr_exits(v, memory, r.msr));
    EXPECT_FALSE(wrmsr_exits(v, memory, r.msr));
    set_bit(bitmap + r.read_byte, r.bit);
    EXPECT_TRUE(rdmsr_exits(v, memory, r.msr)) << std::hex << r.msr;
    EXPECT_FALSE(wrmsr_exits(v, memory, r.msr));
    memory.write(bitmap + r.read_byte, std::uint8_t{0});
    set_bit(bitmap + 0x800 + r.read_byte, r.bit);
    EXPECT_FALSE(rdmsr_exits(v, memory, r.msr));
    EXPECT_TRUE(wrmsr_exits(v, memory, r.msr)) << std::hex << r.msr;
  }
  for (const std::uint32_t outside : {0x2000u, 0xBFFF'FFFFu, 0xC000'2000u, 0x4000'0000u, 0xFFFF'FFFFu}) {
    EXPECT_TRUE(rdmsr_exits(v, memory, outside)) << std::hex << outside;
    EXPECT_TRUE(wrmsr_exits(v, memory, outside)) << std::hex << outside;
  }
}

TEST_F(vmx_non_root, without_msr_bitmaps_every_access_exits) {
  EXPECT_TRUE(rdmsr_exits(v, memory, 0x10));
  EXPECT_TRUE(wrmsr_exits(v, memory, 0x830));
}

TEST_F(vmx_non_root, io_bitmaps) {
  EXPECT_FALSE(io_exits(v, memory, 0x60, 1));
  set_primary(primary::unconditional_io_exiting);
  EXPECT_TRUE(io_exits(v, memory, 0x60, 1));
  set_primary(primary::unconditional_io_exiting | primary::use_io_bitmaps);
  v.write(field::io_bitmap_a_address, 0x6000);
  v.write(field::io_bitmap_b_address, 0x7000);
  EXPECT_FALSE(io_exits(v, memory, 0x60, 1)) << "the bitmaps replace the unconditional control";
  set_bit(0x7000, 0);
  EXPECT_TRUE(io_exits(v, memory, 0x8000, 1));
  EXPECT_TRUE(io_exits(v, memory, 0x7FFD, 4)) << "any byte of the access";
  EXPECT_FALSE(io_exits(v, memory, 0x7FFC, 4));
  EXPECT_FALSE(io_exits(v, memory, 0xFFFF, 1));
  EXPECT_TRUE(io_exits(v, memory, 0xFFFF, 2)) << "wraps";
}

TEST_F(vmx_non_root, external_interrupts) {
  using r = interrupt_response;
  using a = activity_state;
  const guest_blocking open{0x202, 0};
  const guest_blocking closed{0x002, 0};
  const guest_blocking shadow{0x202, interruptibility::sti};
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, open), r::deliver);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, closed), r::held);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, shadow), r::held);
  v.write(field::pin_based_controls, pin_based::external_interrupt_exiting);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, closed), r::exit) << "IF does not hold the exit back";
  EXPECT_EQ(respond_to_external_interrupt(v, a::hlt, closed), r::exit);
  EXPECT_EQ(respond_to_external_interrupt(v, a::shutdown, open), r::held);
  EXPECT_EQ(respond_to_external_interrupt(v, a::wait_for_sipi, open), r::held);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, shadow), r::held);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, shadow, false), r::exit);
}

TEST_F(vmx_non_root, acknowledge_on_exit_records_the_vector) {
  EXPECT_EQ(external_interrupt_exit(v, 0xEC).interruption_information, 0u);
  v.write(field::primary_vm_exit_controls, vm_exit_control::acknowledge_interrupt_on_exit);
  EXPECT_EQ(external_interrupt_exit(v, 0xEC).interruption_information, 0x8000'00ECu);
  EXPECT_EQ(external_interrupt_exit(v, 0xEC).reason, exit_reason::external_interrupt);
}

TEST_F(vmx_non_root, interrupt_window_exit) {
  const guest_blocking open{0x202, 0};
  EXPECT_FALSE(interrupt_window_exit_due(v, open));
  set_primary(primary::interrupt_window_exiting);
  EXPECT_TRUE(interrupt_window_exit_due(v, open));
  EXPECT_FALSE(interrupt_window_exit_due(v, {0x002, 0}));
  v.write(field::guest_rflags, 0x202);
  EXPECT_TRUE(interrupt_window_open(v));
  v.write(field::guest_interruptibility_state, interruptibility::mov_ss);
  EXPECT_FALSE(interrupt_window_open(v));
}

TEST_F(vmx_non_root, page_faults_match_or_invert_the_bitmap) {
  EXPECT_TRUE(exception_exits(v, 3, 0) == false);
  v.write(field::exception_bitmap, 1u << 3);
  EXPECT_TRUE(exception_exits(v, 3, 0));
  // Mask 0, match 0: equal, so the bitmap bit decides. Match 1 cannot be equal, which inverts it.
  EXPECT_FALSE(exception_exits(v, 14, 7));
  v.write(field::page_fault_error_code_match, 1);
  EXPECT_TRUE(exception_exits(v, 14, 7));
  v.write(field::exception_bitmap, 1u << 14);
  EXPECT_FALSE(exception_exits(v, 14, 7));
  v.write(field::page_fault_error_code_mask, 1);
  EXPECT_TRUE(exception_exits(v, 14, 7));
}

TEST_F(vmx_non_root, guest_tsc_offset_and_scaling) {
  v.write(field::tsc_offset, ~std::uint64_t{0});           // -1
  v.write(field::tsc_multiplier, std::uint64_t{3} << 47);  // 1.5
  EXPECT_EQ(guest_tsc(v, 1000), 1000u);
  set_secondary(secondary::use_tsc_scaling);
  EXPECT_EQ(guest_tsc(v, 1000), 1000u) << "scaling alone has no effect";
  set_primary(primary::use_tsc_offsetting);
  EXPECT_EQ(guest_tsc(v, 1000), 999u);
  set_secondary(secondary::use_tsc_scaling);
  EXPECT_EQ(guest_tsc(v, 1000), 1499u);
  EXPECT_EQ(guest_tsc(v, std::uint64_t{1} << 62), (std::uint64_t{3} << 61) - 1) << "a 128-bit product";
}

TEST(vmx_preemption_timer, counts_changes_of_a_tsc_bit) {
  EXPECT_EQ(preemption_timer_expiry(cycles{123456}, 1000, 5), cycles{155456});
  EXPECT_EQ(preemption_timer_expiry(cycles{123487}, 1000, 5), cycles{155456}) << "the first tick may be short";
  EXPECT_EQ(preemption_timer_expiry(cycles{123488}, 1000, 5), cycles{155488});
  EXPECT_EQ(preemption_timer_expiry(cycles{100}, 7, 0), cycles{107});
  EXPECT_LE(preemption_timer_expiry(cycles{123487}, 0, 5), cycles{123487}) << "0 has expired already";
  EXPECT_EQ(preemption_timer_expiry(cycles{31}, 1, 5), cycles{32});
  EXPECT_EQ(preemption_timer_expiry(cycles{0}, 0xFFFF'FFFF, 7), cycles{std::uint64_t{0xFFFF'FFFF} << 7});
}

TEST(vmx_preemption_timer, value_and_expiry_agree) {
  for (const unsigned shift : {0u, 5u, 7u})
    for (const std::uint64_t loaded : {0u, 1u, 31u, 127u, 128u, 5000u})
      for (const std::uint32_t value : {0u, 1u, 2u, 10u}) {
        const cycles expiry = preemption_timer_expiry(cycles{loaded}, value, shift);
        for (std::uint64_t t = loaded; t < loaded + 2000; ++t) {
          const bool expired = preemption_timer_expired(cycles{loaded}, value, shift, cycles{t});
          ASSERT_EQ(expired, cycles{t} >= expiry) << shift << " " << loaded << " " << value << " " << t;
        }
        EXPECT_EQ(preemption_timer_value(cycles{loaded}, value, shift, cycles{loaded}), value);
      }
  EXPECT_EQ(preemption_timer_value(cycles{123456}, 1000, 5, cycles{155455}), 1u);
  EXPECT_EQ(preemption_timer_value(cycles{123456}, 1000, 5, cycles{155456}), 0u);
}

}  // namespace
}  // namespace vmxsys::vmx
