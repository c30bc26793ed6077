#include <algorithm>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/vmx/transition/after_entry.hpp>
#include <vmxsys/vmx/transition/guest_state.hpp>

#include "../row_tests.hpp"
#include "legal_vmcs.hpp"

// What a VM entry leaves behind and what comes first. SDM Vol. 3C §29.6, §29.7.
namespace vmxsys::vmx::entry_testing {
namespace {

constexpr u64 rip = 0x1234'5678;
constexpr u64 length = 5;
constexpr u64 breakpoint_pending = 0x1001;  // B0 and "enabled breakpoint"

entry_bench bench_with(const change& what) {
  entry_bench b;
  b.set(f::guest_rip, rip);
  b.set(f::vm_entry_instruction_length, length);
  what(b);
  return b;
}

// ---- by kind of injection -------------------------------------------------------------------------------------------

struct injection_case {
  const char* row;
  change inject;
  bool vectored;
  u64 pushed;
  bool debug_kept;               ///< pending debug exceptions, without a shadow
  bool debug_kept_after_mov_ss;  ///< with blocking by MOV SS
  bool mtf_without_control, mtf_with_control;
  bool nmis_blocked;
  bool ext, gate_dpl;
};

const std::vector<injection_case>& injections() {
  static const std::vector<injection_case> cases{
      {"nothing is injected", set(f::vm_entry_interruption_information, 0x0000'0B0D), false, rip, true, true, false,
       false, false, false, false},
      {"external interrupt", inject(0, 0x30), true, rip, false, false, false, true, false, true, false},
      {"NMI", inject(2, 2), true, rip, false, false, false, true, true, true, false},
      {"hardware exception", inject(3, 14, event_bits::error_code), true, rip, false, false, false, true, false, true,
       false},
      {"software interrupt", inject(4, 0x80), true, rip + length, false, true, false, true, false, false, true},
      {"privileged software exception", inject(5, 1), true, rip + length, false, false, false, true, false, true,
       false},
      {"software exception", inject(6, 3), true, rip + length, false, true, false, true, false, false, true},
      {"pending MTF exit", inject(7, 0), false, rip, true, true, true, true, false, false, false},
  };
  return cases;
}

TEST(vmx_after_entry, each_kind_of_injection_leaves_its_state) {
  for (const injection_case& c : injections()) {
    SCOPED_TRACE(c.row);
    entry_bench b = bench_with(all(c.inject, set(f::guest_pending_debug_exceptions, breakpoint_pending)));
    const entry_aftermath a = after_entry(b.v);
    EXPECT_STREQ(a.injection->name, c.row);
    EXPECT_EQ(a.injection->vectored, c.vectored);
    EXPECT_EQ(a.rip, rip);
    EXPECT_EQ(a.pushed_rip, c.pushed);
    EXPECT_EQ(a.pending_debug, c.debug_kept ? breakpoint_pending : 0);
    EXPECT_EQ(a.mtf_pending, c.mtf_without_control);
    EXPECT_EQ((a.interruptibility & interruptibility::nmi) != 0, c.nmis_blocked);
    EXPECT_EQ(a.injection->ext, c.ext);
    EXPECT_EQ(a.injection->tests_gate_dpl, c.gate_dpl);
    b.on(control_word::primary, primary::monitor_trap_flag);
    EXPECT_EQ(after_entry(b.v).mtf_pending, c.mtf_with_control);
    b.set(f::guest_interruptibility_state, interruptibility::mov_ss);
    EXPECT_EQ(after_entry(b.v).pending_debug, c.debug_kept_after_mov_ss ? breakpoint_pending : 0);
  }
}

TEST(vmx_after_entry, only_a_vectored_event_ends_shadow_and_inactivity) {
  for (const injection_case& c : injections()) {
    SCOPED_TRACE(c.row);
    for (const u64 shadow : {1, 2}) {
      const entry_aftermath a = after_entry(bench_with(all(c.inject, set(f::guest_interruptibility_state, shadow))).v);
      EXPECT_EQ(a.interruptibility & 3, c.vectored ? 0 : shadow);
    }
    const entry_aftermath halted = after_entry(bench_with(all(c.inject, set(f::guest_activity_state, 1))).v);
    EXPECT_EQ(halted.activity, c.vectored ? activity_state::active : activity_state::hlt);
  }
}

TEST(vmx_after_entry, the_event_goes_with_its_code_and_mode) {
  entry_bench b = bench_with(all(inject(3, 13, event_bits::error_code), set(f::vm_entry_exception_error_code, 0x18)));
  entry_aftermath a = after_entry(b.v);
  EXPECT_EQ(a.event.vector, 13u);
  EXPECT_EQ(a.event.type, event_type::hardware_exception);
  EXPECT_TRUE(a.event.error_code);
  EXPECT_EQ(a.error_code, 0x18u);
  EXPECT_FALSE(a.real_mode);
  b.set(f::guest_cr0, 0x20);
  EXPECT_TRUE(after_entry(b.v).real_mode);
  a.note_delivered();
  EXPECT_FALSE(a.injection->vectored);
}

// FRED's own events (vectors 1 and 2 of type 7) make no MTF exit pending.
TEST(vmx_after_entry, other_events_of_fred_are_not_mtf_exits) {
  EXPECT_TRUE(after_entry(bench_with(inject(7, 0)).v).mtf_pending);
  EXPECT_FALSE(after_entry(bench_with(inject(7, 1)).v).mtf_pending);
}

TEST(vmx_after_entry, every_kind_of_injection_is_tested) {
  std::vector<std::string> rows;
  for (const injection_rule& row : injection_table) rows.emplace_back(row.name);
  std::vector<testing_rows::row_test> list;
  for (const injection_case& c : injections()) {
    list.push_back({c.row, "vmx_after_entry.each_kind_of_injection_leaves_its_state"});
    list.push_back({c.row, "vmx_after_entry.only_a_vectored_event_ends_shadow_and_inactivity"});
  }
  testing_rows::expect_rows_tested(rows, list);
  EXPECT_EQ(&injection_rule_of(event_bits::valid | 7 << 8), &injection_table[7]);
  EXPECT_EQ(&injection_rule_of(0x7FFF'FFFF), &injection_table[0]);
}

// ---- by activity state ---------------------------------------------------------------------------------------------

TEST(vmx_after_entry, each_activity_state_keeps_or_drops_pending_debug_exceptions) {
  const std::pair<activity_state, bool> states[] = {{activity_state::active, true},
                                                    {activity_state::hlt, true},
                                                    {activity_state::shutdown, false},
                                                    {activity_state::wait_for_sipi, false}};
  ASSERT_EQ(std::size(states), activity_table.size());
  for (std::size_t i = 0; i < activity_table.size(); ++i) {
    const auto [state, keeps] = states[i];
    EXPECT_EQ(activity_table[i].activity, state);
    const entry_aftermath a = after_entry(
        bench_with(all(set(f::guest_activity_state, i), set(f::guest_pending_debug_exceptions, breakpoint_pending))).v);
    EXPECT_EQ(a.activity, state);
    EXPECT_EQ(a.pending_debug, keeps ? breakpoint_pending : 0) << name_of(state);
  }
  // An event that leads out of shutdown drops them as events of its kind do.
  const change nmi = all(inject(2, 2), set(f::guest_activity_state, 2));
  EXPECT_EQ(
      after_entry(bench_with(all(nmi, set(f::guest_pending_debug_exceptions, breakpoint_pending))).v).pending_debug,
      0u);
}

// ---- in the processor ----------------------------------------------------------------------------------------------

processor_state injected_into(const change& what) {
  const entry_bench b = bench_with(what);
  processor_state p;
  load_guest_state(b.v, p, b.caps);
  apply_injection(b.v, after_entry(b.v), p);
  return p;
}

TEST(vmx_after_entry, an_injected_nmi_blocks_nmis_or_virtual_nmis) {
  const change virtual_nmis = on(control_word::pin, pin_based::virtual_nmis);
  const change blocked = set(f::guest_interruptibility_state, interruptibility::nmi);
  EXPECT_FALSE(injected_into(nothing()).nmi_blocking);
  EXPECT_TRUE(injected_into(blocked).nmi_blocking);
  EXPECT_TRUE(injected_into(inject(2, 2)).nmi_blocking);
  EXPECT_FALSE(injected_into(inject(2, 2)).virtual_nmi_blocking);
  EXPECT_TRUE(injected_into(all(off(control_word::pin, pin_based::nmi_exiting), inject(2, 2))).nmi_blocking);
  EXPECT_TRUE(injected_into(all(virtual_nmis, inject(2, 2))).virtual_nmi_blocking);
  EXPECT_FALSE(injected_into(all(virtual_nmis, inject(2, 2))).nmi_blocking);
  EXPECT_TRUE(injected_into(all(virtual_nmis, blocked)).virtual_nmi_blocking);
  EXPECT_FALSE(injected_into(all(virtual_nmis, blocked)).nmi_blocking);
  EXPECT_FALSE(injected_into(virtual_nmis).virtual_nmi_blocking);
}

TEST(vmx_after_entry, injection_changes_what_was_loaded) {
  const change sleeping =
      all(set(f::guest_activity_state, 1), set(f::guest_pending_debug_exceptions, breakpoint_pending));
  const processor_state asleep = injected_into(sleeping);
  EXPECT_EQ(asleep.activity, activity_state::hlt);
  EXPECT_EQ(asleep.pending_debug, breakpoint_pending);
  const processor_state woken = injected_into(all(sleeping, inject(0, 0x30)));
  EXPECT_EQ(woken.activity, activity_state::active);
  EXPECT_EQ(woken.pending_debug, 0u);
  EXPECT_TRUE(injected_into(set(f::guest_interruptibility_state, 1)).sti_blocking);
  EXPECT_TRUE(injected_into(set(f::guest_interruptibility_state, 2)).mov_ss_blocking);
  EXPECT_FALSE(injected_into(all(set(f::guest_interruptibility_state, 1), inject(3, 6))).sti_blocking);
  EXPECT_FALSE(injected_into(all(set(f::guest_interruptibility_state, 2), inject(3, 6))).mov_ss_blocking);
}

// ---- what is due ---------------------------------------------------------------------------------------------------

struct boundary_bench {
  entry_bench b;
  entry_aftermath state;
  u64 rflags = 0x202;
  boundary_state outside;
  boundary_switches switches;

  explicit boundary_bench(const change& what = nothing()) : b{bench_with(what)}, state{after_entry(b.v)} {}
  boundary_state at() const { return boundary_after_entry(b.v, b.memory, state, rflags, outside); }
  bool due(boundary_event event) const { return due_events(b.v, at(), switches).test(event); }
  first_action first() const { return first_after_entry(b.v, state, at(), switches); }
  event_order order() const { return order_at(b.v, at(), switches); }
};

const change tpr_shadow = all(on(control_word::primary, primary::use_tpr_shadow), set(f::virtual_apic_address, 0x4000),
                              poke<std::uint8_t>(0x4080, 0x4F));
const change accesses = all(tpr_shadow, secondary_on(secondary::virtualize_apic_accesses));

TEST(vmx_after_entry_due, tpr_below_threshold) {
  constexpr auto event = boundary_event::trap_like_exit;
  EXPECT_FALSE(boundary_bench{all(accesses, set(f::tpr_threshold, 4))}.due(event));
  EXPECT_TRUE(boundary_bench{all(accesses, set(f::tpr_threshold, 5))}.due(event));
  EXPECT_FALSE(boundary_bench{all(tpr_shadow, set(f::tpr_threshold, 5))}.due(event)) << "refused by the checks instead";
  EXPECT_FALSE(
      boundary_bench{all(accesses, secondary_on(secondary::virtual_interrupt_delivery), set(f::tpr_threshold, 5))}.due(
          event));
  EXPECT_FALSE(
      boundary_bench{all(accesses, set(f::tpr_threshold, 5), off(control_word::primary, primary::use_tpr_shadow))}.due(
          event));
  boundary_bench from_outside;
  from_outside.outside.trap_like_exit = true;
  EXPECT_TRUE(from_outside.due(event));
}

TEST(vmx_after_entry_due, monitor_trap_flag) {
  constexpr auto event = boundary_event::monitor_trap_flag;
  const change control = on(control_word::primary, primary::monitor_trap_flag);
  EXPECT_TRUE(boundary_bench{all(control, inject(0, 0x30))}.due(event));
  EXPECT_FALSE(boundary_bench{control}.due(event)) << "first one instruction";
  EXPECT_TRUE(boundary_bench{inject(7, 0)}.due(event));
}

TEST(vmx_after_entry_due, debug_trap) {
  constexpr auto event = boundary_event::debug_trap;
  for (const u64 pending : {0x1000, 0x4000, 0x500F, 0x1'1000})
    EXPECT_TRUE(boundary_bench{set(f::guest_pending_debug_exceptions, pending)}.due(event)) << pending;
  for (const u64 pending : {0x0, 0xF})
    EXPECT_FALSE(boundary_bench{set(f::guest_pending_debug_exceptions, pending)}.due(event)) << pending;
  const change pending = set(f::guest_pending_debug_exceptions, breakpoint_pending);
  EXPECT_FALSE(boundary_bench{all(pending, set(f::guest_interruptibility_state, interruptibility::mov_ss))}.due(event));
  EXPECT_TRUE(boundary_bench{all(pending, set(f::guest_interruptibility_state, interruptibility::sti))}.due(event));
  EXPECT_TRUE(
      boundary_bench{all(pending, set(f::guest_interruptibility_state, interruptibility::mov_ss), inject(4, 0x80))}.due(
          event))
      << "kept over INT n after MOV SS, which it ends";
}

TEST(vmx_after_entry_due, preemption_timer) {
  constexpr auto event = boundary_event::preemption_timer;
  const change active = on(control_word::pin, pin_based::activate_vmx_preemption_timer);
  EXPECT_TRUE(boundary_bench{all(active, set(f::vmx_preemption_timer_value, 0))}.due(event));
  EXPECT_FALSE(boundary_bench{all(active, set(f::vmx_preemption_timer_value, 1))}.due(event));
  EXPECT_FALSE(boundary_bench{set(f::vmx_preemption_timer_value, 0)}.due(event));
  boundary_bench expired{all(active, set(f::vmx_preemption_timer_value, 1))};
  expired.outside.preemption_timer = true;
  EXPECT_TRUE(expired.due(event)) << "during the entry";
  boundary_bench inactive;
  inactive.outside.preemption_timer = true;
  EXPECT_FALSE(inactive.due(event));
}

TEST(vmx_after_entry_due, nmi_window) {
  constexpr auto event = boundary_event::nmi_window;
  const change window =
      all(on(control_word::pin, pin_based::virtual_nmis), on(control_word::primary, primary::nmi_window_exiting));
  const auto blocked_by = [&](u64 bits) {
    return boundary_bench{all(window, set(f::guest_interruptibility_state, bits))};
  };
  EXPECT_TRUE(boundary_bench{window}.due(event));
  EXPECT_FALSE(boundary_bench{on(control_word::pin, pin_based::virtual_nmis)}.due(event));
  EXPECT_FALSE(blocked_by(interruptibility::nmi).due(event));
  EXPECT_FALSE(blocked_by(interruptibility::mov_ss).due(event));
  boundary_bench after_sti = blocked_by(interruptibility::sti);
  EXPECT_FALSE(after_sti.due(event));
  after_sti.switches.sti_blocks_nmi = false;
  EXPECT_TRUE(after_sti.due(event));
  EXPECT_FALSE((boundary_bench{all(window, inject(2, 2))}.due(event))) << "the injected NMI blocks virtual ones";
  EXPECT_TRUE((boundary_bench{all(window, inject(3, 6))}.due(event)));
}

TEST(vmx_after_entry_due, nmi) {
  constexpr auto event = boundary_event::nmi;
  const auto with = [&](const change& what, u64 bits) {
    boundary_bench b{all(what, set(f::guest_interruptibility_state, bits))};
    b.outside.nmi = true;
    return b;
  };
  EXPECT_FALSE(boundary_bench{}.due(event));
  EXPECT_TRUE(with(nothing(), 0).due(event));
  EXPECT_FALSE(with(nothing(), interruptibility::nmi).due(event));
  EXPECT_FALSE(with(nothing(), interruptibility::mov_ss).due(event));
  boundary_bench after_sti = with(nothing(), interruptibility::sti);
  EXPECT_FALSE(after_sti.due(event));
  after_sti.switches.sti_blocks_nmi = false;
  EXPECT_TRUE(after_sti.due(event));
  const change virtual_nmis = on(control_word::pin, pin_based::virtual_nmis);
  EXPECT_TRUE(with(virtual_nmis, interruptibility::nmi).due(event)) << "only virtual NMIs are blocked";
  EXPECT_FALSE(with(virtual_nmis, interruptibility::mov_ss).due(event));
  EXPECT_FALSE(with(inject(2, 2), 0).due(event)) << "the injected NMI blocks the next";
  EXPECT_TRUE(with(all(virtual_nmis, inject(2, 2)), 0).due(event));
}

// The window, a virtual interrupt and an external interrupt delivered through the IDT need the same.
TEST(vmx_after_entry_due, interrupt_window) {
  constexpr auto event = boundary_event::interrupt_window;
  const change window = on(control_word::primary, primary::interrupt_window_exiting);
  boundary_bench open{window};
  EXPECT_TRUE(open.due(event));
  open.rflags = 2;
  EXPECT_FALSE(open.due(event));
  EXPECT_FALSE(boundary_bench{}.due(event));
  for (const u64 shadow : {1, 2})
    EXPECT_FALSE(boundary_bench{all(window, set(f::guest_interruptibility_state, shadow))}.due(event));
  EXPECT_TRUE(boundary_bench{all(window, set(f::guest_interruptibility_state, interruptibility::nmi))}.due(event));
}

TEST(vmx_after_entry_due, virtual_interrupt) {
  constexpr auto event = boundary_event::virtual_interrupt;
  const auto with = [&](const change& what) {
    boundary_bench b{what};
    b.outside.virtual_interrupt = true;
    return b;
  };
  EXPECT_FALSE(boundary_bench{}.due(event));
  boundary_bench open = with(nothing());
  EXPECT_TRUE(open.due(event));
  open.rflags = 2;
  EXPECT_FALSE(open.due(event));
  for (const u64 shadow : {1, 2}) EXPECT_FALSE(with(set(f::guest_interruptibility_state, shadow)).due(event));
  const boundary_bench both = with(on(control_word::primary, primary::interrupt_window_exiting));
  EXPECT_FALSE(both.due(event)) << "the window exit excludes it";
  EXPECT_TRUE(both.due(boundary_event::interrupt_window));
}

TEST(vmx_after_entry_due, external_interrupt) {
  constexpr auto event = boundary_event::external_interrupt;
  const auto with = [&](bool exits, u64 rflags, u64 bits) {
    boundary_bench b{all(exits ? nothing() : off(control_word::pin, pin_based::external_interrupt_exiting),
                         set(f::guest_interruptibility_state, bits))};
    b.outside.external_interrupt = true;
    b.rflags = rflags;
    return b;
  };
  EXPECT_FALSE(boundary_bench{}.due(event));
  EXPECT_TRUE(with(true, 2, 0).due(event)) << "RFLAGS.IF does not hold an exit";
  EXPECT_FALSE(with(false, 2, 0).due(event));
  EXPECT_TRUE(with(false, 0x202, 0).due(event));
  EXPECT_FALSE(with(false, 0x202, interruptibility::sti).due(event));
  boundary_bench after_sti = with(true, 0x202, interruptibility::sti);
  EXPECT_FALSE(after_sti.due(event));
  after_sti.switches.shadow_holds_interrupt_exit = false;
  EXPECT_TRUE(after_sti.due(event));
}

TEST(vmx_after_entry_due, others_when_they_wait_outside) {
  const std::pair<boundary_event, bool boundary_state::*> others[] = {
      {boundary_event::machine_check, &boundary_state::machine_check},
      {boundary_event::smi, &boundary_state::smi},
      {boundary_event::init, &boundary_state::init},
      {boundary_event::guest_timer, &boundary_state::guest_timer},
      {boundary_event::user_interrupt, &boundary_state::user_interrupt}};
  for (const auto& [event, member] : others) {
    boundary_bench b;
    EXPECT_FALSE(b.due(event));
    b.outside.*member = true;
    EXPECT_TRUE(b.due(event)) << name_of(event);
  }
  // What only the VMCS can make due is not believed from outside.
  boundary_bench b;
  b.outside.monitor_trap_flag = true;
  b.outside.pending_debug = 0x4000;
  b.outside.waiting = true;
  b.outside.activity = activity_state::shutdown;
  b.outside.blocking.interruptibility = interruptibility::mov_ss;
  EXPECT_FALSE(b.due(boundary_event::monitor_trap_flag));
  EXPECT_FALSE(b.due(boundary_event::debug_trap));
  EXPECT_FALSE(b.at().waiting);
  EXPECT_EQ(b.at().activity, activity_state::active);
  EXPECT_EQ(b.at().blocking.interruptibility, 0u);
}

TEST(vmx_after_entry_due, every_row_is_tested) {
  std::vector<std::string> rows;
  for (const entry_pending_rule& row : entry_pending_table()) rows.emplace_back(name_of(row.event));
  testing_rows::expect_rows_tested(
      rows, {{name_of(boundary_event::trap_like_exit), "vmx_after_entry_due.tpr_below_threshold"},
             {name_of(boundary_event::monitor_trap_flag), "vmx_after_entry_due.monitor_trap_flag"},
             {name_of(boundary_event::debug_trap), "vmx_after_entry_due.debug_trap"},
             {name_of(boundary_event::preemption_timer), "vmx_after_entry_due.preemption_timer"}});
}

// ---- what comes first ----------------------------------------------------------------------------------------------

std::vector<std::string> order_of(const boundary_bench& b) {
  std::vector<std::string> names;
  for (const boundary_event event : b.order()) names.emplace_back(name_of(event));
  return names;
}

const change everything_due =
    all(accesses, set(f::tpr_threshold, 5), on(control_word::primary, primary::monitor_trap_flag),
        on(control_word::pin, pin_based::activate_vmx_preemption_timer | pin_based::virtual_nmis),
        set(f::vmx_preemption_timer_value, 0), on(control_word::primary, primary::nmi_window_exiting));

boundary_bench all_pending(const change& more) {
  boundary_bench b{all(everything_due, more)};
  b.outside.smi = b.outside.init = b.outside.sipi = b.outside.nmi = true;
  b.outside.external_interrupt = b.outside.virtual_interrupt = true;
  return b;
}

// SDM Vol. 3C §29.7: the injected event, then the boundary events in their order.
TEST(vmx_after_entry_order, the_injected_event_comes_before_everything) {
  boundary_bench b = all_pending(inject(4, 0x80));
  EXPECT_EQ(b.first().what, first_action::kind::deliver);
  EXPECT_EQ(order_of(b), (std::vector<std::string>{"trap-like APIC and bus-lock exits", "SMI", "INIT",
                                                   "monitor trap flag", "VMX-preemption timer", "NMI window", "NMI",
                                                   "virtual interrupt", "external interrupt"}));
  b.state.note_delivered();
  EXPECT_EQ(b.first().what, first_action::kind::act);
  EXPECT_EQ(b.first().event, boundary_event::trap_like_exit);
  b.b.set(f::tpr_threshold, 4);
  EXPECT_EQ(b.first().event, boundary_event::smi);
  b.outside.smi = false;
  EXPECT_EQ(b.first().event, boundary_event::init);
  b.outside.init = false;
  EXPECT_EQ(b.first().event, boundary_event::monitor_trap_flag);
}

TEST(vmx_after_entry_order, pending_debug_exceptions_beat_the_timer_and_an_injected_one_is_delivered_first) {
  boundary_bench pending = all_pending(set(f::guest_pending_debug_exceptions, breakpoint_pending));
  EXPECT_EQ(order_of(pending)[3], "debug trap on the previous instruction");
  EXPECT_EQ(order_of(pending)[4], "VMX-preemption timer");
  const change timer =
      all(on(control_word::pin, pin_based::activate_vmx_preemption_timer), set(f::vmx_preemption_timer_value, 0));
  boundary_bench injected{all(timer, inject(3, 1))};
  EXPECT_EQ(injected.first().what, first_action::kind::deliver);
  injected.state.note_delivered();
  EXPECT_EQ(injected.first().event, boundary_event::preemption_timer);
}

// SMI; the timer; NMI window and NMI; window exit or virtual interrupt; external interrupt.
TEST(vmx_after_entry_order, a_priority_fight_at_one_boundary) {
  const change timer =
      all(on(control_word::pin, pin_based::activate_vmx_preemption_timer), set(f::vmx_preemption_timer_value, 0));
  boundary_bench b{all(timer, on(control_word::primary, primary::interrupt_window_exiting))};
  b.outside.smi = b.outside.nmi = b.outside.virtual_interrupt = b.outside.external_interrupt = true;
  EXPECT_EQ(order_of(b),
            (std::vector<std::string>{"SMI", "VMX-preemption timer", "NMI", "interrupt window", "external interrupt"}));
}

TEST(vmx_after_entry_order, an_inactive_state_lets_only_some_through) {
  const auto in_state = [](u64 state) { return all_pending(set(f::guest_activity_state, state)); };
  EXPECT_EQ(order_of(in_state(1)).front(), "trap-like APIC and bus-lock exits") << "wakes HLT";
  EXPECT_EQ(order_of(in_state(2)),
            (std::vector<std::string>{"SMI", "INIT", "VMX-preemption timer", "NMI window", "NMI"}));
  EXPECT_EQ(order_of(in_state(3)), (std::vector<std::string>{"start-up IPI"}));
  // The pending MTF exit of type 7 finds the processor in HLT and ends it.
  const boundary_bench mtf{all(inject(7, 0), set(f::guest_activity_state, 1))};
  EXPECT_EQ(mtf.first().what, first_action::kind::act);
  EXPECT_EQ(mtf.first().event, boundary_event::monitor_trap_flag);
  EXPECT_EQ(mtf.state.activity, activity_state::hlt);
}

TEST(vmx_after_entry_order, with_nothing_due_the_guest_executes_or_stays_inactive) {
  EXPECT_EQ(boundary_bench{}.first().what, first_action::kind::execute);
  for (const u64 state : {1, 2, 3})
    EXPECT_EQ(boundary_bench{set(f::guest_activity_state, state)}.first().what, first_action::kind::wait);
  boundary_bench halted{set(f::guest_activity_state, 1)};
  halted.rflags = 2;
  halted.outside.virtual_interrupt = true;
  EXPECT_EQ(halted.first().what, first_action::kind::wait) << "IF is 0: recognition alone does not wake";
  halted.rflags = 0x202;
  EXPECT_EQ(halted.first().event, boundary_event::virtual_interrupt);
}

// A TPR exit that shutdown suppressed fires after the NMI that leads out of it.
TEST(vmx_after_entry_order, what_shutdown_held_back_comes_after_it) {
  boundary_bench b{all(accesses, set(f::tpr_threshold, 5), set(f::guest_activity_state, 2),
                       off(control_word::pin, pin_based::nmi_exiting))};
  EXPECT_EQ(b.first().what, first_action::kind::wait);
  b.outside.nmi = true;
  EXPECT_EQ(b.first().event, boundary_event::nmi);
  b.outside.nmi = false;
  b.state.activity = activity_state::active;
  EXPECT_EQ(b.first().event, boundary_event::trap_like_exit);
}

// For random legal VMCSs and any set of events outside.
TEST(vmx_after_entry_order, first_and_order_agree_with_the_priority_table) {
  testing::random_numbers random{30};
  bool boundary_state::*const arrivals[] = {&boundary_state::machine_check,
                                            &boundary_state::trap_like_exit,
                                            &boundary_state::smi,
                                            &boundary_state::init,
                                            &boundary_state::sipi,
                                            &boundary_state::preemption_timer,
                                            &boundary_state::nmi,
                                            &boundary_state::guest_timer,
                                            &boundary_state::virtual_interrupt,
                                            &boundary_state::external_interrupt,
                                            &boundary_state::user_interrupt};
  for (const entry_bench& processor : processors()) {
    for (int i = 0; i < 200; ++i) {
      boundary_bench b;
      b.b = processor;
      legal_vmcs{b.b, random}.make();
      b.state = after_entry(b.b.v);
      b.rflags = b.b.of(f::guest_rflags);
      b.switches.guest_timer = guest_timer_position::above_interrupt_window;
      for (const auto arrival : arrivals) b.outside.*arrival = random.one_in(2);
      const entry_aftermath& a = b.state;
      const bool vectored = is_injecting(static_cast<std::uint32_t>(b.b.of(f::vm_entry_interruption_information)));
      ASSERT_EQ(a.injection->vectored, vectored);
      ASSERT_TRUE(!vectored || (a.activity == activity_state::active && (a.interruptibility & 3) == 0));
      const first_action first = b.first();
      ASSERT_EQ(first.what == first_action::kind::deliver, vectored);
      const event_order order = b.order();
      ASSERT_TRUE(std::is_sorted(order.begin(), order.end()));
      for (const boundary_event event : order) ASSERT_EQ(respond(event, a.activity), response::acts);
      if (first.what == first_action::kind::act) {
        ASSERT_EQ(first.event, *order.begin());
      } else if (first.what != first_action::kind::deliver) {
        ASSERT_EQ(order.count, 0u);
      }
    }
  }
}

}  // namespace
}  // namespace vmxsys::vmx::entry_testing
