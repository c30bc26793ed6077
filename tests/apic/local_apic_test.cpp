#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

#include <vmxsys/apic/local/local_apic.hpp>

namespace {

using vmxsys::cycles;
using namespace vmxsys::apic;

constexpr std::uint64_t x2apic_on = 0xFEE00C00;

/// In x2APIC mode and enabled by SVR, as an operating system leaves it.
local_apic enabled_apic(std::uint32_t id = 3, const local_apic_options& options = {}) {
  local_apic apic{id, false, {}, options};
  apic.enter_x2apic();
  apic.write_msr(msr::svr, 0x1FF, cycles{0});
  return apic;
}

std::uint64_t read(const local_apic& apic, std::uint32_t number, std::uint64_t now = 0) {
  const register_outcome outcome = apic.read_msr(number, cycles{now});
  EXPECT_FALSE(outcome.fault) << std::hex << number;
  return outcome.value;
}

register_outcome write(local_apic& apic, std::uint32_t number, std::uint64_t value, std::uint64_t now = 0) {
  const register_outcome outcome = apic.write_msr(number, value, cycles{now});
  EXPECT_FALSE(outcome.fault) << std::hex << number << " = " << value;
  return outcome;
}

bool write_faults(local_apic apic, std::uint32_t number, std::uint64_t value) {
  return apic.write_msr(number, value, cycles{0}).fault;
}

void serve(local_apic& apic, std::uint8_t vector) {
  apic.accept(vector);
  ASSERT_EQ(apic.acknowledge(), vector);
}

// The register map ---------------------------------------------------------------------------------------------------

enum class rule { rw, ro, wo };
struct expected_register {
  rule access;
  std::uint64_t writable;
  std::uint64_t reset;
};

/// The map again, written down apart from the one in the product: MSR, access, writable bits, value after RESET.
std::map<std::uint32_t, expected_register> expected_map(std::uint32_t id) {
  std::map<std::uint32_t, expected_register> map{
      {0x802, {rule::ro, 0, id}},
      {0x803, {rule::ro, 0, 0x01060015}},
      {0x808, {rule::rw, 0x000000FF, 0}},
      {0x80A, {rule::ro, 0, 0}},
      {0x80B, {rule::wo, 0, 0}},
      {0x80D, {rule::ro, 0, (id & 0xFFFF0) << 12 | 1U << (id & 15)}},
      {0x80F, {rule::rw, 0x000013FF, 0xFF}},
      {0x828, {rule::rw, 0, 0}},
      {0x82F, {rule::rw, 0x000117FF, 0x10000}},
      {0x830, {rule::rw, 0xFFFFFFFF'000CDFFF, 0}},
      {0x832, {rule::rw, 0x000710FF, 0x10000}},
      {0x833, {rule::rw, 0x000117FF, 0x10000}},
      {0x834, {rule::rw, 0x000117FF, 0x10000}},
      {0x835, {rule::rw, 0x0001F7FF, 0x10000}},
      {0x836, {rule::rw, 0x0001F7FF, 0x10000}},
      {0x837, {rule::rw, 0x000110FF, 0x10000}},
      {0x838, {rule::rw, 0xFFFFFFFF, 0}},
      {0x839, {rule::ro, 0, 0}},
      {0x83E, {rule::rw, 0x0000000B, 0}},
      {0x83F, {rule::wo, 0x000000FF, 0}},
  };
  for (std::uint32_t i = 0; i < 8; ++i)
    for (std::uint32_t set : {0x810U, 0x818U, 0x820U}) map[set + i] = {rule::ro, 0, 0};
  return map;
}

TEST(local_apic_registers, every_msr_of_the_range_obeys_its_access_rule) {
  const std::uint32_t id = 0x123;
  const auto map = expected_map(id);
  local_apic apic{id, false};
  apic.enter_x2apic();
  for (std::uint32_t number = 0x800; number <= 0x8FF; ++number) {
    const auto found = map.find(number);
    const bool present = found != map.end();
    SCOPED_TRACE(testing::Message() << std::hex << number);
    const register_outcome value = apic.read_msr(number, cycles{0});
    EXPECT_EQ(value.fault, !present || found->second.access == rule::wo);
    if (!value.fault) {
      EXPECT_EQ(value.value, found->second.reset);
    }
    EXPECT_EQ(write_faults(apic, number, 0), !present || found->second.access == rule::ro);
  }
}

TEST(local_apic_registers, every_reserved_bit_of_every_register_faults) {
  local_apic apic{0x123, false};
  apic.enter_x2apic();
  for (const auto& [number, reg] : expected_map(0x123))
    for (int bit = 0; bit < 64; ++bit) {
      const std::uint64_t value = std::uint64_t{1} << bit;
      const bool legal = reg.access != rule::ro && (reg.writable & value) != 0;
      EXPECT_EQ(write_faults(apic, number, value), !legal) << std::hex << number << std::dec << " bit " << bit;
    }
}

TEST(local_apic_registers, a_fault_changes_nothing) {
  local_apic apic = enabled_apic();
  write(apic, msr::tpr, 0x20);
  EXPECT_TRUE(apic.write_msr(msr::tpr, 0x130, cycles{0}).fault);
  EXPECT_EQ(read(apic, msr::tpr), 0x20U);
  EXPECT_TRUE(apic.write_msr(msr::icr, 0x20040, cycles{0}).fault);
  EXPECT_EQ(read(apic, msr::icr), 0U);
}

TEST(local_apic_registers, nothing_in_the_range_answers_outside_x2apic_mode) {
  local_apic apic{0, true};
  for (std::uint32_t number = 0x800; number <= 0x8FF; ++number) {
    EXPECT_TRUE(apic.read_msr(number, cycles{0}).fault);
    EXPECT_TRUE(write_faults(apic, number, 0));
  }
}

TEST(local_apic_registers, other_msrs_are_not_ours) {
  local_apic apic = enabled_apic();
  for (std::uint32_t number : {0x10U, 0x1AU, 0x1CU, 0x6DFU, 0x6E1U, 0x7FFU, 0x900U}) {
    EXPECT_FALSE(local_apic::handles(number));
    EXPECT_TRUE(apic.read_msr(number, cycles{0}).fault);
    EXPECT_TRUE(write_faults(apic, number, 0));
  }
  for (std::uint32_t number : {0x1BU, 0x6E0U, 0x800U, 0x8FFU}) EXPECT_TRUE(local_apic::handles(number));
}

TEST(local_apic_registers, optional_parts) {
  local_apic_options options;
  options.cmci = false;
  options.eoi_broadcast_suppression = false;
  options.tsc_deadline = false;
  options.version = 0x14;
  local_apic apic = enabled_apic(3, options);
  EXPECT_EQ(read(apic, msr::version), 0x00050014U);
  EXPECT_TRUE(apic.read_msr(msr::lvt_cmci, cycles{0}).fault);
  EXPECT_TRUE(write_faults(apic, msr::lvt_cmci, 0x10000));
  EXPECT_TRUE(write_faults(apic, msr::svr, 0x11FF));
  EXPECT_TRUE(write_faults(apic, msr::lvt_timer, 0x400EC));
  EXPECT_FALSE(write_faults(apic, msr::lvt_timer, 0x200EC));
  EXPECT_TRUE(apic.read_msr(msr::tsc_deadline, cycles{0}).fault);
  EXPECT_TRUE(write_faults(apic, msr::tsc_deadline, 0));
}

TEST(local_apic_registers, written_values_read_back_without_the_read_only_bits) {
  local_apic apic = enabled_apic();
  struct row {
    std::uint32_t number;
    std::uint64_t written, read;
  };
  for (const row& r : {row{0x808, 0x5A, 0x5A}, row{0x80F, 0x13EE, 0x13EE}, row{0x82F, 0x117FF, 0x107FF},
                       row{0x830, 0xABCD0001'000CD4FF, 0xABCD0001'000CC4FF}, row{0x832, 0x310FF, 0x300FF},
                       row{0x835, 0x1F7FF, 0x1A7FF}, row{0x837, 0x010FE, 0x000FE}, row{0x83E, 0xB, 0xB},
                       row{0x838, 0xFFFFFFFF, 0xFFFFFFFF}}) {
    write(apic, r.number, r.written);
    EXPECT_EQ(read(apic, r.number), r.read) << std::hex << r.number;
  }
}

TEST(local_apic_registers, timer_mode_three_faults) {
  EXPECT_TRUE(write_faults(enabled_apic(), msr::lvt_timer, 0x600EC));
}

TEST(local_apic_registers, irr_isr_and_tmr_show_their_vectors) {
  local_apic apic = enabled_apic();
  apic.accept(0xE5, true);
  apic.accept(0x41);
  EXPECT_EQ(read(apic, msr::irr + 7), 1U << 5);
  EXPECT_EQ(read(apic, msr::irr + 2), 1U << 1);
  EXPECT_EQ(read(apic, msr::tmr + 7), 1U << 5);
  EXPECT_EQ(read(apic, msr::tmr + 2), 0U);
  apic.acknowledge();
  EXPECT_EQ(read(apic, msr::irr + 7), 0U);
  EXPECT_EQ(read(apic, msr::isr + 7), 1U << 5);
  EXPECT_EQ(read(apic, msr::ppr), 0xE0U);
}

// Modes --------------------------------------------------------------------------------------------------------------

TEST(local_apic_mode, every_transition) {
  const std::uint64_t disabled = 0xFEE00000, xapic = 0xFEE00800, x2apic = 0xFEE00C00, invalid = 0xFEE00400;
  struct row {
    const char* what;
    std::vector<std::uint64_t> path;
    std::uint64_t to;
    bool faults;
  };
  for (const row& r : std::vector<row>{
           {"disabled to disabled", {disabled}, disabled, false},
           {"disabled to xAPIC", {disabled}, xapic, false},
           {"disabled to x2APIC", {disabled}, x2apic, true},
           {"disabled to invalid", {disabled}, invalid, true},
           {"xAPIC to disabled", {}, disabled, false},
           {"xAPIC to xAPIC", {}, xapic, false},
           {"xAPIC to x2APIC", {}, x2apic, false},
           {"xAPIC to invalid", {}, invalid, true},
           {"x2APIC to disabled", {x2apic}, disabled, false},
           {"x2APIC to xAPIC", {x2apic}, xapic, true},
           {"x2APIC to x2APIC", {x2apic}, x2apic, false},
           {"x2APIC to invalid", {x2apic}, invalid, true},
       }) {
    local_apic apic{0, false};
    for (std::uint64_t step : r.path) write(apic, msr::apic_base, step);
    const std::uint64_t before = read(apic, msr::apic_base);
    EXPECT_EQ(apic.write_msr(msr::apic_base, r.to, cycles{0}).fault, r.faults) << r.what;
    EXPECT_EQ(read(apic, msr::apic_base), r.faults ? before : r.to) << r.what;
  }
}

TEST(local_apic_mode, base_register_bits) {
  local_apic_options options;
  options.physical_address_bits = 40;
  local_apic bsp{0, true, {}, options};
  EXPECT_EQ(read(bsp, msr::apic_base), 0xFEE00900U);
  for (int bit = 0; bit < 64; ++bit) {
    const bool legal = bit == 8 || bit == 10 || bit == 11 || (bit >= 12 && bit < 40);
    EXPECT_EQ(write_faults(bsp, msr::apic_base, 0x800 | std::uint64_t{1} << bit), !legal) << bit;
  }
  write(bsp, msr::apic_base, 0x12'3456'7800);
  EXPECT_EQ(read(bsp, msr::apic_base), 0x12'3456'7900U) << "the bootstrap bit cannot be written";
}

TEST(local_apic_mode, entering_x2apic_keeps_state_and_disabling_loses_it) {
  local_apic apic = enabled_apic(0x21);
  write(apic, msr::tpr, 0x30);
  write(apic, msr::lvt_timer, 0x200EC);
  write(apic, msr::initial_count, 100);
  serve(apic, 0x80);
  apic.accept(0x90);
  EXPECT_TRUE(write(apic, msr::apic_base, 0xFEE00000, 1).timer_rearmed);
  EXPECT_EQ(apic.mode(), apic_mode::disabled);
  EXPECT_EQ(apic.highest_request(), -1);
  EXPECT_FALSE(apic.accept(0xA0)) << "off";
  EXPECT_EQ(apic.next_timer_event(), cycles::never());
  apic.set_cr8(5);
  EXPECT_EQ(apic.cr8(), 5) << "a plain register";
  write(apic, msr::apic_base, 0xFEE00800);
  write(apic, msr::apic_base, x2apic_on);
  EXPECT_EQ(read(apic, msr::id), 0x21U);
  EXPECT_EQ(read(apic, msr::svr), 0xFFU);
  EXPECT_EQ(read(apic, msr::lvt_timer), 0x10000U);
  EXPECT_TRUE(apic.in_service().empty());
}

// Priorities ---------------------------------------------------------------------------------------------------------

TEST(local_apic_priority, ppr_table) {
  struct row {
    int tpr, in_service, ppr;
  };
  for (const row& r : {row{0x00, -1, 0x00}, row{0x0F, -1, 0x0F}, row{0x35, -1, 0x35}, row{0x00, 0x41, 0x40},
                       row{0x35, 0x41, 0x40}, row{0x45, 0x41, 0x45}, row{0x40, 0x4F, 0x40}, row{0x55, 0x4F, 0x55},
                       row{0xFF, 0xFE, 0xFF}, row{0x0F, 0xFE, 0xF0}, row{0x1F, 0x10, 0x1F}}) {
    local_apic apic = enabled_apic();
    if (r.in_service >= 0) serve(apic, static_cast<std::uint8_t>(r.in_service));
    write(apic, msr::tpr, r.tpr);
    EXPECT_EQ(apic.processor_priority(), r.ppr) << std::hex << r.tpr << ' ' << r.in_service;
    EXPECT_EQ(read(apic, msr::ppr), static_cast<std::uint64_t>(r.ppr));
  }
}

TEST(local_apic_priority, a_request_needs_a_class_above_tpr) {
  local_apic apic = enabled_apic();
  apic.accept(0x4F);
  struct row {
    std::uint8_t tpr;
    int request;
  };
  for (const row& r :
       {row{0x00, 0x4F}, row{0x3F, 0x4F}, row{0x40, -1}, row{0x4F, -1}, row{0xF0, -1}, row{0x30, 0x4F}}) {
    write(apic, msr::tpr, r.tpr);
    EXPECT_EQ(apic.highest_request(), r.request) << std::hex << int(r.tpr);
  }
}

TEST(local_apic_priority, cr8_is_the_class_of_tpr) {
  local_apic apic = enabled_apic();
  write(apic, msr::tpr, 0x57);
  EXPECT_EQ(apic.cr8(), 5);
  apic.set_cr8(0xA);
  EXPECT_EQ(read(apic, msr::tpr), 0xA0U);
}

TEST(local_apic_priority, nesting_only_by_a_higher_class) {
  local_apic apic = enabled_apic();
  serve(apic, 0x50);
  apic.accept(0x5F);
  EXPECT_EQ(apic.highest_request(), -1) << "same class";
  serve(apic, 0x61);
  apic.accept(0x31);
  EXPECT_EQ(apic.highest_request(), -1);
  apic.end_of_interrupt();  // 61
  EXPECT_EQ(apic.highest_request(), -1) << "50 is still in service";
  apic.end_of_interrupt();  // 50
  EXPECT_EQ(apic.acknowledge(), 0x5F);
  apic.end_of_interrupt();
  EXPECT_EQ(apic.acknowledge(), 0x31);
  apic.end_of_interrupt();
  EXPECT_TRUE(apic.in_service().empty());
  EXPECT_EQ(apic.processor_priority(), 0);
}

// Acceptance ---------------------------------------------------------------------------------------------------------

TEST(local_apic_accept, one_waiting_and_one_in_service_at_most) {
  local_apic apic = enabled_apic();
  EXPECT_TRUE(apic.accept(0x40));
  EXPECT_FALSE(apic.accept(0x40)) << "merges";
  EXPECT_EQ(apic.acknowledge(), 0x40);
  EXPECT_TRUE(apic.accept(0x40)) << "the second instance";
  EXPECT_FALSE(apic.accept(0x40)) << "a third is lost";
  apic.end_of_interrupt();
  EXPECT_EQ(apic.acknowledge(), 0x40);
  apic.end_of_interrupt();
  EXPECT_EQ(apic.highest_request(), -1);
}

TEST(local_apic_accept, vectors_below_sixteen_set_the_error_bit) {
  for (int v = 0; v < 256; ++v) {
    local_apic apic = enabled_apic();
    EXPECT_EQ(apic.accept(static_cast<std::uint8_t>(v)), v >= 16);
    EXPECT_EQ(apic.highest_request(), v >= 16 ? v : -1);
    EXPECT_EQ(apic.errors(), v >= 16 ? 0U : 0x40U);
  }
}

TEST(local_apic_accept, nothing_to_take_gives_the_spurious_vector) {
  local_apic apic = enabled_apic();
  write(apic, msr::svr, 0x1EF);
  EXPECT_EQ(apic.acknowledge(), 0xEF);
  EXPECT_TRUE(apic.in_service().empty());
  apic.accept(0x40);
  write(apic, msr::tpr, 0x40);
  EXPECT_EQ(apic.acknowledge(), 0xEF) << "what waits is below TPR";
  EXPECT_TRUE(apic.requests().test(0x40));
}

TEST(local_apic_accept, software_disable_holds_what_is_there_and_takes_nothing_new) {
  local_apic apic = enabled_apic();
  write(apic, msr::lvt_timer, 0x000EC);
  serve(apic, 0x50);
  apic.accept(0x60);
  write(apic, msr::svr, 0x0FF);
  EXPECT_FALSE(apic.accept(0x70));
  EXPECT_FALSE(apic.accept(3));
  EXPECT_EQ(apic.errors(), 0U);
  EXPECT_EQ(apic.acknowledge(), 0x60) << "still delivered";
  apic.end_of_interrupt();
  EXPECT_TRUE(apic.in_service().test(0x50));
  EXPECT_TRUE(write(apic, msr::icr, 0x00000001'00004040).ipi) << "can still send";
  EXPECT_EQ(read(apic, msr::lvt_timer), 0x100ECU) << "masked by force";
  write(apic, msr::lvt_timer, 0x000EC);
  EXPECT_EQ(read(apic, msr::lvt_timer), 0x100ECU) << "and the mask sticks";
  write(apic, msr::svr, 0x1FF);
  EXPECT_EQ(read(apic, msr::lvt_timer), 0x100ECU) << "enabling unmasks nothing";
  write(apic, msr::lvt_timer, 0x000EC);
  EXPECT_EQ(read(apic, msr::lvt_timer), 0x000ECU);
}

// EOI ----------------------------------------------------------------------------------------------------------------

TEST(local_apic_eoi, broadcast_only_for_level_and_only_if_not_suppressed) {
  struct row {
    bool level, suppress, broadcast;
  };
  for (const row& r :
       {row{false, false, false}, row{true, false, true}, row{false, true, false}, row{true, true, false}}) {
    local_apic apic = enabled_apic();
    write(apic, msr::svr, r.suppress ? 0x11FF : 0x1FF);
    apic.accept(0x42, r.level);
    apic.acknowledge();
    const register_outcome outcome = write(apic, msr::eoi, 0);
    EXPECT_TRUE(outcome.ended_interrupt);
    ASSERT_EQ(outcome.eoi.has_value(), r.broadcast);
    if (outcome.eoi) {
      EXPECT_EQ(outcome.eoi->vector, 0x42);
    }
  }
}

TEST(local_apic_eoi, without_an_interrupt_in_service_nothing_happens) {
  local_apic apic = enabled_apic();
  apic.accept(0x42, true);
  const register_outcome outcome = write(apic, msr::eoi, 0);
  EXPECT_FALSE(outcome.ended_interrupt);
  EXPECT_FALSE(outcome.eoi);
  EXPECT_TRUE(apic.requests().test(0x42));
}

TEST(local_apic_eoi, trigger_mode_is_that_of_the_last_accepted_instance) {
  local_apic apic = enabled_apic();
  apic.accept(0x42, true);
  apic.accept(0x42, false);  // merges, so it leaves the trigger mode alone
  EXPECT_TRUE(apic.level_triggered().test(0x42));
  apic.acknowledge();
  apic.accept(0x42, false);
  EXPECT_FALSE(apic.end_of_interrupt());
}

// ICR, self IPI, errors ----------------------------------------------------------------------------------------------

TEST(local_apic_icr, a_legal_command_leaves_decoded) {
  local_apic apic = enabled_apic();
  const register_outcome outcome = write(apic, msr::icr, 0x00000007'000040FD);
  ASSERT_TRUE(outcome.ipi);
  EXPECT_EQ(outcome.verdict, ipi_verdict::send);
  EXPECT_EQ(outcome.ipi->vector, 0xFD);
  EXPECT_EQ(outcome.ipi->destination, 7U);
  EXPECT_EQ(read(apic, msr::icr), 0x00000007'000040FDU);
}

TEST(local_apic_icr, bit_12_is_ignored) {
  local_apic apic = enabled_apic();
  EXPECT_TRUE(write(apic, msr::icr, 0x00000007'000050FD).ipi);
  EXPECT_EQ(read(apic, msr::icr), 0x00000007'000040FDU);
}

TEST(local_apic_icr, refused_commands_and_their_errors) {
  struct row {
    const char* what;
    std::uint64_t value;
    ipi_verdict verdict;
    std::uint32_t error;
  };
  local_apic_options options;
  options.sends_lowest_priority = false;
  for (const row& r : {
           row{"fixed, vector 15", 0x0000400F, ipi_verdict::send_illegal_vector, 0x20},
           row{"lowest priority", 0x00004140, ipi_verdict::redirectable_unsupported, 0x10},
           row{"lowest priority, vector 15", 0x0000410F, ipi_verdict::redirectable_unsupported, 0x10},
           row{"INIT de-assert", 0x00008500, ipi_verdict::deassert_ignored, 0},
           row{"NMI to self", 0x00044400, ipi_verdict::undefined, 0},
           row{"reserved mode", 0x00004340, ipi_verdict::undefined, 0},
       }) {
    local_apic apic = enabled_apic(3, options);
    const register_outcome outcome = write(apic, msr::icr, r.value);
    EXPECT_FALSE(outcome.ipi) << r.what;
    EXPECT_EQ(outcome.verdict, r.verdict) << r.what;
    EXPECT_EQ(apic.errors(), r.error) << r.what;
  }
}

TEST(local_apic_icr, self_ipi_register) {
  local_apic apic = enabled_apic();
  const register_outcome outcome = write(apic, msr::self_ipi, 0xF6);
  ASSERT_TRUE(outcome.ipi);
  EXPECT_EQ(outcome.ipi->group, shorthand::self);
  EXPECT_EQ(outcome.ipi->vector, 0xF6);
  EXPECT_EQ(read(apic, msr::icr), 0U) << "the ICR is another register";
  EXPECT_FALSE(write(apic, msr::self_ipi, 15).ipi);
  EXPECT_EQ(apic.errors(), 0x20U);
}

TEST(local_apic_esr, errors_show_after_a_write_and_are_then_forgotten) {
  local_apic apic = enabled_apic();
  apic.accept(1);
  EXPECT_EQ(read(apic, msr::esr), 0U);
  write(apic, msr::esr, 0);
  EXPECT_EQ(read(apic, msr::esr), 0x40U);
  write(apic, msr::icr, 0x00004001);
  EXPECT_EQ(read(apic, msr::esr), 0x40U);
  write(apic, msr::esr, 0);
  EXPECT_EQ(read(apic, msr::esr), 0x20U);
  write(apic, msr::esr, 0);
  EXPECT_EQ(read(apic, msr::esr), 0U);
}

TEST(local_apic_esr, a_new_error_raises_the_error_entry_once) {
  local_apic apic = enabled_apic();
  write(apic, msr::lvt_error, 0xFE);
  apic.accept(1);
  EXPECT_EQ(apic.acknowledge(), 0xFE);
  apic.end_of_interrupt();
  apic.accept(2);
  EXPECT_EQ(apic.highest_request(), -1) << "the bit is set already";
  write(apic, msr::esr, 0);
  apic.accept(2);
  EXPECT_EQ(apic.highest_request(), 0xFE);
}

TEST(local_apic_esr, an_illegal_vector_in_the_error_entry_does_not_loop) {
  local_apic apic = enabled_apic();
  write(apic, msr::lvt_error, 0x05);
  write(apic, msr::icr, 0x00004001);
  EXPECT_EQ(apic.errors(), 0x60U);
  EXPECT_EQ(apic.highest_request(), -1);
}

TEST(local_apic_lvt, local_sources) {
  struct row {
    const char* what;
    std::uint32_t number;
    std::uint64_t entry;
    int request;
    int mode;
  };
  for (const row& r :
       {row{"fixed", msr::lvt_thermal, 0xFA, 0xFA, -1}, row{"masked", msr::lvt_thermal, 0x100FA, -1, -1},
        row{"NMI", msr::lvt_performance, 0x400, -1, 4}, row{"masked NMI", msr::lvt_performance, 0x10400, -1, -1},
        row{"SMI", msr::lvt_cmci, 0x200, -1, 2}, row{"ExtINT", msr::lvt_lint0, 0x700, -1, 7},
        row{"INIT", msr::lvt_lint1, 0x500, -1, 5}, row{"reserved", msr::lvt_lint0, 0x140, -1, -1},
        row{"illegal vector", msr::lvt_thermal, 0x0F, -1, -1}}) {
    local_apic apic = enabled_apic();
    write(apic, r.number, r.entry);
    const auto message = apic.raise_local(r.number);
    EXPECT_EQ(apic.highest_request(), r.request) << r.what;
    EXPECT_EQ(message ? static_cast<int>(message->mode) : -1, r.mode) << r.what;
  }
  local_apic apic = enabled_apic();
  EXPECT_FALSE(apic.raise_local(msr::lvt_timer));
  EXPECT_FALSE(apic.raise_local(0x123));
}

// Timer --------------------------------------------------------------------------------------------------------------

TEST(local_apic_timer, an_expiry_requests_the_vector_of_the_entry) {
  local_apic apic = enabled_apic();
  write(apic, msr::lvt_timer, 0xEC);
  write(apic, msr::divide_configuration, 0xB);
  EXPECT_TRUE(write(apic, msr::initial_count, 100, 50).timer_rearmed);
  EXPECT_EQ(apic.next_timer_event(), cycles{150});
  EXPECT_EQ(read(apic, msr::current_count, 149), 1U);
  EXPECT_FALSE(apic.timer_fire(cycles{149}));
  EXPECT_EQ(apic.highest_request(), -1);
  EXPECT_TRUE(apic.timer_fire(cycles{150}));
  EXPECT_EQ(apic.highest_request(), 0xEC);
  EXPECT_FALSE(apic.timer_fire(cycles{151}));
}

TEST(local_apic_timer, a_masked_expiry_leaves_no_trace) {
  local_apic apic = enabled_apic();
  write(apic, msr::lvt_timer, 0x500EC);
  write(apic, msr::tsc_deadline, 100);
  EXPECT_EQ(apic.next_timer_event(), cycles{100});
  EXPECT_FALSE(apic.timer_fire(cycles{100}));
  EXPECT_EQ(read(apic, msr::tsc_deadline, 100), 0U) << "cleared all the same";
  EXPECT_FALSE(write(apic, msr::lvt_timer, 0x400EC, 101).timer_rearmed);
  EXPECT_EQ(apic.highest_request(), -1);
}

TEST(local_apic_timer, masking_does_not_stop_the_count) {
  local_apic apic = enabled_apic();
  write(apic, msr::lvt_timer, 0x200EC);
  write(apic, msr::divide_configuration, 0xB);
  write(apic, msr::initial_count, 100);
  write(apic, msr::lvt_timer, 0x300EC, 30);
  EXPECT_EQ(apic.next_timer_event(), cycles{100});
  write(apic, msr::lvt_timer, 0x200EC, 130);
  EXPECT_EQ(apic.highest_request(), -1);
  EXPECT_EQ(apic.next_timer_event(), cycles{200});
}

TEST(local_apic_timer, deadline_msr) {
  local_apic apic = enabled_apic();
  EXPECT_FALSE(write(apic, msr::tsc_deadline, 1000).timer_rearmed) << "ignored in one-shot mode";
  EXPECT_EQ(read(apic, msr::tsc_deadline), 0U);
  write(apic, msr::lvt_timer, 0x400EC);
  EXPECT_TRUE(write(apic, msr::tsc_deadline, 1000, 10).timer_rearmed);
  EXPECT_EQ(read(apic, msr::tsc_deadline, 999), 1000U);
  EXPECT_EQ(read(apic, msr::tsc_deadline, 1000), 0U);
  EXPECT_TRUE(apic.timer_fire(cycles{1000}));
  EXPECT_TRUE(write(apic, msr::tsc_deadline, 900, 2000).timer_rearmed);
  EXPECT_EQ(apic.next_timer_event(), cycles{2000}) << "in the past: due at once";
  EXPECT_TRUE(write(apic, msr::lvt_timer, 0x000EC, 1999).timer_rearmed);
  EXPECT_EQ(apic.next_timer_event(), cycles::never());
}

TEST(local_apic_timer, a_write_in_the_cycle_of_an_expiry_comes_after_it) {
  local_apic apic = enabled_apic();
  write(apic, msr::lvt_timer, 0x400EC);
  write(apic, msr::tsc_deadline, 100);
  EXPECT_FALSE(write(apic, msr::tsc_deadline, 200, 99).timer_expired);
  const register_outcome outcome = write(apic, msr::tsc_deadline, 300, 200);
  EXPECT_TRUE(outcome.timer_expired);
  EXPECT_TRUE(outcome.timer_rearmed);
  EXPECT_EQ(apic.highest_request(), 0xEC);
  EXPECT_EQ(apic.next_timer_event(), cycles{300});
  EXPECT_FALSE(apic.timer_fire(cycles{200})) << "the slot armed for 200 finds nothing";
}

TEST(local_apic_timer, an_illegal_vector_is_an_error_not_an_interrupt) {
  local_apic apic = enabled_apic();
  write(apic, msr::lvt_timer, 0x4000F);
  write(apic, msr::tsc_deadline, 100);
  EXPECT_FALSE(apic.timer_fire(cycles{100}));
  EXPECT_EQ(apic.errors(), 0x40U);
}

TEST(local_apic_timer, the_clock_of_the_constructor_counts) {
  local_apic apic{0, true, {100, 1}};
  apic.enter_x2apic();
  write(apic, msr::initial_count, 10);
  EXPECT_EQ(apic.next_timer_event(), cycles{2000});
}

// RESET and INIT -----------------------------------------------------------------------------------------------------

/// Something in every register.
local_apic busy_apic() {
  local_apic apic = enabled_apic(0x25);
  write(apic, msr::apic_base, 0xFEF00C00);
  write(apic, msr::tpr, 0x20);
  write(apic, msr::svr, 0x11EE);
  for (std::uint32_t number : {0x82FU, 0x833U, 0x834U, 0x835U, 0x836U, 0x837U}) write(apic, number, 0xF0);
  write(apic, msr::icr, 0x00000001'00004040);
  write(apic, msr::lvt_timer, 0x200EC);
  write(apic, msr::divide_configuration, 0xB);
  write(apic, msr::initial_count, 1000);
  apic.accept(2);
  write(apic, msr::esr, 0);
  apic.accept(2);
  apic.accept(0x80, true);
  apic.acknowledge();
  apic.accept(0x90);
  return apic;
}

void expect_reset_values(const local_apic& apic) {
  for (const auto& [number, reg] : expected_map(0x25))
    if (reg.access != rule::wo) {
      EXPECT_EQ(read(apic, number), reg.reset) << std::hex << number;
    }
  EXPECT_EQ(apic.highest_request(), -1);
  EXPECT_EQ(apic.errors(), 0U);
  EXPECT_EQ(apic.next_timer_event(), cycles::never());
}

TEST(local_apic_reset, init_keeps_mode_base_and_id_only) {
  local_apic apic = busy_apic();
  apic.init();
  EXPECT_EQ(read(apic, msr::apic_base), 0xFEF00C00U);
  expect_reset_values(apic);
}

TEST(local_apic_reset, reset_returns_to_xapic_mode) {
  local_apic apic = busy_apic();
  apic.reset();
  EXPECT_EQ(read(apic, msr::apic_base), 0xFEE00800U);
  apic.enter_x2apic();
  expect_reset_values(apic);
}

TEST(local_apic_reset, init_leaves_a_disabled_apic_disabled) {
  local_apic apic{0, true};
  write(apic, msr::apic_base, 0xFEE00000);
  apic.init();
  EXPECT_EQ(read(apic, msr::apic_base), 0xFEE00100U) << "and the bootstrap bit set";
}

TEST(local_apic_reset, init_and_reset_disarm_a_deadline) {
  for (bool init : {false, true}) {
    local_apic apic = enabled_apic();
    write(apic, msr::lvt_timer, 0x400EC);
    write(apic, msr::tsc_deadline, 1000);
    init ? apic.init() : apic.reset();
    EXPECT_EQ(apic.next_timer_event(), cycles::never());
    EXPECT_EQ(read(apic, msr::tsc_deadline), 0U);
  }
}

TEST(local_apic_value, a_copy_is_a_snapshot) {
  local_apic apic = busy_apic();
  const local_apic before = apic;
  apic.end_of_interrupt();
  apic.timer_fire(cycles{1000});
  EXPECT_TRUE(before.in_service().test(0xF0)) << "the error interrupt";
  EXPECT_TRUE(apic.in_service().empty());
  EXPECT_EQ(before.next_timer_event(), cycles{1000});
  EXPECT_EQ(apic.next_timer_event(), cycles{2000});
}

}  // namespace
