#include <gtest/gtest.h>

#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::vmx {
namespace {

class vmx_controls_in_effect : public testing::Test {
 protected:
  void set_primary(std::uint64_t controls) { v.write(field::primary_processor_based_controls, controls); }
  void set_secondary(std::uint64_t controls) {
    set_primary(v.read(field::primary_processor_based_controls) | primary::activate_secondary_controls);
    v.write(field::secondary_processor_based_controls, controls);
  }

  vmcs v{4};
};

TEST_F(vmx_controls_in_effect, secondary_controls_count_only_when_activated) {
  v.write(field::secondary_processor_based_controls, secondary::pause_loop_exiting | secondary::wbinvd_exiting);
  EXPECT_EQ(secondary_controls(v), 0u);
  EXPECT_FALSE(wbinvd_exits(v));
  set_primary(primary::activate_secondary_controls);
  EXPECT_EQ(secondary_controls(v), secondary::pause_loop_exiting | secondary::wbinvd_exiting);
  EXPECT_TRUE(wbinvd_exits(v));
}

TEST_F(vmx_controls_in_effect, one_control_each) {
  struct row {
    std::uint32_t control;
    bool (*asks)(const vmcs&) noexcept;
  };
  const row rows[] = {{primary::hlt_exiting, hlt_exits},           {primary::mwait_exiting, mwait_exits},
                      {primary::monitor_exiting, monitor_exits},   {primary::rdtsc_exiting, rdtsc_exits},
                      {primary::rdpmc_exiting, rdpmc_exits},       {primary::invlpg_exiting, invlpg_exits},
                      {primary::cr8_load_exiting, cr8_load_exits}, {primary::cr8_store_exiting, cr8_store_exits}};
  for (const row& r : rows)
    for (unsigned bit = 0; bit < 32; ++bit) {
      set_primary(1ull << bit);
      EXPECT_EQ(r.asks(v), 1ull << bit == r.control) << bit;
    }
  EXPECT_FALSE(rdtscp_enabled(v));
  set_secondary(secondary::enable_rdtscp);
  EXPECT_TRUE(rdtscp_enabled(v));
  EXPECT_FALSE(nmi_exits(v));
  v.write(field::pin_based_controls, pin_based::nmi_exiting);
  EXPECT_TRUE(nmi_exits(v));
  EXPECT_TRUE(cpuid_exits() && vmcall_exits());
}

}  // namespace
}  // namespace vmxsys::vmx
