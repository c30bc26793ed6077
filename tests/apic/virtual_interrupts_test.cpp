#include <gtest/gtest.h>
#include <initializer_list>

#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/transition/after_entry.hpp>

#include "virtual_apic_bench.hpp"

namespace vmxsys::apic {
namespace {

using apic_testing::is_quiet;
using apic_testing::is_trap;
using apic_testing::virtual_apic_bench;
using vmx::exit_reason;
using vmx::field;

// -- TPR --------------------------------------------------------------------------------------------------------------

TEST(tpr_virtualization, exits_below_the_threshold_and_not_at_it) {
  for (unsigned threshold = 0; threshold < 16; ++threshold)
    for (unsigned vtpr = 0; vtpr < 256; ++vtpr) {
      virtual_apic_bench b;
      // Bits 31:4 of the threshold are not looked at.
      b.v.write(field::tpr_threshold, 0xFFF0 | threshold);
      b.page().write_32(vapic::tpr, vtpr);
      const virtualization_result r = tpr_virtualization(b.a);
      if (vtpr / 16 < threshold)
        EXPECT_TRUE(is_trap(r, exit_reason::tpr_below_threshold, 0)) << threshold << vtpr;
      else
        EXPECT_TRUE(is_quiet(r)) << threshold << ' ' << vtpr;
      EXPECT_EQ(b.page().read_32(vapic::ppr), 0u) << "no PPR virtualization";
      EXPECT_EQ(b.state, virtual_interrupt_state{});
    }
}

TEST(tpr_virtualization, with_delivery_virtualizes_ppr_and_evaluates_and_never_exits) {
  virtual_apic_bench b;
  b.delivering();
  b.v.write(field::tpr_threshold, 15);
  b.state.rvi = 0x61;
  b.page().write_32(vapic::tpr, 0x60);
  EXPECT_TRUE(is_quiet(tpr_virtualization(b.a)));
  EXPECT_EQ(b.page().read_32(vapic::ppr), 0x60u);
  EXPECT_FALSE(b.state.recognized);
  b.page().write_32(vapic::tpr, 0x5F);
  EXPECT_TRUE(is_quiet(tpr_virtualization(b.a)));
  EXPECT_EQ(b.page().read_32(vapic::ppr), 0x5Fu);
  EXPECT_TRUE(b.state.recognized);
  // Up again: no longer recognized.
  b.page().write_32(vapic::tpr, 0x60);
  tpr_virtualization(b.a);
  EXPECT_FALSE(b.state.recognized);
}

// -- PPR --------------------------------------------------------------------------------------------------------------

TEST(ppr_virtualization, of_every_task_priority_and_every_vector_in_service) {
  virtual_apic_bench b;
  for (unsigned vtpr = 0; vtpr < 256; ++vtpr)
    for (unsigned svi = 0; svi < 256; ++svi) {
      b.state.svi = static_cast<std::uint8_t>(svi);
      b.page().write_32(vapic::tpr, 0xABCDEF00 | vtpr);
      b.page().write_32(vapic::ppr, 0xFFFFFFFF);
      ppr_virtualization(b.a);
      ASSERT_EQ(b.page().read_32(vapic::ppr), vtpr / 16 >= svi / 16 ? vtpr : svi / 16 * 16) << vtpr << ' ' << svi;
    }
  EXPECT_EQ(b.page().read_32(vapic::tpr), 0xABCDEFFFu) << "VTPR is only read";
}

// -- evaluation -------------------------------------------------------------------------------------------------------

TEST(evaluate, recognizes_a_higher_class_only_and_nothing_with_the_window_control) {
  virtual_apic_bench b;
  b.delivering();
  for (const bool window : {false, true})
    for (unsigned vppr = 0; vppr < 256; vppr += 5)
      for (unsigned rvi = 0; rvi < 256; ++rvi) {
        b.window(window);
        b.page().write_32(vapic::ppr, vppr);
        b.state = {static_cast<std::uint8_t>(rvi), 0, rvi % 2 == 0};
        evaluate(b.a);
        ASSERT_EQ(b.state.recognized, !window && rvi / 16 > vppr / 16) << window << vppr << ' ' << rvi;
      }
}

TEST(evaluate, what_is_written_to_the_page_counts_only_from_the_next_evaluation) {
  virtual_apic_bench b;
  b.delivering();
  self_ipi_virtualization(b.a, 0x41);
  ASSERT_TRUE(b.state.recognized);
  b.page().write_32(vapic::ppr, 0xF0);
  EXPECT_TRUE(b.state.recognized);
  b.page().set_requested(0x91);
  EXPECT_EQ(b.state.rvi, 0x41);
  // Even an evaluation looks at RVI, not at VIRR.
  evaluate(b.a);
  EXPECT_FALSE(b.state.recognized);
  EXPECT_EQ(b.state.rvi, 0x41);
}

// -- self-IPI ---------------------------------------------------------------------------------------------------------

TEST(self_ipi_virtualization, raises_rvi_never_lowers_it) {
  virtual_apic_bench b;
  b.delivering();
  self_ipi_virtualization(b.a, 0x50);
  EXPECT_EQ(b.state.rvi, 0x50);
  self_ipi_virtualization(b.a, 0x4F);
  EXPECT_EQ(b.state.rvi, 0x50);
  self_ipi_virtualization(b.a, 0x51);
  EXPECT_EQ(b.state.rvi, 0x51);
  for (const std::uint8_t v : std::initializer_list<std::uint8_t>{0x4F, 0x50, 0x51}) EXPECT_TRUE(b.page().requested(v));
  EXPECT_TRUE(b.state.recognized);
}

TEST(self_ipi_virtualization, below_the_processor_priority_stays_pending) {
  virtual_apic_bench b;
  b.delivering();
  b.page().write_32(vapic::ppr, 0x50);
  self_ipi_virtualization(b.a, 0x5F);
  EXPECT_FALSE(b.state.recognized);
  self_ipi_virtualization(b.a, 0x60);
  EXPECT_TRUE(b.state.recognized);
}

// -- EOI --------------------------------------------------------------------------------------------------------------

// Two interrupts in service, one requested; the end of the upper one makes way.
void serve_81_and_52_with_61_requested(virtual_apic_bench& b) {
  b.delivering();
  b.page().set_in_service(0x81);
  b.page().set_in_service(0x52);
  b.page().set_requested(0x61);
  b.page().write_32(vapic::ppr, 0x80);
  b.state = {0x61, 0x81, false};
}

TEST(eoi_virtualization, without_an_exit_evaluates_at_once) {
  virtual_apic_bench b;
  serve_81_and_52_with_61_requested(b);
  b.eoi_exit(0x80);
  b.eoi_exit(0x82);
  EXPECT_TRUE(is_quiet(eoi_virtualization(b.a)));
  EXPECT_FALSE(b.page().in_service(0x81));
  EXPECT_EQ(b.state.svi, 0x52);
  EXPECT_EQ(b.page().read_32(vapic::ppr), 0x50u);
  EXPECT_TRUE(b.state.recognized);
  EXPECT_EQ(deliver(b.a), 0x61);
}

TEST(eoi_virtualization, with_an_exit_evaluates_only_at_the_next_entry) {
  virtual_apic_bench b;
  serve_81_and_52_with_61_requested(b);
  b.eoi_exit(0x81);
  EXPECT_TRUE(is_trap(eoi_virtualization(b.a), exit_reason::virtualized_eoi, 0x81));
  EXPECT_EQ(b.state.svi, 0x52);
  EXPECT_EQ(b.page().read_32(vapic::ppr), 0x50u);
  EXPECT_FALSE(b.state.recognized);
  at_exit(b.v, b.state);
  EXPECT_EQ(b.v.read(field::guest_interrupt_status), 0x5261u);
  EXPECT_FALSE(b.state.recognized);
  at_entry(b.a);
  EXPECT_TRUE(b.state.recognized);
  EXPECT_EQ(b.state.rvi, 0x61);
  EXPECT_EQ(b.state.svi, 0x52);
}

TEST(eoi_virtualization, of_the_last_one_leaves_nothing_in_service) {
  virtual_apic_bench b;
  b.delivering();
  b.page().write_32(vapic::tpr, 0x20);
  b.page().set_in_service(0x30);
  b.state.svi = 0x30;
  EXPECT_TRUE(is_quiet(eoi_virtualization(b.a)));
  EXPECT_EQ(b.state.svi, 0);
  EXPECT_EQ(b.page().read_32(vapic::ppr), 0x20u);
}

// With nothing in service the rule runs with vector 0, bit 0 of the bitmap included.
TEST(eoi_virtualization, with_nothing_in_service_is_about_vector_0) {
  virtual_apic_bench b;
  b.delivering();
  EXPECT_TRUE(is_quiet(eoi_virtualization(b.a)));
  b.eoi_exit(0);
  EXPECT_TRUE(is_trap(eoi_virtualization(b.a), exit_reason::virtualized_eoi, 0));
}

TEST(eoi_virtualization, every_bit_of_the_bitmap_is_one_vector) {
  for (unsigned x = 0; x < 256; ++x) {
    virtual_apic_bench b;
    b.eoi_exit(static_cast<std::uint8_t>(x));
    for (unsigned y = 0; y < 256; ++y) ASSERT_EQ(eoi_exits(b.v, static_cast<std::uint8_t>(y)), x == y);
  }
}

// -- delivery ---------------------------------------------------------------------------------------------------------

TEST(deliver, moves_the_vector_from_request_to_service) {
  virtual_apic_bench b;
  b.delivering();
  self_ipi_virtualization(b.a, 0x52);
  self_ipi_virtualization(b.a, 0x81);
  b.page().write_32(vapic::ppr, 0xFFFFFF00);
  EXPECT_EQ(deliver(b.a), 0x81);
  EXPECT_TRUE(b.page().in_service(0x81));
  EXPECT_FALSE(b.page().requested(0x81));
  EXPECT_EQ(b.page().read_32(vapic::ppr), 0x80u);
  EXPECT_EQ(b.state, (virtual_interrupt_state{0x52, 0x81, false}));
  EXPECT_TRUE(b.page().requested(0x52));
}

TEST(deliver, of_the_only_one_leaves_rvi_0) {
  virtual_apic_bench b;
  b.delivering();
  self_ipi_virtualization(b.a, 0x10);
  EXPECT_EQ(deliver(b.a), 0x10);
  EXPECT_EQ(b.state, (virtual_interrupt_state{0, 0x10, false}));
}

// A recognized interrupt needs the window control 0, an interrupt-window exit needs it 1: never both.
TEST(deliver, comes_before_an_external_interrupt_and_never_beside_a_window_exit) {
  for (const bool window : {false, true}) {
    virtual_apic_bench b;
    b.delivering().window(window);
    b.set(field::pin_based_controls, vmx::pin_based::external_interrupt_exiting | vmx::pin_based::nmi_exiting);
    self_ipi_virtualization(b.a, 0x31);
    vmx::boundary_state at;
    at.blocking.rflags = vmx::rflags_bits::interrupt_flag;
    at.virtual_interrupt = b.state.recognized;
    at.external_interrupt = true;
    at.nmi = true;
    at.smi = true;
    at.preemption_timer = true;
    const vmx::event_order order = vmx::order_at(b.v, at);
    ASSERT_EQ(order.count, 5u);
    using e = vmx::boundary_event;
    EXPECT_EQ(order.events[0], e::smi);
    EXPECT_EQ(order.events[1], e::preemption_timer);
    EXPECT_EQ(order.events[2], e::nmi);
    EXPECT_EQ(order.events[3], window ? e::interrupt_window : e::virtual_interrupt);
    EXPECT_EQ(order.events[4], e::external_interrupt);
  }
}

// -- entry, exit ------------------------------------------------------------------------------------------------------

TEST(entry, loads_the_status_virtualizes_ppr_and_evaluates) {
  virtual_apic_bench b;
  b.delivering();
  b.v.write(field::guest_interrupt_status, 0x4151);
  b.page().write_32(vapic::tpr, 0x4F);
  b.page().write_32(vapic::ppr, 0xFF);
  at_entry(b.a);
  EXPECT_EQ(b.page().read_32(vapic::ppr), 0x4Fu);
  EXPECT_EQ(b.state, (virtual_interrupt_state{0x51, 0x41, true}));
  b.page().write_32(vapic::tpr, 0x50);
  at_entry(b.a);
  EXPECT_EQ(b.state, (virtual_interrupt_state{0x51, 0x41, false}));
}

// Software that merges requests into the page must raise RVI in the field too.
TEST(entry, does_not_look_at_virr) {
  virtual_apic_bench b;
  b.delivering();
  b.page().set_requested(0x80);
  at_entry(b.a);
  EXPECT_EQ(b.state, virtual_interrupt_state{});
}

TEST(entry, without_delivery_does_nothing_and_leaves_the_threshold_to_the_entry_rules) {
  virtual_apic_bench b;
  b.set(field::secondary_processor_based_controls, vmx::secondary::virtualize_apic_accesses);
  b.v.write(field::guest_interrupt_status, 0x4151);
  b.v.write(field::tpr_threshold, 5);
  b.page().write_32(vapic::ppr, 0xAA);
  b.state = {1, 2, true};
  at_entry(b.a);
  EXPECT_EQ(b.state, virtual_interrupt_state{});
  EXPECT_EQ(b.page().read_32(vapic::ppr), 0xAAu);
  const vmx::entry_aftermath after = vmx::after_entry(b.v);
  EXPECT_TRUE(vmx::boundary_after_entry(b.v, b.memory, after, 0).trap_like_exit);
}

TEST(exit, saves_the_status_and_stops_recognition) {
  virtual_apic_bench b;
  b.delivering();
  b.state = {0x61, 0x52, true};
  at_exit(b.v, b.state);
  EXPECT_EQ(b.v.read(field::guest_interrupt_status), 0x5261u);
  EXPECT_EQ(b.state, virtual_interrupt_state{});
}

TEST(exit, without_delivery_leaves_the_field_alone) {
  virtual_apic_bench b;
  b.v.write(field::guest_interrupt_status, 0x1234);
  at_exit(b.v, b.state);
  EXPECT_EQ(b.v.read(field::guest_interrupt_status), 0x1234u);
}

TEST(guest_interrupt_status, is_svi_above_rvi) {
  for (unsigned status = 0; status < 0x10000; ++status) {
    const virtual_interrupt_state s = from_guest_interrupt_status(status);
    ASSERT_EQ(s.rvi, status % 256);
    ASSERT_EQ(s.svi, status / 256);
    ASSERT_FALSE(s.recognized);
    ASSERT_EQ(guest_interrupt_status(s), status);
  }
}

// Fields that a hypervisor and the processor change at every exit: no entry check reads them, none is made again.
TEST(guest_interrupt_status, and_its_companions_do_not_void_the_entry_checks) {
  virtual_apic_bench b;
  b.delivering();
  b.v.note_checks_passed(1);
  b.state = {0x61, 0x52, true};
  at_exit(b.v, b.state);
  b.eoi_exit(0x99);
  b.v.write(field::guest_deadline, 5);
  b.v.write(field::guest_deadline_shadow, 5);
  EXPECT_TRUE(b.v.checks_hold(1));
}

// -- waiting ----------------------------------------------------------------------------------------------------------

TEST(guest_wait, hlt_goes_on_and_a_monitored_wait_ends) {
  EXPECT_FALSE(waits_on(guest_wait::none));
  EXPECT_TRUE(waits_on(guest_wait::hlt));
  EXPECT_FALSE(waits_on(guest_wait::monitored));
  for (std::size_t i = 0; i < wait_table.size(); ++i) EXPECT_EQ(static_cast<std::size_t>(wait_table[i].wait), i);
}

}  // namespace
}  // namespace vmxsys::apic
