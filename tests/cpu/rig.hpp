#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/facts/fact_hash.hpp>
#include <vmxsys/vmx/spin_detectors/catalogue.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "fact_expectations.hpp"
#include "random_numbers.hpp"

// A machine whose CPUs run lambdas, and a record of everything it states.
namespace vmxsys::cpu::testing {

inline constexpr code_location test_code{"test", 0xffffffff81100000, 0, 0, bucket::kernel};
inline constexpr code_location user_code{"user", 0x400000, 0, 3, bucket::user};
inline constexpr code_location test_spin{"test_spin", 0xffffffff81101000, 0x13, 0, bucket::spin};
inline constexpr code_location test_guest{"guest", 0xffffffff82100000, 0x40, 0, bucket::kernel};
inline constexpr code_location test_vmm{"vmm", 0xffffffff81200000, 0, 0, bucket::exit_handling};

using vmxsys::testing::expect_exact_sequence;
using vmxsys::testing::expect_first_at;
using vmxsys::testing::expect_gap;
using vmxsys::testing::expect_none;
using vmxsys::testing::expect_sequence;
using vmxsys::testing::expected_fact;
using vmxsys::testing::fact;
using vmxsys::testing::fact_log;
using vmxsys::testing::fact_range;
using vmxsys::testing::random_numbers;
using vmxsys::testing::recorded;

// What tests expect most often.
inline expected_fact arrival(std::uint8_t vector) { return fact<ipi_arrived_fact>(&ipi_arrived_fact::vector, vector); }
inline expected_fact interrupt_of(std::uint8_t vector) { return fact<interrupt_fact>(&interrupt_fact::vector, vector); }
inline expected_fact interrupt_of(std::uint8_t vector, vmx_operation in) {
  return fact<interrupt_fact>(&interrupt_fact::vector, vector, &interrupt_fact::non_root,
                              in == vmx_operation::non_root);
}
inline expected_fact exit_because(vmx::exit_reason why) { return fact<vm_exit_fact>(&vm_exit_fact::reason, why); }
/// An exit that the guest leaves in cycle `began`; the fact follows when the hardware has finished it.
inline expected_fact exit_because(vmx::exit_reason why, cycles began) {
  return fact<vm_exit_fact>(&vm_exit_fact::reason, why, &vm_exit_fact::began, began);
}

inline machine_config bare_config(unsigned cpus, bool stepped = false) {
  machine_config c;
  c.shape = {1, cpus, 1};
  c.capabilities = vmx::find_capability_row("cascade_lake_sp")->values;
  c.make_detector = [] { return vmx::spin_detectors().select("pause_loop_exiting").make(); };
  c.costs.entry.field = c.costs.exit.field = cycles{0};  // every transition alike
  c.stepped = stepped;
  return c;
}

/// Give CPUs their programs with `run`, then call hw.run_until. Programs are lambdas: the rig keeps them alive for as
/// long as their coroutines.
class rig : public boot_if, public interrupt_table {
 public:
  using code = std::function<program()>;

  explicit rig(machine_config config) : hw{std::move(config)} {
    hw.facts().attach(log);
    hw.facts().attach(hash);
    idtr = hw.names().add(static_cast<interrupt_table&>(*this));
    roots_.resize(hw.cpus());
    hw.connect(*this);
  }

  /// A strand that nobody runs yet.
  strand& make(std::string name, code body, const code_location& where = test_code) {
    code_.push_back(std::move(body));
    strands_.push_back(std::make_unique<strand>(hw.names(), std::move(name)));
    strands_.back()->start(code_.back()(), where);
    return *strands_.back();
  }
  /// The strand a CPU starts with. The bootstrap processor starts at cycle 0, others at 1 + their number.
  strand& run(unsigned cpu, code body, const code_location& where = test_code) {
    roots_[cpu] = &make("cpu" + std::to_string(cpu), std::move(body), where);
    if (cpu != 0) hw.post(cpu, cycles{1 + cpu}, hw.cpus(), {apic::delivery_mode::startup, 1, false});
    return *roots_[cpu];
  }
  strand& boot(logical_cpu& cpu, physical_address at) override {
    boots.push_back({cpu.number(), at, hw.time().now()});
    cpu.set_idtr_base(idtr);
    if (roots_[cpu.number()] == nullptr) roots_[cpu.number()] = &make("idle", sleep);
    return *roots_[cpu.number()];
  }
  program entry(logical_cpu& cpu, std::uint8_t vector) override {
    return handler ? handler(cpu, vector) : acknowledge();
  }

