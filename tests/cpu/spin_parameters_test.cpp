#include <gtest/gtest.h>

#include <vmxsys/cpu/core/spin_detectors.hpp>

namespace vmxsys::cpu {
namespace {

using vmx::field;
namespace primary = vmx::primary;
namespace secondary = vmx::secondary;

TEST(spin_parameters, secondary_controls_count_only_when_activated) {
  vmx::vmcs v{4};
  v.write(field::secondary_processor_based_controls, secondary::pause_loop_exiting);
  EXPECT_FALSE(spin_parameters_of(v).ple_enabled);
  v.write(field::primary_processor_based_controls, primary::activate_secondary_controls);
  EXPECT_TRUE(spin_parameters_of(v).ple_enabled);
  EXPECT_FALSE(spin_parameters_of(v).pause_exiting);
}

TEST(spin_parameters, are_those_of_the_vmcs) {
  vmx::vmcs v{4};
  v.write(field::primary_processor_based_controls, primary::pause_exiting);
  v.write(field::ple_gap, 127);
  v.write(field::ple_window, 4097);
  const vmx::spin_parameters p = spin_parameters_of(v);
  EXPECT_TRUE(p.pause_exiting);
  EXPECT_FALSE(p.ple_enabled);
  EXPECT_EQ(p.ple_gap, 127u);
  EXPECT_EQ(p.ple_window, 4097u);
}

}  // namespace
}  // namespace vmxsys::cpu
