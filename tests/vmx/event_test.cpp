#include <gtest/gtest.h>
#include <string>

#include <vmxsys/vmx/vmcs/event.hpp>

namespace vmxsys::vmx {
namespace {

TEST(vmx_event, encode_and_decode_agree) {
  for (std::uint32_t word = 0; word < 1u << 14; ++word)
    EXPECT_EQ(encode(decode_event(word | event_bits::valid)), word | event_bits::valid);
  EXPECT_EQ(encode({0xEC, event_type::external_interrupt, false, false, false, true}), 0x8000'00ECu);
  EXPECT_EQ(encode({14, event_type::hardware_exception, true, false, false, true}), 0x8000'0B0Eu);
  EXPECT_TRUE(is_injecting(0x8000'00EC));
  EXPECT_FALSE(is_injecting(0x0000'00EC));
  EXPECT_FALSE(is_injecting(0x8000'0700)) << "a pending MTF exit is not an injection";
}

TEST(vmx_event, what_may_be_injected_into_which_activity) {
  using t = event_type;
  using a = activity_state;
  const auto states = [](t type, std::uint8_t vector) {
    std::string allowed;
    for (const a state : {a::active, a::hlt, a::shutdown, a::wait_for_sipi})
      allowed += injectable({vector, type, false, false, false, true}, state) ? '1' : '0';
    return allowed;
  };
  EXPECT_EQ(states(t::external_interrupt, 0x30), "1100");
  EXPECT_EQ(states(t::nmi, 2), "1110");
  EXPECT_EQ(states(t::hardware_exception, 1), "1100");
  EXPECT_EQ(states(t::hardware_exception, 18), "1110");
  EXPECT_EQ(states(t::hardware_exception, 14), "1000");
  EXPECT_EQ(states(t::software_interrupt, 18), "1000");
  EXPECT_EQ(states(t::privileged_software_exception, 1), "1000");
  EXPECT_EQ(states(t::software_exception, 3), "1000");
  EXPECT_EQ(states(t::other_event, 0), "1100");
}

TEST(vmx_event, windows) {
  EXPECT_TRUE((guest_blocking{0x202, 0}).interrupt_window_open());
  EXPECT_FALSE((guest_blocking{0x002, 0}).interrupt_window_open());
  EXPECT_FALSE((guest_blocking{0x202, interruptibility::sti}).interrupt_window_open());
  EXPECT_FALSE((guest_blocking{0x202, interruptibility::mov_ss}).interrupt_window_open());
  EXPECT_TRUE((guest_blocking{0x202, interruptibility::nmi}).interrupt_window_open());
  EXPECT_TRUE((guest_blocking{0x002, 0}).nmi_window_open());
  EXPECT_FALSE((guest_blocking{0x002, interruptibility::nmi}).nmi_window_open());
  EXPECT_FALSE((guest_blocking{0x202, interruptibility::sti}).nmi_window_open());
  EXPECT_TRUE((guest_blocking{0x202, interruptibility::sti}).nmi_window_open(false));
}

}  // namespace
}  // namespace vmxsys::vmx
