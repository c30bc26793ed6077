#include <algorithm>
#include <array>
#include <cstdint>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/models/posting/posting_protocol.hpp>

namespace vmxsys::models {
namespace {

using op = posting_operation;

// A host that does at once what a machine asks for. It knows nothing of the explorer's world.
struct host {
  struct target {
    std::array<std::uint64_t, 4> pir{}, irr{};
    apic::descriptor_info info{false, false, 0xf2, 0};
    vcpu_mode mode = vcpu_mode::outside_guest;
    std::uint32_t cpu = 0;
    bool waiting = false;
    bool ready = false;
    std::uint64_t requests = 0;
    int rvi = -1;  // not written
  };
  std::map<std::uint16_t, target> vcpus;
  std::map<std::uint32_t, std::vector<std::uint16_t>> lists;
  std::vector<std::pair<std::uint32_t, std::uint8_t>> ipis;  // CPU, vector
  std::vector<op> done;
  bool interrupts = true, entered = false, locked = false;
  int interfere = 0;  // how often another agent changes the info word right before a compare-and-exchange

  std::uint64_t perform(const posting_action& a) {
    done.push_back(a.what);
    target& v = vcpus[a.vcpu];
    switch (a.what) {
      case op::set_pir:
        return set(v.pir, a.vector);
      case op::set_irr:
        return set(v.irr, a.vector);
      case op::set_on:
        return std::exchange(v.info.outstanding, true);
      case op::clear_on:
        return std::exchange(v.info.outstanding, false);
      case op::set_sn:
        return std::exchange(v.info.suppressed, true);
      case op::clear_sn:
        return std::exchange(v.info.suppressed, false);
      case op::load_info:
        return encode(v.info);
      case op::exchange_info: {
        if (interfere > 0) {
          --interfere;
          v.info.outstanding = true;
        }
        const std::uint64_t before = encode(v.info);
        if (before == a.expected) v.info = apic::decode_descriptor_info(a.value);
        return before;
      }
      case op::load_pir:
        return v.pir[a.word];
      case op::take_pir:
        return std::exchange(v.pir[a.word], 0);
      case op::merge_irr:
        v.irr[a.word] |= a.value;
        return 0;
      case op::update_rvi:
        v.rvi = highest(v.irr);
        return static_cast<std::uint64_t>(v.rvi);
      case op::load_mode:
        return static_cast<std::uint64_t>(v.mode);
      case op::store_mode:
        v.mode = static_cast<vcpu_mode>(a.value);
        return 0;
      case op::exchange_mode: {
        const auto before = static_cast<std::uint64_t>(v.mode);
        if (before == a.expected) v.mode = static_cast<vcpu_mode>(a.value);
        return before;
      }
      case op::load_cpu:
        return v.cpu;
      case op::set_request:
        v.requests |= a.value;
        return 0;
      case op::load_requests:
        return v.requests;
      case op::serve_requests:
        v.requests = 0;
        return 0;
      case op::announce_wait:
        v.waiting = true;
        return 0;
      case op::cancel_wait:
        v.waiting = false;
        return 0;
      case op::sleep:
        v.pir[0] |= 1ull << 0x31;
        v.info.outstanding = true;
        return 0;  // what wakes it
      case op::wake_up:
        return std::exchange(v.waiting, false) ? (v.ready = true) : 0;
      case op::add_waiter:
        lists[a.cpu].push_back(a.vcpu);
        return 0;
      case op::remove_waiter:
        std::erase(lists[a.cpu], a.vcpu);
        return 0;
      case op::lock_waiters:
        locked = true;
        return 0;
      case op::next_waiter:
        return a.value < lists[a.cpu].size() ? lists[a.cpu][a.value] + 1u : 0;
      case op::unlock_waiters:
        locked = false;
        return 0;
      case op::send_ipi:
        ipis.emplace_back(a.cpu, a.vector);
        return 0;
      case op::disable_interrupts:
        interrupts = false;
        return 0;
      case op::enable_interrupts:
        interrupts = true;
        return 0;
      case op::enter_guest:
        entered = true;
        return 0;
      case op::none:
        break;
    }
    ADD_FAILURE() << "a machine that has not finished asks for nothing";
    return 0;
  }
  template <class Machine>
  Machine run(Machine m) {
    for (int steps = 0; !m.finished() && steps < 100; ++steps) m.done(perform(m.next()));
    EXPECT_TRUE(m.finished());
    EXPECT_EQ(m.next(), posting_action{});
    return m;
  }
  unsigned count(op what) const { return static_cast<unsigned>(std::count(done.begin(), done.end(), what)); }
  bool posted(std::uint16_t v, std::uint8_t vector) { return (vcpus[v].pir[vector / 64] >> vector % 64 & 1) != 0; }

