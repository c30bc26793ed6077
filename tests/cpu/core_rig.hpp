#pragma once
#include <functional>
#include <utility>
#include <vector>

#include <vmxsys/cpu/core/cpu_core.hpp>
#include <vmxsys/cpu/facts/code.hpp>
#include <vmxsys/cpu/memory/topology.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

namespace vmxsys::cpu::testing {

/// What the parts of a CPU stand on, without a CPU: a core, and a strand that no program moves. `at_step` is called
/// when the step slot fires.
class core_rig : private interrupt_fabric {
 public:
  explicit core_rig(bool stepped = false)
      : core{{time, physical, facts, names, *this, costs, caps, {}, 0, facts.add_source(), stepped},
             time.add_slot(this, on_step)} {
    on.start(nothing(), here);
    core.active = &on;
  }

  /// The core is in non-root operation, with this VMCS.
  vmx::vmcs& enter_guest(const vmx::minimal_vmcs_options& options = {}) {
    vmcs = vmx::make_minimal_vmcs(caps, options);
    core.vmx_state.current = &vmcs;
    core.vmx_state.current_vmcs = 0x1000;
    core.vmx_state.mode = vmx::operation::non_root;
    core.nmi_rule = &vmx::nmi_rule_of(vmcs);
    core.in_guest = true;
    core.interrupts_enabled = true;
    return vmcs;
  }
  /// The local APIC takes interrupts, and this one is in it.
  void interrupt(std::uint8_t vector) {
    core.local_apic.enter_x2apic();
    core.local_apic.write_msr(apic::msr::svr, 0x1FF, time.now());
    core.local_apic.accept(vector, false);
  }

  static constexpr code_location here{"stub", 0xffffffff82100000, 0x40, 0, bucket::kernel};

  topology shape{1, 2, 1};
  hardware_costs costs;
  vmx::capabilities caps = vmx::find_capability_row("cascade_lake_sp")->values;
  timeline time;
  memory physical{time, shape, costs};
  fact_bus facts;
  name_space names;
  vmx::vmcs vmcs;
  strand on{names, "stub"};
  cpu_core core;
  std::function<void(cycles)> at_step = [](cycles) {};
  std::vector<apic::interrupt_command> sent;

 private:
  static program nothing() { co_await isa::compute(cycles{1}); }
  static void on_step(void* self, cycles now) { static_cast<core_rig*>(self)->at_step(now); }
  void send(const apic::interrupt_command& command, unsigned, cycles, fact_id) override { sent.push_back(command); }
  void broadcast_eoi(std::uint8_t, unsigned, cycles) override {}
  void note_apic_mode(bool) override {}
};

}  // namespace vmxsys::cpu::testing
