// xAPIC mode: what the register page does beyond the register map, mode changes, destinations, ICR, errors, timer.
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/apic/local/local_apic.hpp>

#include "xapic_bench.hpp"

namespace vmxsys::apic {
namespace {

using testing_bench::enabled_xapic;
using testing_bench::in_mode;
using testing_bench::load;
using testing_bench::store;

bool base_faults(local_apic apic, std::uint64_t value) {
  return apic.write_msr(msr::apic_base, value, cycles{0}).fault;
}

void write_base(local_apic& apic, std::uint64_t value) {
  ASSERT_FALSE(apic.write_msr(msr::apic_base, value, cycles{0}).fault) << std::hex << value;
}

// The page ----------------------------------------------------------------------------------------------------------

TEST(xapic_page, answers_where_the_base_register_puts_it_and_in_xapic_mode_only) {
  local_apic apic{0, true};
  EXPECT_EQ(apic.apic_base_address(), 0xFEE00000U);
  write_base(apic, 0x12'3456'7800);
  EXPECT_EQ(apic.apic_base_address(), 0x12'3456'7000U);
  struct row {
    std::uint64_t address;
    bool covered;
  };
  for (const row& r : {row{0x12'3456'6FFF, false}, row{0x12'3456'7000, true}, row{0x12'3456'7FFF, true},
                       row{0x12'3456'8000, false}, row{0xFEE00000, false}, row{0x3456'7000, false}})
    EXPECT_EQ(apic.covers(r.address), r.covered) << std::hex << r.address;
  write_base(apic, 0xFEE00C00);
  EXPECT_FALSE(apic.covers(0xFEE00000)) << "x2APIC mode has no page";
  EXPECT_EQ(apic.read_page(page::version, 4, cycles{0}).value, 0xFFFFFFFFU);
  write_base(apic, 0xFEE00000);
  EXPECT_FALSE(apic.covers(0xFEE00000)) << "disabled";
}

TEST(xapic_page, the_same_state_as_the_msrs_show) {
  local_apic apic = enabled_xapic(0x21);
  store(apic, page::tpr, 0x35);
  store(apic, page::svr, 0x1EE);
  apic.accept(0xE5, true);
  apic.accept(0x91);
  apic.acknowledge();
  local_apic extended = apic;
  extended.enter_x2apic();
  for (std::uint32_t number = msr::version; number <= msr::divide_configuration; ++number) {
    const bool both = readable(row_of(number).access) && readable(row_of(number).page_access) && number != msr::ldr;
    if (!both) continue;
    EXPECT_EQ(load(apic, offset_of(number)), extended.read_msr(number, cycles{0}).value) << std::hex << number;
  }
  EXPECT_EQ(load(apic, page::ppr), 0xE0U);
  EXPECT_EQ(load(apic, page::isr + 0x70), 1U << 5);
  EXPECT_EQ(load(apic, page::tmr + 0x70), 1U << 5);
  EXPECT_EQ(load(apic, page::irr + 0x40), 1U << 17);
}

TEST(xapic_page, any_value_is_an_eoi) {
  for (std::uint32_t value : {0U, 1U, 0xFFFFFFFFU}) {
    local_apic apic = enabled_xapic();
    apic.accept(0x42, true);
    apic.acknowledge();
    const register_outcome outcome = store(apic, page::eoi, value);
    EXPECT_TRUE(outcome.ended_interrupt);
    ASSERT_TRUE(outcome.eoi);
    EXPECT_EQ(outcome.eoi->vector, 0x42);
    EXPECT_TRUE(apic.in_service().empty());
  }
}

TEST(xapic_page, remote_read_answers_nothing) {
  local_apic apic = enabled_xapic();
  store(apic, page::icr_low, 0x4330);
  EXPECT_EQ(load(apic, page::rrd), 0U);
}

TEST(xapic_page, absent_options_are_absent_registers_and_ignored_bits) {
  local_apic_options options;
  options.cmci = false;
  options.eoi_broadcast_suppression = false;
  options.tsc_deadline = false;
  local_apic apic = enabled_xapic(3, options);
  EXPECT_EQ(load(apic, page::version), 0x00050015U);
  store(apic, page::svr, 0x13FF);
  EXPECT_EQ(load(apic, page::svr), 0x3FFU);
  store(apic, page::lvt_timer, 0x400EC);
  EXPECT_EQ(load(apic, page::lvt_timer), 0xECU) << "one-shot: bit 18 does not exist";
  EXPECT_EQ(apic.errors(), 0U);
  EXPECT_EQ(load(apic, page::lvt_cmci), 0U);
  EXPECT_EQ(apic.errors(), 0x80U);
}

TEST(xapic_page, reserved_timer_mode_is_undefined_and_changes_nothing) {
  local_apic apic = enabled_xapic();
  store(apic, page::lvt_timer, 0x200EC);
  EXPECT_TRUE(apic.write_page(page::lvt_timer, 4, 0x600ED, cycles{0}).undefined);
  EXPECT_EQ(load(apic, page::lvt_timer), 0x200ECU);
}

TEST(xapic_page, reads_of_write_only_registers_are_undefined_and_zero) {
  local_apic apic = enabled_xapic();
  apic.accept(0x42);
  apic.acknowledge();
  const register_outcome outcome = apic.read_page(page::eoi, 4, cycles{0});
  EXPECT_TRUE(outcome.undefined);
  EXPECT_EQ(outcome.value, 0U);
  EXPECT_TRUE(apic.in_service().test(0x42));
}

// Modes -------------------------------------------------------------------------------------------------------------

TEST(local_apic_mode, every_transition_and_what_it_keeps) {
  const std::uint64_t disabled = 0xFEE00000, xapic = 0xFEE00800, x2apic = 0xFEE00C00, invalid = 0xFEE00400;
  enum class effect { fault, keeps, keeps_but_xapic_ids, resets };
  struct row {
    apic_mode from;
    std::uint64_t to;
    effect what;
  };
  for (const row& r :
       {row{apic_mode::disabled, disabled, effect::keeps}, row{apic_mode::disabled, xapic, effect::resets},
        row{apic_mode::disabled, x2apic, effect::fault}, row{apic_mode::disabled, invalid, effect::fault},
        row{apic_mode::xapic, disabled, effect::resets}, row{apic_mode::xapic, xapic, effect::keeps},
        row{apic_mode::xapic, x2apic, effect::keeps_but_xapic_ids}, row{apic_mode::xapic, invalid, effect::fault},
        row{apic_mode::x2apic, disabled, effect::resets}, row{apic_mode::x2apic, xapic, effect::fault},
        row{apic_mode::x2apic, x2apic, effect::keeps}, row{apic_mode::x2apic, invalid, effect::fault}}) {
    SCOPED_TRACE(testing::Message() << static_cast<int>(r.from) << " to " << std::hex << r.to);
    local_apic apic = in_mode(r.from, 0x123);
    if (r.from == apic_mode::xapic) {
      store(apic, page::svr, 0x1EE);
      store(apic, page::ldr, 0x42000000);
      store(apic, page::dfr, 0);
      store(apic, page::icr_high, 0x07000000);
      store(apic, page::icr_low, 0x40FD);
    } else if (r.from == apic_mode::x2apic) {
      apic.write_msr(msr::svr, 0x1EE, cycles{0});
      apic.write_msr(msr::icr, 0x00000007'000040FD, cycles{0});
    }
    apic.set_task_priority(0x20);
    apic.accept(0x80);
    const auto before = testing_bench::fingerprint(apic);
    EXPECT_EQ(apic.write_msr(msr::apic_base, r.to, cycles{0}).fault, r.what == effect::fault);
    switch (r.what) {
      case effect::fault:
      case effect::keeps:
        EXPECT_EQ(testing_bench::fingerprint(apic), before);
        break;
      case effect::keeps_but_xapic_ids:
        EXPECT_EQ(apic.read_msr(msr::icr, cycles{0}).value, 0x40FDU) << "the destination is lost";
        EXPECT_EQ(apic.read_msr(msr::svr, cycles{0}).value, 0x1EEU);
        EXPECT_EQ(apic.task_priority(), 0x20);
        EXPECT_EQ(apic.highest_request(), 0x80);
        EXPECT_EQ(apic.address().id, 0x123U);
        EXPECT_EQ(apic.address().logical_id, 0x00120008U);
        break;
      case effect::resets: {
        local_apic fresh = in_mode(apic.mode(), 0x123);
        EXPECT_EQ(testing_bench::fingerprint(apic), testing_bench::fingerprint(fresh));
      }
    }
  }
}

TEST(local_apic_mode, x2apic_forgets_what_xapic_wrote) {
  local_apic_options options;
  options.xapic_id_writable = true;
  local_apic apic = enabled_xapic(0x123, options);
  store(apic, page::id, 0x77000000);
  store(apic, page::ldr, 0x42000000);
  store(apic, page::dfr, 0);
  EXPECT_EQ(apic.address().id, 0x77U);
  write_base(apic, 0xFEE00C00);
  EXPECT_EQ(apic.read_msr(msr::id, cycles{0}).value, 0x123U);
  EXPECT_TRUE(base_faults(apic, 0xFEE00800));
  write_base(apic, 0xFEE00000);
  write_base(apic, 0xFEE00800);
  EXPECT_EQ(load(apic, page::id), 0x23000000U) << "the lower half of what hardware gave";
  EXPECT_EQ(load(apic, page::ldr), 0U);
  EXPECT_EQ(load(apic, page::dfr), 0xFFFFFFFFU);
}

TEST(xapic_id, can_be_written_only_where_the_part_allows) {
  for (bool writable : {false, true}) {
    local_apic_options options;
    options.xapic_id_writable = writable;
    local_apic apic = enabled_xapic(5, options);
    store(apic, page::id, 0xFFFFFFFF);
    EXPECT_EQ(load(apic, page::id), writable ? 0xFF000000U : 0x05000000U);
    store(apic, page::id, 0x09000000);
    EXPECT_EQ(apic.address().id, writable ? 9U : 5U);
    EXPECT_EQ(apic.id(), 5U) << "hardware's";
    apic.init();
    EXPECT_EQ(apic.address().id, writable ? 9U : 5U) << "INIT keeps the ID";
    apic.reset();
    EXPECT_EQ(apic.address().id, 5U);
  }
}

TEST(xapic_id, software_written_ids_end_with_disabling) {
  local_apic_options options;
  options.xapic_id_writable = true;
  local_apic apic = enabled_xapic(5, options);
  store(apic, page::id, 0x09000000);
  write_base(apic, 0xFEE00000);
  write_base(apic, 0xFEE00800);
  EXPECT_EQ(apic.address().id, 5U);
}

// Destinations ------------------------------------------------------------------------------------------------------

TEST(xapic_destination, address_follows_ldr_and_dfr) {
  local_apic apic = enabled_xapic(5);
  struct row {
    std::uint32_t ldr, dfr, logical;
    bool flat;
  };
  for (const row& r :
       {row{0, 0xFFFFFFFF, 0, true}, row{0x20FFFFFF, 0xFFFFFFFF, 0x20, true}, row{0x24000000, 0x0FFFFFFF, 0x24, false},
        row{0x24000000, 0, 0x24, false}, row{0x24000000, 0xF0000000, 0x24, true}, row{0x24000000, 0xE0000000, 0, false},
        row{0x24000000, 0x10000000, 0, false}}) {
    store(apic, page::ldr, r.ldr);
    store(apic, page::dfr, r.dfr);
    const apic_address a = apic.address();
    EXPECT_EQ(a.mode, apic_mode::xapic);
    EXPECT_EQ(a.id, 5U);
    EXPECT_EQ(a.hardware_id, 5U);
    EXPECT_EQ(a.logical_id, r.logical) << std::hex << r.ldr << ' ' << r.dfr;
    EXPECT_EQ(a.flat, r.flat) << std::hex << r.ldr << ' ' << r.dfr;
    EXPECT_EQ(load(apic, page::dfr), r.dfr | 0x0FFFFFFF);
    EXPECT_EQ(load(apic, page::ldr), r.ldr & 0xFF000000);
  }
}

TEST(xapic_destination, reset_and_init_forget_ldr_and_dfr) {
  for (bool init : {false, true}) {
    local_apic apic = enabled_xapic(5);
    store(apic, page::ldr, 0x24000000);
    store(apic, page::dfr, 0);
    init ? apic.init() : apic.reset();
    EXPECT_EQ(apic.address().logical_id, 0U);
    EXPECT_TRUE(apic.address().flat);
  }
}

// ICR ---------------------------------------------------------------------------------------------------------------

TEST(xapic_icr, the_lower_half_sends_with_the_upper_half) {
  local_apic apic = enabled_xapic();
  EXPECT_FALSE(store(apic, page::icr_high, 0x07123456).verdict) << "the upper half alone sends nothing";
  EXPECT_EQ(load(apic, page::icr_high), 0x07000000U);
  const register_outcome sent = store(apic, page::icr_low, 0x000040FD);
  EXPECT_EQ(sent.verdict, ipi_verdict::send);
  ASSERT_TRUE(sent.ipi);
  EXPECT_EQ(sent.ipi->destination, 7U);
  EXPECT_EQ(sent.ipi->vector, 0xFD);
  EXPECT_EQ(load(apic, page::icr_low), 0x40FDU);
  store(apic, page::icr_high, 0x08000000);
  EXPECT_EQ(load(apic, page::icr_low), 0x40FDU) << "the upper half leaves the lower one alone";
  EXPECT_EQ(store(apic, page::icr_low, 0x000040FD).ipi->destination, 8U);
  EXPECT_EQ(store(apic, page::icr_low, 0x000040FD).ipi->destination, 8U) << "again, without a new destination";
}

TEST(xapic_icr, reserved_bits_and_the_delivery_status_are_ignored) {
  local_apic apic = enabled_xapic();
  const register_outcome sent = store(apic, page::icr_low, 0xFFF37000 | 0x40FD);
  EXPECT_TRUE(sent.ipi);
  EXPECT_EQ(load(apic, page::icr_low), 0x40FDU);
}

TEST(xapic_icr, both_formats_say_the_same_but_for_the_destination) {
  for (std::uint32_t destination = 0; destination < 256; ++destination)
    for (std::uint64_t low : {0x40FDULL, 0x4831ULL, 0xC500ULL, 0x8500ULL, 0xC4400ULL}) {
      const interrupt_command c = decode_xapic_icr(std::uint64_t{destination} << 56 | low);
      interrupt_command expected = decode_icr(low);
      expected.destination = destination == 0xFF ? broadcast_destination : destination;
      EXPECT_EQ(c, expected);
      EXPECT_EQ(encode_xapic_icr(c), std::uint64_t{destination} << 56 | low);
    }
}

TEST(xapic_icr, refused_commands_set_the_same_errors_as_in_x2apic_mode) {
  struct row {
    std::uint32_t low;
    ipi_verdict verdict;
    std::uint32_t error;
  };
  local_apic_options options;
  options.sends_lowest_priority = false;
  for (const row& r : {row{0x400F, ipi_verdict::send_illegal_vector, 0x20}, row{0x4010, ipi_verdict::send, 0},
                       row{0x4140, ipi_verdict::redirectable_unsupported, 0x10},
                       row{0x8500, ipi_verdict::deassert_ignored, 0}, row{0x44400, ipi_verdict::undefined, 0},
                       row{0x4700, ipi_verdict::undefined, 0}, row{0x4400, ipi_verdict::send, 0}}) {
    local_apic apic = enabled_xapic(3, options);
    const register_outcome outcome = store(apic, page::icr_low, r.low);
    EXPECT_EQ(outcome.verdict, r.verdict) << std::hex << r.low;
    EXPECT_EQ(outcome.ipi.has_value(), r.verdict == ipi_verdict::send) << std::hex << r.low;
    EXPECT_EQ(apic.errors(), r.error) << std::hex << r.low;
  }
}

TEST(xapic_icr, self_by_shorthand_comes_back_to_the_sender) {
  local_apic apic = enabled_xapic(9);
  const register_outcome outcome = store(apic, page::icr_low, 0x44050);
  ASSERT_TRUE(outcome.ipi);
  EXPECT_TRUE(addresses(*outcome.ipi, apic.id(), apic.address()));
  apic_address other = apic.address();
  other.hardware_id = 8;
  EXPECT_FALSE(addresses(*outcome.ipi, apic.id(), other)) << "even if it has the same xAPIC ID";
}

// Errors ------------------------------------------------------------------------------------------------------------

TEST(xapic_esr, each_bit_and_who_sets_it) {
  struct row {
    const char* what;
    std::uint32_t bit;
    void (*cause)(local_apic&);
  };
  for (const row& r : std::vector<row>{
           {"send checksum", 0x01, [](local_apic& a) { a.report_error(esr::send_checksum); }},
           {"receive checksum", 0x02, [](local_apic& a) { a.report_error(esr::receive_checksum); }},
           {"send accept", 0x04, [](local_apic& a) { a.report_error(esr::send_accept); }},
           {"receive accept", 0x08, [](local_apic& a) { a.report_error(esr::receive_accept); }},
           {"redirectable IPI", 0x10, [](local_apic& a) { store(a, page::icr_low, 0x4140); }},
           {"send illegal vector", 0x20, [](local_apic& a) { store(a, page::icr_low, 0x400F); }},
           {"receive illegal vector", 0x40, [](local_apic& a) { a.accept(15); }},
           {"illegal register, read", 0x80, [](local_apic& a) { load(a, 0x000); }},
           {"illegal register, write", 0x80, [](local_apic& a) { store(a, 0x3F0, 0x40); }},
       }) {
    local_apic_options options;
    options.sends_lowest_priority = false;
    local_apic apic = enabled_xapic(3, options);
    store(apic, page::lvt_error, 0xFE);
    r.cause(apic);
    EXPECT_EQ(apic.highest_request(), 0xFE) << r.what;
    EXPECT_EQ(load(apic, page::esr), 0U) << r.what << ": hidden until the register is written";
    store(apic, page::esr, 0xFFFFFFFF);
    EXPECT_EQ(load(apic, page::esr), r.bit) << r.what;
    store(apic, page::esr, 0);
    EXPECT_EQ(load(apic, page::esr), 0U) << r.what;
  }
}

TEST(xapic_esr, a_masked_error_entry_collects_silently) {
  local_apic apic = enabled_xapic();
  load(apic, 0x040);
  EXPECT_EQ(apic.errors(), 0x80U);
  EXPECT_EQ(apic.highest_request(), -1);
}

TEST(xapic_esr, illegal_vectors_in_an_lvt_entry_show_when_raised_or_when_written) {
  struct row {
    std::uint32_t entry;
    bool at_write;
  };
  for (const row& r : {row{0x0000F, true}, row{0x00010, false}, row{0x1000F, false}, row{0x0040F, false}})
    for (bool checks : {false, true}) {
      local_apic_options options;
      options.checks_vector_on_lvt_write = checks;
      local_apic apic = enabled_xapic(3, options);
      store(apic, page::lvt_thermal, r.entry);
      EXPECT_EQ(apic.errors(), checks && r.at_write ? 0x40U : 0U) << std::hex << r.entry;
      apic.raise_local(msr::lvt_thermal);
      EXPECT_EQ(apic.errors(), r.at_write ? 0x40U : 0U) << std::hex << r.entry;
    }
}

// Options both modes share ------------------------------------------------------------------------------------------

TEST(local_apic_options, sub_class_of_ppr_when_classes_are_equal) {
  struct row {
    int tpr, ppr_keeps, ppr_zero;
  };
  for (const row& r : {row{0x45, 0x45, 0x40}, row{0x55, 0x55, 0x55}, row{0x35, 0x40, 0x40}})
    for (bool keeps : {false, true}) {
      local_apic_options options;
      options.tie_keeps_task_subclass = keeps;
      local_apic apic = enabled_xapic(3, options);
      store(apic, page::tpr, 0x0F);
      EXPECT_EQ(load(apic, page::ppr), 0x0FU) << "nothing in service: no tie";
      apic.accept(0x41);
      apic.acknowledge();
      store(apic, page::tpr, static_cast<std::uint32_t>(r.tpr));
      EXPECT_EQ(load(apic, page::ppr), static_cast<std::uint32_t>(keeps ? r.ppr_keeps : r.ppr_zero));
    }
}

TEST(local_apic_options, focus_bit_in_x2apic_mode) {
  for (bool present : {false, true}) {
    local_apic_options options;
    options.focus_checking_in_x2apic = present;
    local_apic apic = enabled_xapic(3, options);
    store(apic, page::svr, 0x3FF);
    EXPECT_EQ(load(apic, page::svr), 0x3FFU) << "xAPIC mode always has it";
    apic.enter_x2apic();
    EXPECT_EQ(apic.write_msr(msr::svr, 0x3FF, cycles{0}).fault, !present);
  }
}

// Timer -------------------------------------------------------------------------------------------------------------

TEST(xapic_timer, fires_at_c_not_before) {
  local_apic apic = enabled_xapic();
  store(apic, page::lvt_timer, 0xEC);
  store(apic, page::divide_configuration, 0xB);
  EXPECT_TRUE(store(apic, page::initial_count, 100, 50).timer_rearmed);
  EXPECT_EQ(apic.next_timer_event(), cycles{150});
  EXPECT_EQ(load(apic, page::current_count, 149), 1U);
  EXPECT_EQ(load(apic, page::current_count, 150), 0U);
  EXPECT_FALSE(apic.timer_fire(cycles{149}));
  EXPECT_TRUE(apic.timer_fire(cycles{150}));
  EXPECT_EQ(apic.highest_request(), 0xEC);
}

TEST(xapic_timer, deadline_mode_is_armed_by_its_msr) {
  local_apic apic = enabled_xapic();
  store(apic, page::lvt_timer, 0x400EC);
  EXPECT_FALSE(store(apic, page::initial_count, 100).timer_rearmed) << "ignored";
  EXPECT_TRUE(apic.write_msr(msr::tsc_deadline, 1000, cycles{10}).timer_rearmed);
  EXPECT_EQ(load(apic, page::current_count, 500), 0U);
  EXPECT_FALSE(apic.timer_fire(cycles{999}));
  EXPECT_TRUE(apic.timer_fire(cycles{1000}));
}

TEST(xapic_timer, a_store_in_the_cycle_of_an_expiry_comes_after_it) {
  local_apic apic = enabled_xapic();
  store(apic, page::lvt_timer, 0xEC);
  store(apic, page::divide_configuration, 0xB);
  store(apic, page::initial_count, 100);
  EXPECT_FALSE(store(apic, page::tpr, 0, 99).timer_expired);
  EXPECT_TRUE(store(apic, page::initial_count, 0, 100).timer_expired);
  EXPECT_EQ(apic.highest_request(), 0xEC);
  EXPECT_EQ(apic.next_timer_event(), cycles::never());
}

}  // namespace
}  // namespace vmxsys::apic
