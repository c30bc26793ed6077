#include "transition_costs.hpp"

#include <utility>

#include <vmxsys/vmx/transition/guest_state.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

namespace vmxsys::cpu {

using vmx::transition_step;

vmx::vmcs reference_vmcs(const vmx::capabilities& caps) { return vmx::make_minimal_vmcs(caps); }

transition_costs::transition_costs(const hardware_costs& costs, const vmx::capabilities& caps)
    : costs_{costs}, caps_{caps} {
  const vmx::vmcs reference = reference_vmcs(caps);
  vmx::processor_state guest;
  vmx::load_guest_state(reference, guest, caps);
  reference_entry_ = vmx::entry_work(reference, caps);
  reference_exit_ = vmx::exit_work(reference, guest, caps);
}

/// Fewer fields than in the reference cost less, but a step that is taken takes time.
cycles transition_costs::area(cycles reference, cycles per_field, unsigned fields, unsigned reference_fields) const {
  if (fields >= reference_fields) return reference + (fields - reference_fields) * per_field;
  const cycles less = (reference_fields - fields) * per_field;
  return less < reference ? reference - less : cycles{1};
}

void transition_costs::add(transition_plan& plan, transition_step step, const vmx::transition_work& work) const {
  const entry_costs& entry = costs_.entry;
  const exit_costs& exit = costs_.exit;
  const unsigned count = vmx::work_of(step, work);
  const auto entry_area = [&](cycles reference) {
    plan.add(step, area(reference, entry.field, count, vmx::work_of(step, reference_entry_)));
  };
  const auto exit_area = [&](cycles reference) {
    plan.add(step, area(reference, exit.field, count, vmx::work_of(step, reference_exit_)));
  };
  const auto each = [&](cycles cost) {
    if (count != 0) plan.add(step, count * cost);
  };
  switch (step) {
    case transition_step::check_controls:
      return entry_area(entry.check_controls);
    case transition_step::check_host_state:
      return entry_area(entry.check_host_state);
    case transition_step::check_guest_state:
      return entry_area(entry.check_guest_state);
    case transition_step::load_guest_state:
      return entry_area(entry.load_guest_state);
    case transition_step::load_guest_pdptes:
      return each(entry.load_pdpte);
    case transition_step::load_guest_msrs:
      return each(entry.load_msr);
    case transition_step::invalidate_at_entry:
      return plan.add(step, count != 0 ? entry.flush_translations : entry.keep_translations);
    case transition_step::inject_event:
      return each(entry.inject_event);
    case transition_step::record_information:
      return exit_area(exit.record_information);
    case transition_step::save_guest_state:
      return exit_area(exit.save_guest_state);
    case transition_step::store_guest_msrs:
      return each(exit.store_msr);
    case transition_step::load_host_state:
      return exit_area(exit.load_host_state);
    case transition_step::load_host_pdptes:
      return each(exit.load_pdpte);
    case transition_step::invalidate_at_exit:
      return plan.add(step, count != 0 ? exit.flush_translations : exit.keep_translations);
    case transition_step::load_host_msrs:
      return each(exit.load_msr);
  }
}

void transition_costs::plan_entry(const vmx::vmcs& v, transition_plan& plan) const {
  plan.clear();
  const vmx::transition_work work = vmx::entry_work(v, caps_);
  for (std::size_t i = 0; i < vmx::transition_step_count; ++i)
    if (vmx::transition_step_table()[i].at_entry) add(plan, static_cast<transition_step>(i), work);
}

void transition_costs::plan_exit(const vmx::vmcs& v, const vmx::processor_state& guest, transition_plan& plan) const {
  plan.clear();
  const vmx::transition_work work = vmx::exit_work(v, guest, caps_);
  for (std::size_t i = 0; i < vmx::transition_step_count; ++i)
    if (vmx::transition_step_table()[i].at_exit) add(plan, static_cast<transition_step>(i), work);
}

void transition_costs::plan_failed_entry(const vmx::vmcs& v, transition_plan& plan) const {
  plan.clear();
  const vmx::transition_work work = vmx::failed_entry_work(v, caps_);
  for (std::size_t i = 0; i < vmx::transition_step_count; ++i)
    if (vmx::transition_step_table()[i].at_failed_entry) add(plan, static_cast<transition_step>(i), work);
}

// -- plans that come again
// ---------------------------------------------------------------------------------------------

namespace {

using vmx::field;

/// See vmx/transition/transition_work.hpp.
transition_key key_of(const vmx::vmcs& v, std::uint64_t more) {
  return {v.read(field::pin_based_controls) | v.read(field::primary_processor_based_controls) << 32,
          v.read(field::secondary_processor_based_controls) | v.read(field::vm_entry_controls) << 32,
          v.read(field::primary_vm_exit_controls) | v.read(field::vm_entry_msr_load_count) << 32,
          v.read(field::vm_exit_msr_store_count) | v.read(field::vm_exit_msr_load_count) << 32,
          v.read(field::tertiary_processor_based_controls),
          v.read(field::secondary_vm_exit_controls) | v.read(field::vm_function_controls) << 32,
          v.read(field::host_cr4),
          more};
}

}  // namespace

const transition_plan* transition_plans::entry(const transition_key& of, const vmx::vmcs& v) {
  const auto it = entries_.find(of);
  if (it != entries_.end()) return &it->second;
  if (entries_.size() == most) return nullptr;
  transition_plan& plan = entries_[of];
  costs_.plan_entry(v, plan);
  return &plan;
}

const transition_plan* transition_plans::exit(const transition_key& of, const vmx::vmcs& v,
                                              const vmx::processor_state& guest) {
  const auto it = exits_.find(of);
  if (it != exits_.end()) return &it->second;
  if (exits_.size() == most) return nullptr;
  transition_plan& plan = exits_[of];
  costs_.plan_exit(v, guest, plan);
  return &plan;
}

recent_plans::known& recent_plans::find(std::array<known, 2>& all, const transition_key& wanted) {
  if (all[0].of == wanted && all[0].plan != nullptr) return all[0];
  std::swap(all[0], all[1]);
  if (all[0].of != wanted) all[0] = {wanted, nullptr};
  return all[0];
}

const transition_plan& recent_plans::entry(transition_plans& all, const vmx::vmcs& v) {
  const std::uint64_t paging = (v.read(field::guest_cr0) >> 31 & 1) | (v.read(field::guest_cr4) >> 5 & 1) << 1;
  const transition_key key = key_of(v, v.read(field::vm_entry_interruption_information) << 2 | paging);
  known& k = find(entries_, key);
  if (k.plan == nullptr) k.plan = all.entry(key, v);
  if (k.plan != nullptr) return *k.plan;
  own_ = std::make_unique<transition_plan>();
  all.costs().plan_entry(v, *own_);
  return *own_;
}

const transition_plan& recent_plans::exit(transition_plans& all, const vmx::vmcs& v,
                                          const vmx::processor_state& guest) {
  const std::uint64_t paging = (guest.cr0 >> 31 & 1) | (guest.cr4 >> 5 & 1) << 1 | (guest.efer & vmx::efer_bits::lma);
  const transition_key key = key_of(v, paging);
  known& k = find(exits_, key);
  if (k.plan == nullptr) k.plan = all.exit(key, v, guest);
  if (k.plan != nullptr) return *k.plan;
  own_ = std::make_unique<transition_plan>();
  all.costs().plan_exit(v, guest, *own_);
  return *own_;
}

}  // namespace vmxsys::cpu