  cycles now() const { return hw_now(); }
  /// A fixed interrupt (or what `mode` says) from outside that arrives at `at`.
  void interrupt(unsigned cpu, cycles at, std::uint8_t vector, apic::delivery_mode mode = apic::delivery_mode::fixed) {
    hw.post(cpu, at, hw.cpus(), {mode, vector, false});
  }

  static program sleep() {
    for (;;) co_await isa::compute(cycles{1'000'000'000});
  }
  static program acknowledge() { co_await isa::wrmsr(apic::msr::eoi, 0); }
  /// Software-enables the local APIC; interrupts stay as they are.
  static program enable_apic() { co_await isa::wrmsr(apic::msr::svr, 0x1FF); }
  static program accept_interrupts() {
    co_await enable_apic();
    co_await isa::sti();
  }

  struct boot_record {
    unsigned cpu;
    physical_address at;
    cycles when;
  };

 private:
  std::deque<code> code_;

 public:
  fact_log log;
  fact_hash hash;
  machine hw;
  std::uint64_t idtr = 0;
  std::function<program(logical_cpu&, std::uint8_t)> handler;
  std::vector<boot_record> boots;

 private:
  cycles hw_now() const { return const_cast<machine&>(hw).time().now(); }
  std::vector<strand*> roots_;
  std::vector<std::unique_ptr<strand>> strands_;
};

/// One VMCS and what to write into it besides the minimum.
struct vmcs_setup {
  vmx::minimal_vmcs_options options;
  std::vector<std::pair<vmx::field, std::uint64_t>> more;
};

inline constexpr physical_address vmxon_region = 0x1000;

inline program enter_root_operation(machine& m, physical_address region = vmxon_region) {
  m.physical().write<std::uint32_t>(region, m.config().capabilities.revision());
  co_await isa::vmxon(region);
}

/// Makes a VMCS for a guest strand current and fills it.
inline program make_vmcs(machine& m, strand& guest, physical_address region, vmcs_setup& setup) {
  setup.options.guest_rip = guest.location().rip();
  setup.options.guest_rsp = guest.rsp();
  m.physical().write<std::uint32_t>(region, m.config().capabilities.revision());
  co_await isa::vmclear(region);
  co_await isa::vmptrld(region);
  for (const auto& [f, value] : vmx::minimal_vmcs_fields(m.config().capabilities, setup.options))
    co_await isa::vmwrite(f, value);
  for (const auto& [f, value] : setup.more) co_await isa::vmwrite(f, value);
}

/// CPU 0 with a hypervisor and a guest, both lambdas. The hypervisor's starts when the VMCS is ready for VMLAUNCH.
class vmx_rig : public rig {
 public:
  static constexpr physical_address region = 0x3000;

  explicit vmx_rig(machine_config config = bare_config(1)) : rig{std::move(config)} {
    setup.more.emplace_back(vmx::field::host_idtr_base, idtr);
    setup.more.emplace_back(vmx::field::guest_idtr_base, idtr);
  }
  strand& run_guest(code body, const code_location& where = test_guest) {
    guest = &make("guest", std::move(body), where);
    return *guest;
  }
  strand& run_host(code body) {
    host_ = std::move(body);
    return run(
        0, [this] { return whole(); }, test_vmm);
  }
  std::uint64_t field(vmx::field f) { return hw.cpu(0).vmx_state().current->read(f); }
  const std::deque<recorded<vm_exit_fact>>& exits() const { return log.of<vm_exit_fact>(); }

  vmcs_setup setup;
  strand* guest = nullptr;
  bool done = false;  ///< the hypervisor's lambda has returned

 private:
  program whole() {
    co_await enter_root_operation(hw);
    co_await make_vmcs(hw, *guest, region, setup);
    co_await host_();
    done = true;
    co_await sleep();
  }
  code host_;
};

}  // namespace vmxsys::cpu::testing
