#include "directed_yield.hpp"

namespace vmxsys::models {

namespace {

using rules = directed_yield_rules;
using scan = rules::scan;
using want = rules::want;
using blocked = rules::blocked;
using user_mode = rules::user_mode;
using result = rules::result;

constexpr vcpu_yield_rules before_esrch{false, false};
constexpr vcpu_yield_rules guest_mode_before_esrch{true, false};
constexpr vcpu_yield_rules guest_mode{true, true};

// One row per change of the rules.
constexpr rules table[] = {
    {.name = "directed",
     .kernel = "v2.6.39",
     .description = "yields to the first sibling that is not running, from the last boosted on",
     .order = scan::two_passes_from_last,
     .halted = blocked::all,
     .tests_task = true,
     .eligibility = false,
     .results = result::nonzero_succeeds,
     .yield = before_esrch},
    {.name = "deprioritize_recent",
     .kernel = "v3.6",
     .description = "passes over siblings that are spinning themselves, every other time",
     .order = scan::two_passes_after_last,
     .halted = blocked::all,
     .results = result::nonzero_succeeds,
     .yield = guest_mode_before_esrch},
    {.name = "undercommit_test",
     .kernel = "v3.9",
     .description = "yield_to reports single-task run queues, which is taken for success",
     .order = scan::two_passes_after_last,
     .halted = blocked::all,
     .results = result::nonzero_succeeds,
     .yield = guest_mode},
    {.name = "preempted_only",
     .kernel = "v3.10",
     .description = "only siblings that were preempted",
     .order = scan::two_passes_after_last,
     .look_before_me = true,
     .first = want::preempted,
     .halted = blocked::all,
     .results = result::nonzero_succeeds,
     .yield = guest_mode},
    {.name = "three_tries",
     .kernel = "v3.18",
     .description = "gives up at the third pair of single-task run queues; blocked siblings with an event pass",
     .order = scan::two_passes_after_last,
     .look_before_me = true,
     .first = want::preempted,
     .yield = guest_mode},
    {.name = "kernel_mode",
     .kernel = "v4.14",
     .description = "only siblings that were preempted in kernel mode",
     .order = scan::two_passes_after_last,
     .look_before_me = true,
     .first = want::preempted,
     .mode = user_mode::by_cached_mode},
    {.name = "ipi_receivers",
     .kernel = "v5.3",
     .description = "also siblings woken from a halt and not yet running",
     .order = scan::two_passes_after_last,
     .look_before_me = true,
     .first = want::ready,
     .mode = user_mode::preempted_only},
    {.name = "posted_receivers",
     .kernel = "v5.13",
     .description = "also siblings preempted in user mode to which an interrupt is posted; without posted interrupts "
                    "the same as ipi_receivers",
     .order = scan::two_passes_after_last,
     .look_before_me = true,
     .first = want::ready,
     .mode = user_mode::preempted_without_posted_interrupt},
    {.name = "single_scan_as_released",
     .kernel = "v6.13",
     .description = "one loop around all siblings; stores a loop count as the last boosted",
     .order = scan::once_around,
     .first = want::ready,
     .mode = user_mode::preempted_without_posted_interrupt,
     .stores_loop_count = true},
    {.name = "single_scan",
     .kernel = "v6.19",
     .description = "one loop around all siblings",
     .order = scan::once_around,
     .first = want::ready,
     .mode = user_mode::preempted_without_posted_interrupt},
};

}  // namespace

std::span<const directed_yield_rules> directed_yield_eras() noexcept { return table; }

const directed_yield_rules* find_directed_yield(std::string_view name) noexcept {
  for (const rules& row : table)
    if (name == row.name) return &row;
  return nullptr;
}

bool eligible_for_directed_yield(bool in_spin_loop, bool& dy_eligible) noexcept {
  if (!in_spin_loop) return true;
  dy_eligible = !dy_eligible;
  return !dy_eligible;
}

cpu::program directed_yield::on_spin(spin_context& context) {
  const bool once = rules_.order == scan::once_around;
  if (once && context.vcpus() < 2) co_return;
  const unsigned me = context.me();
  if (rules_.eligibility) context.in_spin_loop(me) = true;
  if (once)
    co_await scan_once_around(context);
  else
    co_await scan_twice(context);
  if (!rules_.eligibility) co_return;
  context.in_spin_loop(me) = false;
  context.dy_eligible(me) = false;
}

// From the last boosted to the end, then from the beginning to the last boosted. The second pass is left out unless the
// first ended with the result 0, so a negative last result suppresses it.
cpu::program directed_yield::scan_twice(spin_context& context) const {
  const unsigned last = context.last_boosted();
  const bool jumps_over_0 = last != 0 || rules_.order == scan::two_passes_after_last;
  const unsigned first = jumps_over_0 ? last + 1 : 0;
  scan_state state;
  for (unsigned i = first; i < context.vcpus() && !state.over(); ++i) {
    if (!looks_at(context, i)) continue;
    const spin_candidate seen = co_await context.check(i);
    if (boosts(context, i, seen)) co_await boost(context, i, i, state);
  }
  if (state.result != 0) co_return;
  for (unsigned i = 0; i <= last && i < context.vcpus() && !state.over(); ++i) {
    if (!looks_at(context, i)) continue;
    const spin_candidate seen = co_await context.check(i);
    if (boosts(context, i, seen)) co_await boost(context, i, i, state);
  }
}

cpu::program directed_yield::scan_once_around(spin_context& context) const {
  const unsigned all = context.vcpus();
  const unsigned start = context.last_boosted() + 1;
  scan_state state;
  for (unsigned k = 0; k < all && !state.over(); ++k) {
    const unsigned i = (start + k) % all;
    if (!looks_at(context, i)) continue;
    const spin_candidate seen = co_await context.check(i);
    if (boosts(context, i, seen)) co_await boost(context, i, rules_.stores_loop_count ? k : i, state);
  }
}

bool directed_yield::looks_at(const spin_context& context, unsigned vcpu) const {
  return rules_.look_before_me || vcpu != context.me();
}

// Eligibility is asked last, because asking changes it.
bool directed_yield::boosts(spin_context& context, unsigned vcpu, const spin_candidate& candidate) const {
  if (!wanted(candidate) || vcpu == context.me() || !passes(context, candidate)) return false;
  return !rules_.eligibility || eligible_for_directed_yield(context.in_spin_loop(vcpu), context.dy_eligible(vcpu));
}

// `stored` is what to remember if the host scheduler takes the hint.
cpu::program directed_yield::boost(spin_context& context, unsigned vcpu, unsigned stored, scan_state& state) const {
  const int answer = co_await context.yield_to(vcpu);
  const bool refused = answer < 0 && rules_.results == result::three_tries;
  state.result = answer != 0 && !refused ? 1 : answer;
  if (state.result > 0) context.last_boosted() = stored;
  if (refused) --state.tries;
}

bool directed_yield::wanted(const spin_candidate& candidate) const {
  switch (rules_.first) {
    case want::anybody:
      return true;
    case want::preempted:
      return candidate.preempted;
    case want::ready:
      return candidate.ready;
  }
  return true;
}

bool directed_yield::passes(const spin_context& context, const spin_candidate& candidate) const {
  if (candidate.blocking && (rules_.halted == blocked::all || !candidate.runnable)) return false;
  if (rules_.tests_task && (!candidate.exists_task || candidate.running_in_guest)) return false;
  return !context.kernel_mode() || passes_mode(candidate);
}

bool directed_yield::passes_mode(const spin_candidate& candidate) const {
  switch (rules_.mode) {
    case user_mode::none:
      return true;
    case user_mode::by_cached_mode:
      return candidate.preempted_in_kernel;
    case user_mode::preempted_only:
      return !candidate.preempted || candidate.preempted_in_kernel;
    case user_mode::preempted_without_posted_interrupt:
      return !candidate.preempted || candidate.pending_posted_interrupt || candidate.preempted_in_kernel;
  }
  return true;
}

}  // namespace vmxsys::models
