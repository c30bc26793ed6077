#include <gtest/gtest.h>

#include <vmxsys/vmx/events/interrupt_window.hpp>

namespace vmxsys::vmx {
namespace {

class vmx_interrupt_window : public testing::Test {
 protected:
  void set_primary(std::uint64_t controls) { v.write(field::primary_processor_based_controls, controls); }

  vmcs v{4};
};

TEST_F(vmx_interrupt_window, external_interrupts) {
  using r = interrupt_response;
  using a = activity_state;
  const guest_blocking open{0x202, 0};
  const guest_blocking closed{0x002, 0};
  const guest_blocking shadow{0x202, interruptibility::sti};
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, open), r::deliver);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, closed), r::held);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, shadow), r::held);
  v.write(field::pin_based_controls, pin_based::external_interrupt_exiting);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, closed), r::exit) << "IF does not hold the exit back";
  EXPECT_EQ(respond_to_external_interrupt(v, a::hlt, closed), r::exit);
  EXPECT_EQ(respond_to_external_interrupt(v, a::shutdown, open), r::held);
  EXPECT_EQ(respond_to_external_interrupt(v, a::wait_for_sipi, open), r::held);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, shadow), r::held);
  EXPECT_EQ(respond_to_external_interrupt(v, a::active, shadow, false), r::exit);
}

TEST_F(vmx_interrupt_window, acknowledge_on_exit_records_the_vector) {
  EXPECT_EQ(external_interrupt_exit(v, 0xEC).interruption_information, 0u);
  v.write(field::primary_vm_exit_controls, vm_exit_control::acknowledge_interrupt_on_exit);
  EXPECT_EQ(external_interrupt_exit(v, 0xEC).interruption_information, 0x8000'00ECu);
  EXPECT_EQ(external_interrupt_exit(v, 0xEC).reason, exit_reason::external_interrupt);
}

TEST_F(vmx_interrupt_window, nmi_window_exit) {
  const guest_blocking open{2, 0};
  EXPECT_FALSE(nmi_window_exit_due(v, open));
  set_primary(primary::nmi_window_exiting);
  EXPECT_TRUE(nmi_window_exit_due(v, open));
  EXPECT_FALSE(nmi_window_exit_due(v, {2, interruptibility::nmi}));
  EXPECT_FALSE(nmi_window_exit_due(v, {2, interruptibility::sti}));
  EXPECT_TRUE(nmi_window_exit_due(v, {2, interruptibility::sti}, false));
}

TEST_F(vmx_interrupt_window, interrupt_window_exit) {
  const guest_blocking open{0x202, 0};
  EXPECT_FALSE(interrupt_window_exit_due(v, open));
  set_primary(primary::interrupt_window_exiting);
  EXPECT_TRUE(interrupt_window_exit_due(v, open));
  EXPECT_FALSE(interrupt_window_exit_due(v, {0x002, 0}));
  v.write(field::guest_rflags, 0x202);
  EXPECT_TRUE(interrupt_window_open(v));
  v.write(field::guest_interruptibility_state, interruptibility::mov_ss);
  EXPECT_FALSE(interrupt_window_open(v));
}

}  // namespace
}  // namespace vmxsys::vmx
