#include <gtest/gtest.h>
#include <ostream>
#include <string>
#include <vector>

#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/events/exception.hpp>
#include <vmxsys/vmx/events/interrupt_shadow.hpp>

#include "random_numbers.hpp"

namespace vmxsys::vmx {
namespace {

using e = boundary_event;
using a = activity_state;

// The table a second time: what each event does in active, HLT, shutdown, wait-for-SIPI, and while MWAIT waits
// (a acts, b blocked, d dropped), and what acting on it is with every exit control off and on.
struct row_of_the_manual {
  boundary_event event;
  const char* name;
  const char* responses;
  boundary_action without;
  boundary_action with;
  int reason;  // of the exit, -1: never exits
};
void PrintTo(const row_of_the_manual& row, std::ostream* out) { *out << row.name; }

constexpr auto exits = boundary_action::vm_exit;
constexpr auto delivers = boundary_action::deliver;
constexpr auto processes = boundary_action::process;
const row_of_the_manual manual[] = {
    {e::machine_check, "machine check", "aaaaa", delivers, exits, 0},
    {e::trap_like_exit, "trap-like APIC and bus-lock exits", "aabba", exits, exits, 43},
    {e::smi, "SMI", "aaaba", processes, processes, -1},
    {e::init, "INIT", "aaaba", exits, exits, 3},
    {e::sipi, "start-up IPI", "dddad", exits, exits, 4},
    {e::monitor_trap_flag, "monitor trap flag", "aabba", exits, exits, 37},
    {e::debug_trap, "debug trap on the previous instruction", "aadda", delivers, exits, 0},
    {e::preemption_timer, "VMX-preemption timer", "aaaba", exits, exits, 52},
    {e::nmi_window, "NMI window", "aaaba", exits, exits, 8},
    {e::nmi, "NMI", "aaaba", delivers, exits, 0},
    {e::guest_timer, "guest timer", "aabba", processes, processes, -1},
    {e::interrupt_window, "interrupt window", "aabba", exits, exits, 7},
    {e::virtual_interrupt, "virtual interrupt", "aabba", delivers, delivers, -1},
    {e::external_interrupt, "external interrupt", "aabba", delivers, exits, 1},
    {e::user_interrupt, "user interrupt", "abbba", delivers, delivers, -1},
};

class boundary_row : public ::testing::TestWithParam<row_of_the_manual> {};

TEST_P(boundary_row, who_wakes_whom) {
  const row_of_the_manual& row = GetParam();
  const auto letter = [](response r) { return r == response::acts ? 'a' : r == response::blocked ? 'b' : 'd'; };
  std::string responses;
  for (const a activity : {a::active, a::hlt, a::shutdown, a::wait_for_sipi}) {
    responses += letter(respond(row.event, activity));
    const pending_events alone = pending_events{}.set(row.event);
    EXPECT_EQ(!unblocked(alone, activity).empty(), responses.back() == 'a');
    EXPECT_EQ(!dropped(alone, activity).empty(), responses.back() == 'd');
  }
  EXPECT_EQ(responses + letter(respond_waiting(row.event)), row.responses);
  EXPECT_STREQ(name_of(row.event), row.name);
}

TEST_P(boundary_row, outcome) {
  const row_of_the_manual& row = GetParam();
  vmcs v{4};
  EXPECT_EQ(outcome_of(v, row.event).action, row.without);
  v.write(field::pin_based_controls, pin_based::external_interrupt_exiting | pin_based::nmi_exiting);
  v.write(field::exception_bitmap, 1u << 18 | 1u << 1);
  const boundary_outcome outcome = outcome_of(v, row.event);
  EXPECT_EQ(outcome.action, row.with);
  if (row.reason >= 0) {
    EXPECT_EQ(static_cast<int>(outcome.reason), row.reason);
  }
}

INSTANTIATE_TEST_SUITE_P(, boundary_row, ::testing::ValuesIn(manual));

TEST(boundary_table, priority_is_the_order_of_the_rows) {
  for (std::size_t i = 0; i < boundary_event_count; ++i) {
    EXPECT_EQ(static_cast<std::size_t>(boundary_table[i].event), i);
    EXPECT_EQ(manual[i].event, boundary_table[i].event);
    pending_events pending;
    for (std::size_t j = i; j < boundary_event_count; ++j) pending.set(static_cast<e>(j));
    EXPECT_EQ(highest(pending, guest_timer_position::above_interrupt_window), static_cast<e>(i));
  }
  EXPECT_EQ(highest({}), e::none);
  EXPECT_STREQ(name_of(e::none), "none");
  EXPECT_EQ(outcome_of(vmcs{4}, e::none).action, boundary_action::none);
}

TEST(boundary_table, everything_at_one_boundary) {
  pending_events pending;
  for (const e event : {e::external_interrupt, e::interrupt_window, e::nmi, e::preemption_timer, e::smi})
    pending.set(event);
  for (const e expected : {e::smi, e::preemption_timer, e::nmi, e::interrupt_window, e::external_interrupt, e::none}) {
    EXPECT_EQ(highest(pending), expected);
    if (expected != e::none) pending.clear(expected);
  }
}

TEST(guest_timer, stands_where_the_switch_puts_it) {
  using p = guest_timer_position;
  const auto first = [](std::initializer_list<e> others, p position) {
    pending_events pending;
    for (const e other : others) pending.set(other);
    return highest(pending.set(e::guest_timer), position);
  };
  for (const p position : {p::yields_to_external_interrupt, p::above_interrupt_window, p::below_external_interrupt}) {
    EXPECT_EQ(first({}, position), e::guest_timer);
    EXPECT_EQ(first({e::nmi}, position), e::nmi);
    EXPECT_EQ(first({e::user_interrupt}, position), e::guest_timer);
  }
  EXPECT_EQ(first({e::interrupt_window}, p::yields_to_external_interrupt), e::guest_timer);
  EXPECT_EQ(first({e::virtual_interrupt}, p::yields_to_external_interrupt), e::guest_timer);
  EXPECT_EQ(first({e::external_interrupt}, p::yields_to_external_interrupt), e::external_interrupt);
  EXPECT_EQ(first({e::external_interrupt, e::virtual_interrupt}, p::yields_to_external_interrupt), e::guest_timer)
      << "the external interrupt would not be taken at this boundary";
  EXPECT_EQ(first({e::external_interrupt}, p::above_interrupt_window), e::guest_timer);
  for (const e other : {e::interrupt_window, e::virtual_interrupt, e::external_interrupt})
    EXPECT_EQ(first({other}, p::below_external_interrupt), other);
}

// -- what holds an event back -----------------------------------------------------------------------------------------

class boundary_blocking : public ::testing::Test {
 protected:
  boundary_blocking() {
    state.blocking.rflags = rflags_bits::one | rflags_bits::interrupt_flag;
    v.write(field::primary_processor_based_controls, primary::nmi_window_exiting);
    v.write(field::pin_based_controls, pin_based::nmi_exiting | pin_based::virtual_nmis);
  }
  bool due(e event) const { return due_events(v, state, switches).test(event); }
  bool due_with(e event, std::uint32_t interruptibility_bits) {
    state.blocking.interruptibility = interruptibility_bits;
    const bool result = due(event);
    state.blocking.interruptibility = 0;
    return result;
  }
  // The bits of 0 (STI) to 4 (enclave) that hold it back, as digits.
  std::string held_by(e event) {
    std::string bits;
    for (unsigned bit = 0; bit < 5; ++bit)
      if (!due_with(event, 1u << bit)) bits += static_cast<char>('0' + bit);
    return bits;
  }

