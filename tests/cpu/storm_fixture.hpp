#pragma once
#include <memory>
#include <vector>

#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/facts/fact_hash.hpp>
#include <vmxsys/vmx/spin_detectors/pause_loop_exiting.hpp>
#include <vmxsys/vmx/spin_detectors/catalogue.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

// A ten-line hypervisor whose guest spins on a lock word.
namespace vmxsys::cpu::testing {

inline constexpr code_location vmm_code{"tiny_vmm", 0xffffffff81001000, 0, 0, bucket::exit_handling};
inline constexpr code_location guest_code{"guest", 0xffffffff82001000, 0, 0, bucket::kernel};
inline constexpr code_location guest_spin{"guest_spin", 0xffffffff82002000, 0x13, 0, bucket::spin};

inline machine_config small_machine(unsigned cpus, bool stepped) {
  machine_config c;
  c.shape = {1, cpus, 1};
  c.capabilities = vmx::find_capability_row("cascade_lake_sp")->values;
  c.make_detector = [] { return vmx::spin_detectors().select("pause_loop_exiting").make(); };
  c.stepped = stepped;
  return c;
}

inline program spinning_guest(word& w) {
  for (;;) {
    co_await isa::compute(cycles{300});
    co_await isa::spin_while(w, spin_predicate::while_not_equal(0), guest_spin);
    co_await isa::compute(cycles{500});
    co_await isa::store(w, 1);
  }
}

inline program tiny_vmm(machine& m, strand& guest, physical_address region, std::uint64_t window) {
  vmx::minimal_vmcs_options options;
  options.guest_rip = guest.location().rip();
  options.guest_rsp = guest.rsp();
  options.secondary = vmx::secondary::pause_loop_exiting;
  options.ple_window = static_cast<std::uint32_t>(window);
  m.physical().write<std::uint32_t>(0x1000, m.config().capabilities.revision());
  m.physical().write<std::uint32_t>(region, m.config().capabilities.revision());
  co_await isa::vmxon(0x1000);
  co_await isa::vmclear(region);
  co_await isa::vmptrld(region);
  for (const auto& [f, value] : vmx::minimal_vmcs_fields(m.config().capabilities, options))
    co_await isa::vmwrite(f, value);
  vmx::exit_info exit = co_await isa::vmlaunch();
  for (;;) {
    co_await isa::compute(cycles{400});
    if (exit.reason == vmx::exit_reason::pause) {
      const std::uint64_t rip = co_await isa::vmread(vmx::field::guest_rip);
      co_await isa::vmwrite(vmx::field::guest_rip, rip + exit.instruction_length);
    }
    exit = co_await isa::vmresume();
  }
}

/// One CPU, one VMM, one guest that spins for ever on a word nobody clears.
struct spin_rig : boot_if {
  explicit spin_rig(bool stepped, std::uint64_t window = 4096) : hw{small_machine(1, stepped)} {
    word& w = hw.physical().word_at(0x100000);
    w.initialise(1);
    guest.start(spinning_guest(w), guest_code);
    host.start(tiny_vmm(hw, guest, 0x3000, window), vmm_code);
    hw.facts().attach(hash);
    hw.connect(*this);
  }
  strand& boot(logical_cpu&, physical_address) override { return host; }

  fact_hash hash;
  machine hw;
  strand guest{hw.names(), "guest"};
  strand host{hw.names(), "host"};
};

}  // namespace vmxsys::cpu::testing
