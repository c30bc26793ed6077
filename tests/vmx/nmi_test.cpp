#include <gtest/gtest.h>

#include <vmxsys/vmx/events/nmi.hpp>
#include <vmxsys/vmx/transition/guest_state.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

namespace vmxsys::vmx {
namespace {

constexpr const nmi_rule& delivered = nmi_table[0];
constexpr const nmi_rule& exiting = nmi_table[1];
constexpr const nmi_rule& virtual_nmis = nmi_table[2];
constexpr std::uint32_t bit_3 = interruptibility::nmi;

vmcs with(std::uint64_t pin) {
  vmcs v{4};
  v.write(field::pin_based_controls, pin);
  return v;
}

TEST(nmi_rule, of_each_pair_of_controls) {
  EXPECT_EQ(&nmi_rule_of(with(0)), &delivered);
  EXPECT_EQ(&nmi_rule_of(with(pin_based::virtual_nmis)), &delivered) << "not a legal VMCS";
  EXPECT_EQ(&nmi_rule_of(with(pin_based::nmi_exiting)), &exiting);
  EXPECT_EQ(&nmi_rule_of(with(pin_based::nmi_exiting | pin_based::virtual_nmis)), &virtual_nmis);
  for (const nmi_rule& rule : nmi_table)
    EXPECT_EQ(&nmi_rule_of(with((rule.nmi_exiting ? pin_based::nmi_exiting : 0) |
                                (rule.virtual_nmis ? pin_based::virtual_nmis : 0))),
              &rule);
}

TEST(nmi_rule, delivered_to_the_guest_and_unblocked_by_iret) {
  EXPECT_FALSE(delivered.nmi_exits);
  const vmcs v = with(0);
  EXPECT_TRUE(nmi_open(v, {2, 0}));
  EXPECT_FALSE(nmi_open(v, {2, bit_3}));
  nmi_state state;
  state.enter(delivered, 0);
  EXPECT_FALSE(state.blocked());
  state.deliver();
  EXPECT_EQ(state.saved(delivered), bit_3);
  EXPECT_TRUE(state.iret(delivered));
  EXPECT_EQ(state, nmi_state{});
  EXPECT_FALSE(state.iret(delivered)) << "nothing to unblock";
  state.enter(delivered, bit_3);
  EXPECT_EQ(state, nmi_state(true));
}

TEST(nmi_rule, exiting_leaves_blocking_to_the_host) {
  EXPECT_TRUE(exiting.nmi_exits);
  const vmcs v = with(pin_based::nmi_exiting);
  EXPECT_FALSE(nmi_open(v, {2, bit_3}));
  nmi_state state;
  state.enter(exiting, bit_3);
  EXPECT_EQ(state, nmi_state(true));
  EXPECT_FALSE(state.iret(exiting));
  EXPECT_EQ(state, nmi_state(true)) << "IRET has no effect";
  EXPECT_EQ(state.saved(exiting), bit_3);
}

TEST(nmi_rule, virtual_nmis_never_hold_a_physical_one_back) {
  EXPECT_TRUE(virtual_nmis.nmi_exits);
  const vmcs v = with(pin_based::nmi_exiting | pin_based::virtual_nmis);
  EXPECT_TRUE(nmi_open(v, {2, bit_3}));
  EXPECT_FALSE(nmi_open(v, {2, interruptibility::mov_ss}));
  EXPECT_FALSE(nmi_open(v, {2, interruptibility::sti}));
  EXPECT_TRUE(nmi_open(v, {2, interruptibility::sti | bit_3}, false));
  nmi_state state;
  state.enter(virtual_nmis, bit_3);
  EXPECT_FALSE(state.blocked());
  EXPECT_TRUE(state.virtual_blocked());
  EXPECT_EQ(state.saved(virtual_nmis), bit_3);
  EXPECT_TRUE(state.iret(virtual_nmis));
  EXPECT_EQ(state.saved(virtual_nmis), 0u);
  EXPECT_FALSE(state.iret(virtual_nmis));
}

TEST(nmi_state, injection_blocks_before_the_delivery) {
  for (const nmi_rule& rule : nmi_table) {
    nmi_state state;
    state.enter(rule, 0);
    EXPECT_EQ(state.saved(rule), 0u);
    state.inject(rule);
    EXPECT_EQ(state.saved(rule), bit_3) << "an exit during the delivery saves 1: " << rule.name;
    EXPECT_EQ(state.blocked(), !rule.virtual_nmis) << rule.name;
    EXPECT_EQ(state.virtual_blocked(), rule.virtual_nmis) << rule.name;
  }
}

TEST(nmi_state, only_an_nmi_that_exits_blocks_the_host) {
  for (const nmi_rule& rule : nmi_table)
    for (const bool blocked : {false, true})
      for (const bool by_nmi : {false, true}) {
        nmi_state state;
        state.enter(rule, blocked ? bit_3 : 0);
        const bool physical = state.blocked();
        state.leave(by_nmi);
        EXPECT_EQ(state, nmi_state(physical || by_nmi)) << rule.name;
      }
  nmi_state root{true};
  root.iret();
  EXPECT_EQ(root, nmi_state{});
}

// The value type and the state that VM entries load and VM exits save say the same.
TEST(nmi_state, agrees_with_the_saved_state) {
  for (const nmi_rule& rule : nmi_table)
    for (const bool blocked : {false, true})
      for (const bool virtual_blocked : {false, true}) {
        processor_state p;
        p.nmi_blocking = blocked;
        p.virtual_nmi_blocking = virtual_blocked;
        EXPECT_EQ(interruptibility_to_save({}, rule.virtual_nmis, p), nmi_state(blocked, virtual_blocked).saved(rule))
            << rule.name;
      }
}

}  // namespace
}  // namespace vmxsys::vmx
