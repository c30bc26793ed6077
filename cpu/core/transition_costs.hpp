#pragma once
#include <array>
#include <boost/container/static_vector.hpp>
#include <cstdint>
#include <map>
#include <memory>

#include <vmxsys/cpu/memory/cost_table.hpp>
#include <vmxsys/vmx/transition/transition_work.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::cpu {

/// The micro-steps of one VM entry or VM exit, each with its cycles, in the order in which the hardware takes them.
struct transition_plan {
  struct timed_step {
    vmx::transition_step step;
    cycles duration;
  };
  boost::container::static_vector<timed_step, 8> steps;
  cycles total{0};

  void clear() {
    steps.clear();
    total = cycles{0};
  }
  void add(vmx::transition_step step, cycles duration) {
    steps.push_back({step, duration});
    total += duration;
  }
};

/// What the micro-steps of transitions cost: counted work (vmx/transition/transition_work.hpp) times the costs of a
/// preset. The costs of the state areas are those of the reference configuration.
class transition_costs {
 public:
  transition_costs(const hardware_costs& costs, const vmx::capabilities& caps);

  void plan_entry(const vmx::vmcs& v, transition_plan& plan) const;
  void plan_exit(const vmx::vmcs& v, const vmx::processor_state& guest, transition_plan& plan) const;
  /// After an entry that failed with exit reason 33 or 34: what leads back to the host.
  void plan_failed_entry(const vmx::vmcs& v, transition_plan& plan) const;

  const vmx::capabilities& caps() const { return caps_; }

 private:
  void add(transition_plan& plan, vmx::transition_step step, const vmx::transition_work& work) const;
  cycles area(cycles reference, cycles per_field, unsigned fields, unsigned reference_fields) const;

  const hardware_costs& costs_;
  const vmx::capabilities& caps_;
  vmx::transition_work reference_entry_, reference_exit_;
};

/// All that the work of a transition depends on: the controls, what is injected, the guest's paging mode.
using transition_key = std::array<std::uint64_t, 8>;

/// The plans of a machine, each made once. They are few: transitions differ by controls and list lengths alone.
class transition_plans {
 public:
  explicit transition_plans(const transition_costs& costs) : costs_{costs} {}
  const transition_costs& costs() const { return costs_; }
  /// The plan of this kind; stays where it is. Null when there are too many of them already.
  const transition_plan* entry(const transition_key& of, const vmx::vmcs& v);
  const transition_plan* exit(const transition_key& of, const vmx::vmcs& v, const vmx::processor_state& guest);

 private:
  static constexpr std::size_t most = 4096;  // a hypervisor that never enters twice alike
  const transition_costs& costs_;
  std::map<transition_key, transition_plan> entries_, exits_;
};

/// The kinds of one logical CPU's latest transitions: nearly every one is like one shortly before.
class recent_plans {
 public:
  const transition_plan& entry(transition_plans& all, const vmx::vmcs& v);
  const transition_plan& exit(transition_plans& all, const vmx::vmcs& v, const vmx::processor_state& guest);

 private:
  struct known {
    transition_key of{};
    const transition_plan* plan = nullptr;
  };
  static known& find(std::array<known, 2>& all, const transition_key& wanted);

  std::array<known, 2> entries_, exits_;  // the latest first
  std::unique_ptr<transition_plan> own_;  // where the machine has too many
};

/// The VMCS of the published round trips: a guest that executes CPUID and a host that enters it again; no EPT, no VPID,
/// no secondary controls, no MSR lists (github.com/yulyugin/vmlatency).
vmx::vmcs reference_vmcs(const vmx::capabilities& caps);

}  // namespace vmxsys::cpu