  vmcs v{4};
  boundary_state state;
  boundary_switches switches;
};

TEST_F(boundary_blocking, nothing_is_due_when_nothing_has_arrived) {
  v.write(field::primary_processor_based_controls, 0);
  EXPECT_TRUE(due_events(v, state).empty());
  EXPECT_EQ(next_event(v, state), e::none);
}

TEST_F(boundary_blocking, machine_checks_traps_init_and_timers_by_nothing) {
  state.machine_check = state.trap_like_exit = state.init = state.monitor_trap_flag = state.preemption_timer =
      state.guest_timer = state.user_interrupt = true;
  for (const e event : {e::machine_check, e::trap_like_exit, e::init, e::monitor_trap_flag, e::preemption_timer,
                        e::guest_timer, e::user_interrupt}) {
    EXPECT_EQ(held_by(event), "") << name_of(event);
    state.blocking.rflags = 2;
    EXPECT_TRUE(due(event)) << name_of(event);
    state.blocking.rflags = 0x202;
  }
}

TEST_F(boundary_blocking, smi_by_blocking_by_smi) {
  state.smi = true;
  EXPECT_EQ(held_by(e::smi), "2");
}

TEST_F(boundary_blocking, sipi_only_by_the_activity_state) {
  state.sipi = true;
  EXPECT_FALSE(due(e::sipi));
  state.activity = a::wait_for_sipi;
  EXPECT_EQ(held_by(e::sipi), "");
}

TEST_F(boundary_blocking, debug_traps_by_mov_ss) {
  EXPECT_FALSE(due(e::debug_trap));
  state.pending_debug = pending_debug_bits::breakpoints | pending_debug_bits::bus_lock | pending_debug_bits::rtm;
  EXPECT_FALSE(due(e::debug_trap)) << "breakpoints that are not enabled";
  for (const std::uint64_t cause : {pending_debug_bits::enabled_breakpoint, pending_debug_bits::single_step}) {
    state.pending_debug = cause;
    EXPECT_EQ(held_by(e::debug_trap), "1");
  }
}

TEST_F(boundary_blocking, nmi_window_by_virtual_nmi_blocking_and_the_shadows) {
  EXPECT_EQ(held_by(e::nmi_window), "013");
  switches.sti_blocks_nmi = false;
  EXPECT_EQ(held_by(e::nmi_window), "13");
  state.blocking.rflags = 2;
  EXPECT_TRUE(due(e::nmi_window)) << "IF does not matter";
  v.write(field::primary_processor_based_controls, 0);
  EXPECT_FALSE(due(e::nmi_window));
}

TEST_F(boundary_blocking, nmi_by_the_shadows_and_by_blocking_that_is_not_virtual) {
  EXPECT_FALSE(due(e::nmi));
  state.nmi = true;
  EXPECT_EQ(held_by(e::nmi), "01");
  v.write(field::pin_based_controls, pin_based::nmi_exiting);
  EXPECT_EQ(held_by(e::nmi), "013");
  v.write(field::pin_based_controls, 0);
  EXPECT_EQ(held_by(e::nmi), "013");
  switches.sti_blocks_nmi = false;
  EXPECT_EQ(held_by(e::nmi), "13");
}

TEST_F(boundary_blocking, interrupt_window_by_if_and_the_shadows) {
  EXPECT_FALSE(due(e::interrupt_window));
  v.write(field::primary_processor_based_controls, primary::interrupt_window_exiting);
  EXPECT_EQ(held_by(e::interrupt_window), "01");
  state.blocking.rflags = 2;
  EXPECT_FALSE(due(e::interrupt_window));
}

TEST_F(boundary_blocking, virtual_interrupts_by_if_the_shadows_and_the_window) {
  EXPECT_FALSE(due(e::virtual_interrupt));
  state.virtual_interrupt = true;
  EXPECT_EQ(held_by(e::virtual_interrupt), "01");
  state.blocking.rflags = 2;
  EXPECT_FALSE(due(e::virtual_interrupt)) << "recognition is not delivery";
  state.blocking.rflags = 0x202;
  v.write(field::primary_processor_based_controls, primary::interrupt_window_exiting);
  EXPECT_FALSE(due(e::virtual_interrupt));
}

TEST_F(boundary_blocking, external_interrupts_by_if_only_without_exiting) {
  EXPECT_FALSE(due(e::external_interrupt));
  state.external_interrupt = true;
  EXPECT_EQ(held_by(e::external_interrupt), "01");
  switches.shadow_holds_interrupt_exit = false;
  EXPECT_EQ(held_by(e::external_interrupt), "01") << "the switch is about exits";
  state.blocking.rflags = 2;
  EXPECT_FALSE(due(e::external_interrupt));
  v.write(field::pin_based_controls, pin_based::external_interrupt_exiting);
  EXPECT_TRUE(due(e::external_interrupt));
  EXPECT_EQ(held_by(e::external_interrupt), "");
  switches.shadow_holds_interrupt_exit = true;
  EXPECT_EQ(held_by(e::external_interrupt), "01");
}

// Bochs skips the timer at such a boundary; the manual lists no such blocking.
TEST_F(boundary_blocking, a_shadow_does_not_delay_the_preemption_timer) {
  state.preemption_timer = state.nmi = state.external_interrupt = true;
  state.blocking.interruptibility = interruptibility::sti;
  EXPECT_EQ(next_event(v, state), e::preemption_timer);
  state.preemption_timer = false;
  EXPECT_EQ(next_event(v, state), e::none);
}

TEST_F(boundary_blocking, timer_that_expires_in_wait_for_sipi_stays_pending) {
  state.activity = a::wait_for_sipi;
  state.preemption_timer = true;
  EXPECT_EQ(next_event(v, state), e::none);
  state.sipi = true;
  EXPECT_EQ(next_event(v, state), e::sipi);
  state.activity = a::active;
  EXPECT_EQ(next_event(v, state), e::preemption_timer);
}

TEST_F(boundary_blocking, a_single_step_stays_pending_behind_an_mtf_exit) {
  state.monitor_trap_flag = true;
  state.pending_debug = pending_debug_bits::single_step;
  EXPECT_EQ(next_event(v, state), e::monitor_trap_flag);
  state.monitor_trap_flag = false;
  EXPECT_EQ(next_event(v, state), e::debug_trap);
}

// "STI; HLT" with a virtual interrupt recognized: the shadow does not outlive the HLT.
TEST_F(boundary_blocking, a_virtual_interrupt_wakes_hlt_only_if_it_can_be_delivered) {
  v.write(field::primary_processor_based_controls, 0);
  state.virtual_interrupt = true;
  state.blocking.interruptibility = interruptibility_after(0, interrupt_shadow_step::sti_sets_if);
  EXPECT_EQ(next_event(v, state), e::none) << "before the HLT";
  state.activity = a::hlt;
  state.blocking.interruptibility = interruptibility_after(state.blocking.interruptibility, interrupt_shadow_step::hlt);
  EXPECT_EQ(next_event(v, state), e::virtual_interrupt);
  state.blocking.rflags = 2;
  EXPECT_EQ(next_event(v, state), e::none);
}

// SDM Vol. 3C §29.7: TPR threshold, SMI, INIT, MTF, debug, timer, NMI window, NMI, interrupt window, external
// interrupt.
TEST_F(boundary_blocking, order_after_a_vm_entry) {
  v.write(field::pin_based_controls, pin_based::nmi_exiting | pin_based::external_interrupt_exiting);
  v.write(field::primary_processor_based_controls, primary::nmi_window_exiting | primary::interrupt_window_exiting);
  state.trap_like_exit = state.smi = state.init = state.monitor_trap_flag = state.preemption_timer = state.nmi =
      state.virtual_interrupt = state.external_interrupt = true;
  state.pending_debug = pending_debug_bits::enabled_breakpoint;
  const auto take = [&](bool& pending, e expected) {
    EXPECT_EQ(next_event(v, state), expected);
    pending = false;
  };
  take(state.trap_like_exit, e::trap_like_exit);
  take(state.smi, e::smi);
  take(state.init, e::init);
  take(state.monitor_trap_flag, e::monitor_trap_flag);
  EXPECT_EQ(next_event(v, state), e::debug_trap);
  state.pending_debug = 0;
  take(state.preemption_timer, e::preemption_timer);
  EXPECT_EQ(next_event(v, state), e::nmi_window);
  v.write(field::primary_processor_based_controls, primary::interrupt_window_exiting);
  take(state.nmi, e::nmi);
  EXPECT_EQ(next_event(v, state), e::interrupt_window) << "the virtual interrupt waits while the window is asked for";
  v.write(field::primary_processor_based_controls, 0);
  take(state.virtual_interrupt, e::virtual_interrupt);
  take(state.external_interrupt, e::external_interrupt);
  EXPECT_EQ(next_event(v, state), e::none);
}

// -- the same, naively ------------------------------------------------------------------------------------------------

e naive_next(const vmcs& v, const boundary_state& s, const boundary_switches& switches) {
  const bool sti = s.blocking.interruptibility & 1, ss = s.blocking.interruptibility & 2;
  const bool bit_2 = s.blocking.interruptibility & 4, bit_3 = s.blocking.interruptibility & 8;
  const bool interrupts_on = s.blocking.rflags & 0x200;
  const auto pin = v.read(field::pin_based_controls);
  const auto proc = v.read(field::primary_processor_based_controls);
  const bool awake = s.activity == a::active || s.activity == a::hlt;
  const bool not_wfs = s.activity != a::wait_for_sipi;
  const bool nmi_shadow = ss || (sti && switches.sti_blocks_nmi);

  if (s.machine_check) return e::machine_check;
  if (s.trap_like_exit && awake) return e::trap_like_exit;
  if (s.smi && !bit_2 && not_wfs) return e::smi;
  if (s.init && not_wfs) return e::init;
  if (s.sipi && !not_wfs) return e::sipi;
  if (s.monitor_trap_flag && awake) return e::monitor_trap_flag;
  if ((s.pending_debug & 0x5000) != 0 && !ss && awake) return e::debug_trap;
  if (s.preemption_timer && not_wfs) return e::preemption_timer;
  if ((proc & 1u << 22) != 0 && !bit_3 && !nmi_shadow && not_wfs) return e::nmi_window;
  const bool virtual_nmis = (pin & 1u << 3) != 0 && (pin & 1u << 5) != 0;
  if (s.nmi && !(bit_3 && !virtual_nmis) && !nmi_shadow && not_wfs) return e::nmi;
  if (!awake) return e::none;

  const bool window = interrupts_on && !sti && !ss;
  const bool window_exit = (proc & 1u << 2) != 0 && window;
  const bool virtual_interrupt = s.virtual_interrupt && window && (proc & 1u << 2) == 0;
  const bool external =
      s.external_interrupt && ((pin & 1) != 0 ? !switches.shadow_holds_interrupt_exit || (!sti && !ss) : window);
  const bool passed_over = switches.guest_timer == guest_timer_position::below_external_interrupt &&
                           (window_exit || virtual_interrupt || external);
  const bool yields = switches.guest_timer == guest_timer_position::yields_to_external_interrupt && external &&
                      !window_exit && !virtual_interrupt;
  if (s.guest_timer && !passed_over && !yields) return e::guest_timer;
  if (window_exit) return e::interrupt_window;
  if (virtual_interrupt) return e::virtual_interrupt;
  if (external) return e::external_interrupt;
  if (s.user_interrupt && s.activity == a::active) return e::user_interrupt;
  return e::none;
}

TEST(boundary, agrees_with_a_naive_list_on_random_states) {
  vmxsys::testing::random_numbers random{28};
  std::size_t taken[boundary_event_count + 1] = {};
  for (int n = 0; n < 200'000; ++n) {
    vmcs v{4};
    v.write(field::pin_based_controls, random());
    v.write(field::primary_processor_based_controls, random());
    boundary_state s;
    // From crowded boundaries to lonely ones.
    const std::uint64_t rarity = random.between(2, 12);
    const auto some = [&] { return random.one_in(rarity); };
    s.activity = static_cast<a>(random.one_in(2) ? 0 : random.below(4));
    s.blocking = {random.one_in(3) ? 2u : 0x202u, static_cast<std::uint32_t>(random.one_in(2) ? 0 : random.below(32))};
    s.machine_check = some() && some();
    s.trap_like_exit = some();
    s.smi = some();
    s.init = some();
    s.sipi = some();
    s.monitor_trap_flag = some();
    s.pending_debug = some() ? random() : 0;
    s.preemption_timer = some();
    s.nmi = some();
    s.guest_timer = random.one_in(2);
    s.virtual_interrupt = random.one_in(2);
    s.external_interrupt = random.one_in(2);
    s.user_interrupt = random.one_in(2);
    const boundary_switches switches{random.one_in(2), random.one_in(2),
                                     static_cast<guest_timer_position>(random.below(3))};
    const e expected = naive_next(v, s, switches);
    ASSERT_EQ(next_event(v, s, switches), expected) << n;
    ++taken[static_cast<std::size_t>(expected)];
  }
  for (std::size_t i = 0; i <= boundary_event_count; ++i) EXPECT_GT(taken[i], 500u) << name_of(static_cast<e>(i));
}

}  // namespace
}  // namespace vmxsys::vmx
