#include <gtest/gtest.h>

#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/facts/fact_hash.hpp>
#include <vmxsys/vmx/spin_detectors/catalogue.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "source_text.hpp"

// The example of the room's README, and that it is the README's.
namespace vmxsys::cpu::testing {
namespace {

using capability_fields = std::vector<std::pair<vmx::field, std::uint64_t>>;

// clang-format off
// begin
constexpr code_location guest_code{"guest", 0xffffffff82000000, 0, 0, bucket::kernel};
constexpr code_location spin_site{"guest_spin", 0xffffffff82001000, 0x10, 0, bucket::spin};

program guest(word& lock) {
  for (;;) {
    co_await isa::compute(cycles{3000});                  // straight-line code, interruptible at any cycle
    for (;;) {
      const std::uint64_t before = co_await isa::cmpxchg(lock, 0, 1);
      if (before == 0) break;
      co_await isa::spin_while(lock, spin_predicate::while_not_equal(0), spin_site);
    }
    co_await isa::store(lock, 0);
  }
}

program tiny_vmm(physical_address region, const capability_fields& fields) {
  co_await isa::vmxon(0x1000);
  co_await isa::vmclear(region);
  co_await isa::vmptrld(region);
  for (const auto& [f, value] : fields) co_await isa::vmwrite(f, value);
  vmx::exit_info exit = co_await isa::vmlaunch();         // suspended until the VM exit
  for (;;) {
    const std::uint64_t rip = co_await isa::vmread(vmx::field::guest_rip);
    co_await isa::vmwrite(vmx::field::guest_rip, rip + exit.instruction_length);
    exit = co_await isa::vmresume();
  }
}
// end
// clang-format on

struct example : boot_if, fact_observer {
  example() : hw{config()}, lock{hw.physical().word_at(0x100000)} {
    hw.facts().attach(*this);
    for (const physical_address at : {0x1000, 0x2000})
      hw.physical().write<std::uint32_t>(at, hw.config().capabilities.revision());
    guest_strand.start(guest(lock), guest_code);
    vmx::minimal_vmcs_options options;
    options.guest_rip = guest_code.rip();
    options.guest_rsp = guest_strand.rsp();
    options.secondary = vmx::secondary::pause_loop_exiting;
    fields = vmx::minimal_vmcs_fields(hw.config().capabilities, options);
    host_strand.start(tiny_vmm(0x2000, fields), vmm_code);
    hw.connect(*this);
  }
  static machine_config config() {
    machine_config c;
    c.capabilities = vmx::find_capability_row("cascade_lake_sp")->values;
    c.make_detector = [] { return vmx::spin_detectors().select("pause_loop_exiting").make(); };
    return c;
  }
  strand& boot(logical_cpu&, physical_address) override { return host_strand; }
  void observe(const fact_view& f) override {
    if (const auto* exit = f.as<vm_exit_fact>()) pause_exits += exit->reason == vmx::exit_reason::pause;
  }
  static constexpr code_location vmm_code{"vmm", 0xffffffff81000000, 0, 0, bucket::exit_handling};
  machine hw;
  word& lock;
  capability_fields fields;
  strand guest_strand{hw.names(), "guest"};
  strand host_strand{hw.names(), "vmm"};
  int pause_exits = 0;
};

TEST(readme_example, runs) {
  example e;
  e.hw.run_until(cycles{100'000});
  EXPECT_EQ(e.pause_exits, 0) << "nobody else wants the lock";
  e.hw.physical().write<std::uint64_t>(0x100000, 1);  // held by nobody
  e.hw.run_until(cycles{200'000});
  EXPECT_GT(e.pause_exits, 5);
  e.hw.check_accounting();
}

TEST(readme_example, is_the_readmes) {
  const std::string self = vmxsys::testing::source_text("tests/cpu/readme_example_test.cpp");
  const std::string readme = vmxsys::testing::source_text("cpu/README.md");
  const std::size_t begin = self.find("// begin\n") + 9;
  const std::string code = self.substr(begin, self.find("// end\n") - begin);
  ASSERT_GT(code.size(), 500u);
  EXPECT_NE(readme.find("```cpp\n" + code + "```"), std::string::npos);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