  static std::uint64_t set(std::array<std::uint64_t, 4>& words, std::uint8_t vector) {
    const std::uint64_t before = words[vector / 64] >> vector % 64 & 1;
    words[vector / 64] |= 1ull << vector % 64;
    return before;
  }
  static int highest(const std::array<std::uint64_t, 4>& words) {
    for (int vector = 255; vector > 0; --vector)
      if ((words[static_cast<unsigned>(vector / 64)] >> vector % 64 & 1) != 0) return vector;
    return 0;
  }
};

constexpr std::uint8_t v31 = 0x31;
using ipi_list = std::vector<std::pair<std::uint32_t, std::uint8_t>>;

// -- delivery: vmx_deliver_posted_interrupt, kvm_vcpu_trigger_posted_interrupt, v6.1 and v7.2
// --------------------------

TEST(posting_sender, PI_01_target_in_guest_mode_elsewhere_gets_the_notification) {
  host h;
  h.vcpus[1].mode = vcpu_mode::in_guest;
  h.vcpus[1].cpu = 5;
  h.run(posting_sender{1, v31, 0, 0});
  EXPECT_TRUE(h.posted(1, v31));
  EXPECT_TRUE(h.vcpus[1].info.outstanding);
  EXPECT_EQ(h.ipis, (ipi_list{{5, 0xf2}}));
}

TEST(posting_sender, PI_02_a_vector_that_is_posted_already_does_nothing_more) {
  host h;
  h.vcpus[1].mode = vcpu_mode::in_guest;
  host::set(h.vcpus[1].pir, v31);
  h.run(posting_sender{1, v31, 0});
  EXPECT_EQ(h.done, (std::vector<op>{op::set_pir}));  // ON was not even looked at
  EXPECT_FALSE(h.vcpus[1].info.outstanding);
  EXPECT_TRUE(h.ipis.empty());
}

TEST(posting_sender, PI_03_where_ON_is_set_somebody_has_notified) {
  host h;
  h.vcpus[1].mode = vcpu_mode::in_guest;
  h.vcpus[1].info.outstanding = true;
  h.run(posting_sender{1, v31, 0});
  EXPECT_TRUE(h.posted(1, v31));
  EXPECT_TRUE(h.ipis.empty());
  EXPECT_EQ(h.count(op::load_mode), 0u);
}

TEST(posting_sender, PI_04_the_vcpu_loaded_here_needs_no_ipi) {
  host h;
  h.vcpus[1].mode = vcpu_mode::in_guest;
  h.run(posting_sender{1, v31, 0, 1});
  EXPECT_TRUE(h.posted(1, v31));
  EXPECT_TRUE(h.vcpus[1].info.outstanding);
  EXPECT_TRUE(h.ipis.empty());
  EXPECT_EQ(h.count(op::wake_up), 0u);
  // The fast path's way back syncs before it enters.
  EXPECT_TRUE(h.run(posting_entry::again(1)).entered());
  EXPECT_FALSE(h.posted(1, v31));
  EXPECT_EQ(h.vcpus[1].rvi, v31);
}

TEST(posting_sender, PI_05_target_that_runs_in_the_host_is_left_alone_and_sees_it_at_entry) {
  host h;
  h.run(posting_sender{1, v31, 0});
  EXPECT_TRUE(h.posted(1, v31));
  EXPECT_TRUE(h.vcpus[1].info.outstanding);
  EXPECT_EQ(h.count(op::wake_up), 1u);
  EXPECT_FALSE(h.vcpus[1].ready);
  EXPECT_TRUE(h.ipis.empty());
  h.run(posting_entry{1});
  EXPECT_EQ(h.vcpus[1].rvi, v31);
}

TEST(posting_sender, PI_06_blocked_target_is_woken) {
  host h;
  h.vcpus[1].waiting = true;
  h.run(posting_sender{1, v31, 0});
  EXPECT_TRUE(h.posted(1, v31));
  EXPECT_TRUE(h.vcpus[1].info.outstanding);
  EXPECT_TRUE(h.vcpus[1].ready);
  EXPECT_TRUE(h.ipis.empty());
}

TEST(posting_sender, PI_07_without_APICv_the_vector_goes_into_VIRR_and_the_target_is_kicked) {
  host h;
  h.vcpus[1].mode = vcpu_mode::in_guest;
  h.vcpus[1].cpu = 5;
  h.run(posting_sender{1, v31, 0, no_vcpu, false});
  EXPECT_EQ(host::highest(h.vcpus[1].irr), v31);
  EXPECT_EQ(h.vcpus[1].requests, posting_request::event);
  EXPECT_EQ(h.vcpus[1].mode, vcpu_mode::exiting);
  EXPECT_EQ(h.ipis, (ipi_list{{5, vector::reschedule}}));
  EXPECT_FALSE(h.posted(1, v31));
}

// -- entry: vmx_sync_pir_to_irr, vcpu_enter_guest
// ----------------------------------------------------------------------

TEST(posting_entry, PI_08_sync_moves_PIR_into_VIRR) {
  host h;
  h.vcpus[1].info.outstanding = true;
  host::set(h.vcpus[1].pir, v31);
  host::set(h.vcpus[1].pir, 0xec);
  const posting_sync sync = h.run(posting_sync{1});
  EXPECT_EQ(sync.highest(), 0xec);
  EXPECT_FALSE(h.vcpus[1].info.outstanding);
  EXPECT_EQ(h.vcpus[1].pir, (std::array<std::uint64_t, 4>{}));
  EXPECT_EQ(h.vcpus[1].irr[0], 1ull << 0x31);
  EXPECT_EQ(h.vcpus[1].irr[3], 1ull << (0xec - 192));
  EXPECT_EQ(h.vcpus[1].rvi, 0xec);
  // ON before PIR; words that were empty are not written.
  EXPECT_EQ(h.done,
            (std::vector<op>{op::load_info, op::clear_on, op::load_pir, op::load_pir, op::load_pir, op::load_pir,
                             op::take_pir, op::take_pir, op::merge_irr, op::merge_irr, op::update_rvi}));
}

TEST(posting_entry, without_ON_the_sync_only_writes_RVI) {
  host h;
  host::set(h.vcpus[1].pir, v31);
  host::set(h.vcpus[1].irr, 0x40);
  EXPECT_EQ(h.run(posting_sync{1}).highest(), 0x40);
  EXPECT_EQ(h.done, (std::vector<op>{op::load_info, op::update_rvi}));
}

TEST(posting_entry, announces_with_interrupts_off_before_it_looks_at_anything) {
  host h;
  EXPECT_TRUE(h.run(posting_entry{1}).entered());
  EXPECT_EQ(h.done, (std::vector<op>{op::serve_requests, op::disable_interrupts, op::store_mode, op::load_info,
                                     op::update_rvi, op::load_mode, op::load_requests, op::enter_guest}));
  EXPECT_EQ(h.vcpus[1].mode, vcpu_mode::in_guest);
  EXPECT_FALSE(h.interrupts);
  h.run(posting_leave{1});
  EXPECT_EQ(h.vcpus[1].mode, vcpu_mode::outside_guest);
  EXPECT_TRUE(h.interrupts);
}

TEST(posting_entry, who_is_asked_to_stay_out_withdraws) {
  for (const bool kicked : {false, true}) {
    host h;
    posting_entry entry{1};
    while (entry.next().what != op::load_mode) entry.done(h.perform(entry.next()));
    if (kicked) {
      h.run(posting_kick{1, 0});
    } else {
      h.vcpus[1].requests = 4;
    }
    EXPECT_FALSE(h.run(entry).entered());
    EXPECT_FALSE(h.entered);
    EXPECT_EQ(h.vcpus[1].mode, vcpu_mode::outside_guest);
    EXPECT_TRUE(h.interrupts);
  }
}

TEST(posting_entry, without_APICv_nothing_is_synced) {
  host h;
  EXPECT_TRUE(h.run(posting_entry{1, false}).entered());
  EXPECT_EQ(h.count(op::load_info), 0u);
  EXPECT_EQ(h.count(op::update_rvi), 0u);
}

// -- blocking and moving: vmx_vcpu_pi_put, vmx_vcpu_pi_load, pi_wakeup_handler, v7.2
// -----------------------------------

TEST(posting_put, PI_09_preempted_vcpu_suppresses_notifications) {
  host h;
  h.run(posting_put{1, 3, {true, false, false}});
  EXPECT_TRUE(h.vcpus[1].info.suppressed);
  EXPECT_EQ(h.vcpus[1].info.vector, 0xf2);
  EXPECT_TRUE(h.lists[3].empty());
}

TEST(posting_put, PI_10_blocking_vcpu_asks_for_the_wakeup_vector) {
  host h;
  h.run(posting_put{1, 3, {false, true, false}});
  EXPECT_EQ(h.vcpus[1].info, (apic::descriptor_info{false, false, 0xf1, 0}));
  EXPECT_EQ(h.lists[3], (std::vector<std::uint16_t>{1}));
  EXPECT_TRUE(h.ipis.empty());
  EXPECT_EQ(h.done.front(), op::add_waiter);  // listed before anybody can send the wake-up vector
}

TEST(posting_put, PI_11_what_was_posted_before_sends_the_wakeup_vector_here) {
  host h;
  h.vcpus[1].info.outstanding = true;
  h.run(posting_put{1, 3, {false, true, false}});
  EXPECT_EQ(h.vcpus[1].info.vector, 0xf1);
  EXPECT_EQ(h.ipis, (ipi_list{{3, 0xf1}}));
}

TEST(posting_put, what_is_posted_while_NV_changes_sends_it_too) {
  host h;
  h.interfere = 1;
  h.run(posting_put{1, 3, {false, true, false}});
  EXPECT_EQ(h.vcpus[1].info, (apic::descriptor_info{true, false, 0xf1, 0}));
  EXPECT_EQ(h.count(op::exchange_info), 2u);
  EXPECT_EQ(h.ipis, (ipi_list{{3, 0xf1}}));
}

TEST(posting_put, blocked_interrupts_or_preemption_while_waiting_suppress) {
  for (const posting_put_reason why : {posting_put_reason{false, true, true}, posting_put_reason{true, true, false},
                                       posting_put_reason{false, false, false}}) {
    host h;
    h.run(posting_put{1, 3, why});
    EXPECT_TRUE(h.vcpus[1].info.suppressed);
    EXPECT_EQ(h.vcpus[1].info.vector, 0xf2);
  }
}

TEST(posting_load, PI_12_end_of_suppression_sets_ON_if_something_was_posted) {
  host h;
  h.vcpus[1].info.suppressed = true;
  host::set(h.vcpus[1].pir, 0xec);
  h.run(posting_load{1, 3, 3, 3});
  EXPECT_FALSE(h.vcpus[1].info.suppressed);
  EXPECT_TRUE(h.vcpus[1].info.outstanding);
  EXPECT_EQ(h.done, (std::vector<op>{op::load_info, op::clear_sn, op::load_pir, op::load_pir, op::load_pir,
                                     op::load_pir, op::set_on}));
}

TEST(posting_load, end_of_suppression_without_a_post_leaves_ON) {
  host h;
  h.vcpus[1].info.suppressed = true;
  h.run(posting_load{1, 3, 3, 3});
  EXPECT_EQ(h.vcpus[1].info, (apic::descriptor_info{false, false, 0xf2, 0}));
}

TEST(posting_load, PI_13_same_cpu_without_suppression_changes_nothing) {
  host h;
  host::set(h.vcpus[1].pir, 0xec);
  h.run(posting_load{1, 3, 3, 3});
  EXPECT_EQ(h.vcpus[1].info, (apic::descriptor_info{false, false, 0xf2, 0}));
  EXPECT_EQ(h.count(op::load_pir), 0u);
}

TEST(posting_load, PI_14_after_blocking_the_descriptor_names_the_new_cpu) {
  host h;
  h.vcpus[1].info = {false, false, 0xf1, 2};
  h.lists[2] = {1};
  h.run(posting_load{1, 6, 2, 6});
  EXPECT_EQ(h.vcpus[1].info, (apic::descriptor_info{false, false, 0xf2, 6}));
  EXPECT_TRUE(h.lists[2].empty());
  EXPECT_EQ(h.count(op::set_on), 0u);
}

TEST(posting_load, PI_15_in_xAPIC_mode_NDST_holds_the_id_in_bits_15_to_8) {
  host h;
  h.vcpus[1].info = {false, false, 0xf1, 0x200};
  h.lists[2] = {1};
  h.run(posting_load{1, 6, 2, 0x600});
  EXPECT_EQ(h.vcpus[1].info.destination, 0x600u);
}

TEST(posting_load, a_move_after_preemption_clears_SN_and_leaves_the_lists_alone) {
  host h;
  h.vcpus[1].info = {false, true, 0xf2, 2};
  h.interfere = 1;  // a post with URG comes in between: ON survives
  h.run(posting_load{1, 6, 2, 6});
  EXPECT_EQ(h.vcpus[1].info, (apic::descriptor_info{true, false, 0xf2, 6}));
  EXPECT_EQ(h.count(op::remove_waiter), 0u);
}

TEST(posting_wakeup, PI_16_the_handler_wakes_who_has_ON) {
  host h;
  h.lists[3] = {1, 2};
  h.vcpus[1].info = {true, false, 0xf1, 3};
  h.vcpus[2].info = {false, false, 0xf1, 3};
  h.vcpus[1].waiting = h.vcpus[2].waiting = true;
  h.run(posting_wakeup{3});
  EXPECT_TRUE(h.vcpus[1].ready);
  EXPECT_FALSE(h.vcpus[2].ready);
  EXPECT_EQ(h.lists[3], (std::vector<std::uint16_t>{1, 2}));
  EXPECT_TRUE(h.vcpus[1].info.outstanding);
  EXPECT_EQ(h.done.front(), op::lock_waiters);
  EXPECT_FALSE(h.locked);
}

TEST(posting_pending, PI_17_ON_or_posts_that_SN_has_kept_quiet) {
  const std::array<std::uint64_t, 4> none{}, some{0, 0, 0, 1};
  const std::uint64_t on = encode(apic::descriptor_info{true, false, 0xf2, 0});
  const std::uint64_t sn = encode(apic::descriptor_info{false, true, 0xf2, 0});
  const std::uint64_t neither = encode(apic::descriptor_info{false, false, 0xf2, 0});
  EXPECT_TRUE(has_pending_interrupt(on, none));
  EXPECT_TRUE(has_pending_interrupt(sn, some));
  EXPECT_FALSE(has_pending_interrupt(sn, none));
  EXPECT_FALSE(has_pending_interrupt(neither, some));
}

TEST(posting_put, PI_18_where_only_software_posts_nothing_changes) {
  host h;
  EXPECT_TRUE(h.run(posting_put{1, 3, {false, true, false, false}}).finished());
  EXPECT_EQ(h.vcpus[1].info, (apic::descriptor_info{false, false, 0xf2, 0}));
  EXPECT_TRUE(h.lists[3].empty());
  EXPECT_TRUE(h.done.empty());
}

TEST(posting_block, sleeps_until_something_is_posted) {
  host h;
  h.run(posting_block{1});
  EXPECT_EQ(h.count(op::sleep), 1u);
  EXPECT_EQ(h.count(op::announce_wait), 2u);  // again before the second look
  EXPECT_FALSE(h.vcpus[1].waiting);
  EXPECT_EQ(h.vcpus[1].rvi, v31);
}

TEST(posting_block, looks_only_after_it_counts_as_waiting) {
  host h;
  h.vcpus[1].info.outstanding = true;
  host::set(h.vcpus[1].pir, v31);
  h.run(posting_block{1});
  EXPECT_EQ(h.done.front(), op::announce_wait);
  EXPECT_EQ(h.count(op::sleep), 0u);
}

TEST(posting_block, a_request_keeps_it_awake) {
  for (const bool apicv : {false, true}) {
    host h;
    h.vcpus[1].requests = 2;
    h.run(posting_block{1, apicv});
    EXPECT_EQ(h.count(op::sleep), 0u);
    EXPECT_FALSE(h.vcpus[1].waiting);
  }
}

// -- kvm_vcpu_kick, v6.1 and v7.2
// --------------------------------------------------------------------------------------

TEST(posting_kick, KK_01_blocked_target_is_woken_and_its_mode_not_looked_at) {
  host h;
  h.vcpus[1].waiting = true;
  h.run(posting_kick{1, 0});
  EXPECT_TRUE(h.vcpus[1].ready);
  EXPECT_EQ(h.done, (std::vector<op>{op::wake_up}));
}

TEST(posting_kick, KK_02_target_in_guest_mode_elsewhere_gets_the_reschedule_vector) {
  host h;
  h.vcpus[1].mode = vcpu_mode::in_guest;
  h.vcpus[1].cpu = 4;
  h.run(posting_kick{1, 0});
  EXPECT_EQ(h.vcpus[1].mode, vcpu_mode::exiting);
  EXPECT_EQ(h.ipis, (ipi_list{{4, vector::reschedule}}));
}

TEST(posting_kick, KK_03_second_kick_sends_nothing) {
  host h;
  h.vcpus[1].mode = vcpu_mode::exiting;
  h.run(posting_kick{1, 0});
  EXPECT_EQ(h.vcpus[1].mode, vcpu_mode::exiting);
  EXPECT_TRUE(h.ipis.empty());
}

TEST(posting_kick, KK_04_target_in_the_host_is_left_alone) {
  host h;
  h.run(posting_kick{1, 0});
  EXPECT_EQ(h.vcpus[1].mode, vcpu_mode::outside_guest);
  EXPECT_TRUE(h.ipis.empty());
}

TEST(posting_kick, KK_05_the_vcpu_loaded_here_is_marked_without_an_ipi) {
  host h;
  h.vcpus[1].mode = vcpu_mode::in_guest;
  h.run(posting_kick{1, 0, 1});
  EXPECT_EQ(h.vcpus[1].mode, vcpu_mode::exiting);
  EXPECT_EQ(h.count(op::exchange_mode), 0u);
  EXPECT_TRUE(h.ipis.empty());
}

// -- values
// ------------------------------------------------------------------------------------------------------------

template <class Machine>
std::string bytes_of(const Machine& m) {
  state_bytes bytes;
  m.encode(bytes);
  return std::string{bytes.view()};
}

// Every state of a run: a copy of it goes on exactly as the original, and states have equal bytes only if they are
// equal.
template <class Machine>
void expect_value(Machine m, host h) {
  static_assert(std::is_trivially_copyable_v<Machine>);
  std::vector<Machine> states;
  for (int steps = 0; !m.finished() && steps < 100; ++steps) {
    states.push_back(m);
    const Machine copy = m;
    EXPECT_EQ(copy, m);
    EXPECT_EQ(copy.next(), m.next());
    m.done(h.perform(m.next()));
  }
  states.push_back(m);
  for (std::size_t i = 0; i < states.size(); ++i)
    for (std::size_t k = 0; k < states.size(); ++k)
      EXPECT_EQ(bytes_of(states[i]) == bytes_of(states[k]), states[i] == states[k]) << i << ' ' << k;
}

TEST(posting_machines, are_values_with_canonical_bytes) {
  host h;
  h.vcpus[1].info = {true, true, 0xf1, 2};
  h.vcpus[1].mode = vcpu_mode::in_guest;
  h.vcpus[1].cpu = 2;
  h.lists[2] = {1};
  host::set(h.vcpus[1].pir, v31);
  host::set(h.vcpus[1].pir, 0xec);
  expect_value(posting_sync{1}, h);
  expect_value(posting_entry{1}, h);
  expect_value(posting_leave{1}, h);
  expect_value(posting_block{1}, h);
  expect_value(posting_put{1, 2, {false, true, false}}, h);
  expect_value(posting_put{1, 2, {true, false, false}}, h);
  expect_value(posting_load{1, 6, 2, 6}, h);
  expect_value(posting_wakeup{2}, h);
  expect_value(posting_kick{1, 0}, h);
  h.vcpus[1].info.outstanding = false;
  expect_value(posting_sender{1, 0x55, 0}, h);
  expect_value(posting_sender{1, 0x55, 0, no_vcpu, false}, h);
}

TEST(posting_machines, state_bytes_hold_what_they_are_given) {
  state_bytes bytes;
  bytes.put(0x1234, 2);
  bytes.put_short(0x7f);
  bytes.put_short(0x80);
  EXPECT_EQ(bytes.view(), std::string_view("\x34\x12\x7f\x80\x01", 5));
}

TEST(posting_machines, steps_read_as_text) {
  posting_action a;
  a.what = op::set_pir;
  a.vcpu = 1;
  a.vector = v31;
  EXPECT_EQ(describe(a, 0), "set_pir(vCPU 1, vector 0x31): was 0");
  a = {};
  a.what = op::exchange_info;
  a.expected = encode(apic::descriptor_info{true, false, 0xf2, 3});
  a.value = encode(apic::descriptor_info{true, false, 0xf1, 3});
  EXPECT_EQ(describe(a, a.expected),
            "exchange_info(vCPU 0, {ON 1, SN 0, NV 0xf2, NDST 3} to {ON 1, SN 0, NV 0xf1, NDST 3}): was {ON 1, SN 0, "
            "NV 0xf2, NDST 3}");
  for (unsigned i = 0; i <= static_cast<unsigned>(op::enter_guest); ++i)
    EXPECT_STRNE(name_of(static_cast<op>(i)), "") << i;
  EXPECT_STREQ(name_of(op::send_ipi), "send_ipi");
  EXPECT_STREQ(name_of(op::enter_guest), "enter_guest");
}

}  // namespace
}  // namespace vmxsys::models
