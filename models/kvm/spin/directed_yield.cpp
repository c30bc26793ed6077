#include "directed_yield.hpp"

#include <array>

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

// One row for each change of the rules, oldest first.
constexpr rules directed{.order = scan::two_passes_from_last,
                         .halted = blocked::all,
                         .tests_task = true,
                         .eligibility = false,
                         .results = result::nonzero_succeeds,
                         .yield = before_esrch};
constexpr rules deprioritize_recent{.order = scan::two_passes_after_last,
                                    .halted = blocked::all,
                                    .results = result::nonzero_succeeds,
                                    .yield = guest_mode_before_esrch};
constexpr rules undercommit_test{.order = scan::two_passes_after_last,
                                 .halted = blocked::all,
                                 .results = result::nonzero_succeeds,
                                 .yield = guest_mode};
constexpr rules preempted_only{.order = scan::two_passes_after_last,
                               .look_before_me = true,
                               .first = want::preempted,
                               .halted = blocked::all,
                               .results = result::nonzero_succeeds,
                               .yield = guest_mode};
constexpr rules three_tries{
    .order = scan::two_passes_after_last, .look_before_me = true, .first = want::preempted, .yield = guest_mode};
constexpr rules kernel_mode{.order = scan::two_passes_after_last,
                            .look_before_me = true,
                            .first = want::preempted,
                            .mode = user_mode::by_cached_mode};
constexpr rules ipi_receivers{.order = scan::two_passes_after_last,
                              .look_before_me = true,
                              .first = want::ready,
                              .mode = user_mode::preempted_only};
constexpr rules posted_receivers{.order = scan::two_passes_after_last,
                                 .look_before_me = true,
                                 .first = want::ready,
                                 .mode = user_mode::preempted_without_posted_interrupt};
constexpr rules single_scan_as_released{.order = scan::once_around,
                                        .first = want::ready,
                                        .mode = user_mode::preempted_without_posted_interrupt,
                                        .stores_loop_count = true};
constexpr rules single_scan{
    .order = scan::once_around, .first = want::ready, .mode = user_mode::preempted_without_posted_interrupt};

struct options {
  unsigned tries = 3;
};
constexpr std::array option_rows{
    row<&options::tries>("tries", "attempts", 1, 65535, "pairs of single-task run queues (-ESRCH) that end a scan")
        .from("Linux v3.18, virt/kvm/kvm_main.c, kvm_vcpu_on_spin"),
};

template <const rules& Rules>
std::unique_ptr<spin_policy> make(const void*) {
  return std::make_unique<directed_yield>(Rules);
}
template <const rules& Rules>
std::unique_ptr<spin_policy> make_limited(const void* o) {
  return std::make_unique<directed_yield>(Rules, options_as<options>(o).tries);
}

}  // namespace

bool eligible_for_directed_yield(bool in_spin_loop, bool& dy_eligible) noexcept {
  if (!in_spin_loop) return true;
  dy_eligible = !dy_eligible;
  return !dy_eligible;
}

cpu::program directed_yield::on_spin(spin_context& context) {
  const bool once = rules_.order == scan::once_around;
  if (once && context.vcpus() < 2) co_return;
  const unsigned me = context.me();
  directed_yield_state::vcpu& mine = state_of(context).vcpus[me];
  if (rules_.eligibility) mine.in_spin_loop = true;
  if (once)
    co_await scan_once_around(context);
  else
    co_await scan_twice(context);
  if (!rules_.eligibility) co_return;
  mine = {};
}

// From the last boosted to the end, then from the beginning to the last boosted. The second pass is left out unless the
// first ended with the result 0, so a negative last result suppresses it.
cpu::program directed_yield::scan_twice(spin_context& context) const {
  const unsigned last = state_of(context).last_boosted;
  const bool jumps_over_0 = last != 0 || rules_.order == scan::two_passes_after_last;
  const unsigned first = jumps_over_0 ? last + 1 : 0;
  scan_state state{.tries = tries_};
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
  const unsigned start = state_of(context).last_boosted + 1;
  scan_state state{.tries = tries_};
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
  if (!rules_.eligibility) return true;
  directed_yield_state::vcpu& other = state_of(context).vcpus[vcpu];
  return eligible_for_directed_yield(other.in_spin_loop, other.dy_eligible);
}

// `stored` is what to remember if the host scheduler takes the hint.
cpu::program directed_yield::boost(spin_context& context, unsigned vcpu, unsigned stored, scan_state& state) const {
  const int answer = co_await context.yield_to(vcpu);
  const bool refused = answer < 0 && rules_.results == result::limited_tries;
  state.result = answer != 0 && !refused ? 1 : answer;
  if (state.result > 0) state_of(context).last_boosted = stored;
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

extern const spin_policy_entry directed_entry = entry_without<spin_policy_entry>(
    "directed", "yields to the first sibling that is not running, from the last boosted on", "v2.6.39",
    &make<directed>);
extern const spin_policy_entry deprioritize_recent_entry = entry_without<spin_policy_entry>(
    "deprioritize_recent", "passes over siblings that are spinning themselves, every other time", "v3.6",
    &make<deprioritize_recent>);
extern const spin_policy_entry undercommit_test_entry = entry_without<spin_policy_entry>(
    "undercommit_test", "yield_to reports single-task run queues, which is taken for success", "v3.9",
    &make<undercommit_test>);
extern const spin_policy_entry preempted_only_entry = entry_without<spin_policy_entry>(
    "preempted_only", "only siblings that were preempted", "v3.10", &make<preempted_only>);
extern const spin_policy_entry three_tries_entry = entry_with<spin_policy_entry, options, option_rows>(
    "three_tries", "gives up at the third pair of single-task run queues; blocked siblings with an event pass", "v3.18",
    &make_limited<three_tries>);
extern const spin_policy_entry kernel_mode_entry = entry_with<spin_policy_entry, options, option_rows>(
    "kernel_mode", "only siblings that were preempted in kernel mode", "v4.14", &make_limited<kernel_mode>);
extern const spin_policy_entry ipi_receivers_entry = entry_with<spin_policy_entry, options, option_rows>(
    "ipi_receivers", "also siblings woken from a halt and not yet running", "v5.3", &make_limited<ipi_receivers>);
extern const spin_policy_entry posted_receivers_entry =
    entry_with<spin_policy_entry, options, option_rows>("posted_receivers",
                                                        "also siblings preempted in user mode to which an interrupt is "
                                                        "posted; without posted interrupts the same as ipi_receivers",
                                                        "v5.13", &make_limited<posted_receivers>);
extern const spin_policy_entry single_scan_as_released_entry = entry_with<spin_policy_entry, options, option_rows>(
    "single_scan_as_released", "one loop around all siblings; stores a loop count as the last boosted", "v6.13",
    &make_limited<single_scan_as_released>);
extern const spin_policy_entry single_scan_entry = entry_with<spin_policy_entry, options, option_rows>(
    "single_scan", "one loop around all siblings", "v6.19", &make_limited<single_scan>);

}  // namespace vmxsys::models
