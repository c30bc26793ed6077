#include <gtest/gtest.h>

#include <vmxsys/cpu/core/transition_costs.hpp>
#include <vmxsys/vmx/transition/guest_state.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "random_numbers.hpp"

// What the micro-steps of transitions cost, and that a plan found again is the one that would be made.
namespace vmxsys::cpu {
namespace {

using testing::random_numbers;
using vmx::field;
using vmx::transition_step;

const vmx::capabilities& caps() { return vmx::find_capability_row("sapphire_rapids")->values; }

cycles cost_of(const transition_plan& plan, transition_step step) {
  cycles sum{0};
  for (const transition_plan::timed_step& s : plan.steps)
    if (s.step == step) sum += s.duration;
  return sum;
}

TEST(transition_costs, the_reference_costs_what_the_table_says) {
  const hardware_costs table;
  const transition_costs costs{table, caps()};
  transition_plan plan;
  costs.plan_entry(reference_vmcs(caps()), plan);
  EXPECT_EQ(cost_of(plan, transition_step::check_controls), table.entry.check_controls);
  EXPECT_EQ(cost_of(plan, transition_step::load_guest_state), table.entry.load_guest_state);
  EXPECT_EQ(cost_of(plan, transition_step::invalidate_at_entry), table.entry.flush_translations);
  EXPECT_EQ(plan.steps.size(), 5u) << "no lists, no PDPTEs, no injection";
  vmx::processor_state guest;
  costs.plan_exit(reference_vmcs(caps()), guest, plan);
  EXPECT_EQ(plan.total, table.exit.record_information + table.exit.save_guest_state + table.exit.load_host_state +
                            table.exit.flush_translations);
}

TEST(transition_costs, fields_lists_and_tags_count) {
  hardware_costs table;
  table.entry.field = cycles{7};
  table.entry.keep_translations = cycles{1};
  const transition_costs costs{table, caps()};
  vmx::vmcs v = reference_vmcs(caps());
  transition_plan before, after;
  costs.plan_entry(v, before);
  const auto change = [&](transition_step step) {
    costs.plan_entry(v, after);
    return static_cast<std::int64_t>(cost_of(after, step).count()) -
           static_cast<std::int64_t>(cost_of(before, step).count());
  };
  v.write(field::vm_entry_msr_load_count, 3);
  EXPECT_EQ(change(transition_step::load_guest_msrs), 3 * 50);
  EXPECT_EQ(change(transition_step::check_controls), 7) << "the address of the list";
  v.write(field::vm_entry_interruption_information, 0x8000'0030);
  EXPECT_EQ(change(transition_step::inject_event), 60);
  vmx::minimal_vmcs_options o;
  o.secondary = vmx::secondary::enable_vpid;
  v = vmx::make_minimal_vmcs(caps(), o);
  EXPECT_EQ(change(transition_step::invalidate_at_entry), 1 - 8);
  o.vm_entry |= vmx::vm_entry_control::load_ia32_pat;
  v = vmx::make_minimal_vmcs(caps(), o);
  EXPECT_EQ(change(transition_step::load_guest_state), 7);
}

TEST(transition_costs, a_recent_plan_is_the_plan_that_would_be_made) {
  hardware_costs table;
  table.entry.load_msr = cycles{11};
  table.exit.load_msr = cycles{13};
  const transition_costs costs{table, caps()};
  transition_plans plans{costs};
  recent_plans recent;
  random_numbers next{7};
  vmx::vmcs shapes[3] = {reference_vmcs(caps()), reference_vmcs(caps()), reference_vmcs(caps())};
  constexpr field changed[] = {field::pin_based_controls,
                               field::primary_processor_based_controls,
                               field::secondary_processor_based_controls,
                               field::tertiary_processor_based_controls,
                               field::primary_vm_exit_controls,
                               field::secondary_vm_exit_controls,
                               field::vm_entry_controls,
                               field::vm_entry_msr_load_count,
                               field::vm_exit_msr_store_count,
                               field::vm_exit_msr_load_count,
                               field::vm_entry_interruption_information,
                               field::vm_function_controls,
                               field::guest_cr0,
                               field::guest_cr4,
                               field::host_cr4};
  for (int n = 0; n < 100'000; ++n) {
    vmx::vmcs& v = shapes[next.below(3)];
    if (next.one_in(2)) {
      const field f = changed[next.below(std::size(changed))];
      const std::uint64_t bit = std::uint64_t{1} << next.below(32);
      v.write(f, v.read(f) ^ bit);
    }
    vmx::processor_state guest;
    guest.cr0 ^= next.below(2) << 31;
    guest.cr4 ^= next.below(2) << 5;
    guest.efer = next.one_in(2) ? 0x500 : 0;
    transition_plan plan;
    costs.plan_entry(v, plan);
    const auto same = [&](const transition_plan& found) {
      if (found.total != plan.total || found.steps.size() != plan.steps.size()) return false;
      for (std::size_t i = 0; i < plan.steps.size(); ++i)
        if (found.steps[i].step != plan.steps[i].step || found.steps[i].duration != plan.steps[i].duration)
          return false;
      return true;
    };
    ASSERT_TRUE(same(recent.entry(plans, v))) << n;
    costs.plan_exit(v, guest, plan);
    ASSERT_TRUE(same(recent.exit(plans, v, guest))) << n;
  }
}

}  // namespace
}  // namespace vmxsys::cpu
