// A hypervisor of a dozen lines, its guest, and what the hardware does for them: one VM exit and one VM entry at a
// time, step by step, with the cycle of each.
#include <cstdio>
#include <optional>

#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/program/strand.hpp>
#include <vmxsys/vmx/spin_detectors/catalogue.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

using namespace vmxsys;
using namespace vmxsys::cpu;

namespace {

constexpr code_location guest_code{"guest", 0xffffffff82000000, 0, 0, bucket::kernel};
constexpr code_location guest_spin{"guest_spin", 0xffffffff82001000, 0x10, 0, bucket::spin};
constexpr code_location vmm_code{"vmm", 0xffffffff81000000, 0, 0, bucket::exit_handling};
constexpr physical_address vmxon_region = 0x1000, vmcs_region = 0x2000;

// The guest: asks for CPUID, makes a hypercall, spins on a lock that will not be released.
program guest(word& lock) {
  co_await isa::cpuid(0);
  co_await isa::vmcall(42);
  co_await isa::spin_while(lock, spin_predicate::while_not_equal(0), guest_spin);
}

// The hypervisor: fills a VMCS, launches, and skips the instruction that made the guest exit.
program vmm(machine& hw, const strand& guest) {
  co_await isa::vmxon(vmxon_region);
  co_await isa::vmclear(vmcs_region);
  co_await isa::vmptrld(vmcs_region);
  vmx::minimal_vmcs_options options;
  options.guest_rip = guest.location().rip();
  options.guest_rsp = guest.rsp();
  options.secondary = vmx::secondary::pause_loop_exiting;
  for (const auto& [field, value] : vmx::minimal_vmcs_fields(hw.config().capabilities, options))
    co_await isa::vmwrite(field, value);
  vmx::exit_info exit = co_await isa::vmlaunch();
  for (;;) {
    const std::uint64_t rip = co_await isa::vmread(vmx::field::guest_rip);
    co_await isa::vmwrite(vmx::field::guest_rip, rip + exit.instruction_length);
    exit = co_await isa::vmresume();
  }
}

// Prints what the hardware states.
struct printer final : fact_observer {
  void observe(const fact_view& fact) override {
    const auto at = static_cast<unsigned long long>(fact.header().at.count());
    if (const auto* step = fact.as<micro_step_fact>())
      std::printf("%8llu    %-20s %4llu cycles\n", static_cast<unsigned long long>(step->done.count()),
                  vmx::name_of(step->step), static_cast<unsigned long long>(step->duration.count()));
    if (const auto* exit = fact.as<vm_exit_fact>())
      std::printf("%8llu  VM exit, reason %d (%s), guest stopped at cycle %llu\n", at, static_cast<int>(exit->reason),
                  vmx::name_of(exit->reason), static_cast<unsigned long long>(exit->began.count()));
    if (const auto* entry = fact.as<vm_entry_fact>())
      std::printf("%8llu  VM entry, guest RIP %#llx\n", at, static_cast<unsigned long long>(entry->rip));
  }
};

struct software final : boot_if {
  explicit software(machine& hw) : lock{hw.physical().word_at(0x100000)} {
    lock.initialise(1);
    for (const physical_address region : {vmxon_region, vmcs_region})
      hw.physical().write<std::uint32_t>(region, hw.config().capabilities.revision());
    guest_strand.emplace(hw.names(), "guest").start(guest(lock), guest_code);
    host_strand.emplace(hw.names(), "vmm").start(vmm(hw, *guest_strand), vmm_code);
  }
  strand& boot(logical_cpu&, physical_address) override { return *host_strand; }
  word& lock;
  std::optional<strand> guest_strand, host_strand;
};

}  // namespace

int main() {
  machine_config config;
  config.capabilities = vmx::find_capability_row("cascade_lake_sp")->values;
  config.make_detector = [] { return vmx::spin_detectors().select("pause_loop_exiting").make(); };
  machine hw{config};
  printer facts;
  hw.facts().attach(facts);
  software programs{hw};
  hw.connect(programs);
  hw.run_until(cycles{20'000});
  hw.check_accounting();
}
