#include <gtest/gtest.h>
#include <set>

#include <vmxsys/apic/virtualization/guest_timer.hpp>
#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/apic/virtualization/x2apic_access.hpp>

#include "random_numbers.hpp"
#include "virtual_apic_bench.hpp"

// Random sequences of everything that can happen to a virtualized APIC, against a second telling of the rules that
// knows nothing of pages and bits, and against what must always hold.
namespace vmxsys::apic {
namespace {

using apic_testing::is_trap;
using apic_testing::virtual_apic_bench;
using apic_testing::writes;
using vmx::exit_reason;
using vmx::field;

constexpr physical_address pid = virtual_apic_bench::descriptor;

// An APIC with virtual-interrupt delivery, as sets of vectors.
struct telling {
  std::set<unsigned> requests, service, posted, eoi_exits;
  unsigned task = 0, processor = 0, rvi = 0, svi = 0;
  bool recognized = false, window = false, outstanding = false, suppressed = false;

  static unsigned top(const std::set<unsigned>& s) { return s.empty() ? 0 : *s.rbegin(); }
  void weigh() { recognized = !window && rvi / 16 > processor / 16; }
  void priority() { processor = task / 16 >= svi / 16 ? task : svi - svi % 16; }
  void ask(unsigned vector) {
    requests.insert(vector);
    rvi = std::max(rvi, vector);
    weigh();
  }
  void set_task(unsigned value) {
    task = value;
    priority();
    weigh();
  }
  // True: exit.
  bool end_of_interrupt() {
    const unsigned ended = svi;
    service.erase(ended);
    svi = top(service);
    priority();
    if (eoi_exits.count(ended) != 0) return true;
    weigh();
    return false;
  }
  unsigned take() {
    const unsigned vector = rvi;
    service.insert(vector);
    svi = vector;
    processor = vector - vector % 16;
    requests.erase(vector);
    rvi = top(requests);
    recognized = false;
    return vector;
  }
  // True: notify.
  bool post(unsigned vector, bool urgent) {
    posted.insert(vector);
    if (outstanding || (suppressed && !urgent)) return false;
    return outstanding = true;
  }
  void merge() {
    rvi = std::max(rvi, top(posted));
    requests.insert(posted.begin(), posted.end());
    posted.clear();
  }
};

struct pair_of_tellings : virtual_apic_bench {
  vmxsys::testing::random_numbers random;
  telling t;
  std::uint64_t deadline = 0;
  bool in_guest = true;
  bool notified = false;  // a notification waits in the local APIC

  explicit pair_of_tellings(std::uint64_t seed) : random{seed} {
    posting();
    set(field::tertiary_processor_based_controls, vmx::tertiary::ipi_virtualization);
    write_descriptor_info(memory, pid, {false, false, notification_vector, 1});
    v.write(field::last_pid_pointer_index, 0);
    memory.write(table, pid_pointer::encode(pid));
    for (int i = 0; i < 20; ++i) toggle_eoi_exit();
    leave();
    enter();
  }

  std::uint8_t legal_vector() { return static_cast<std::uint8_t>(random.between(16, 255)); }

  void toggle_eoi_exit() {
    const std::uint8_t vector = legal_vector();
    t.eoi_exits.insert(vector);
    eoi_exit(vector);
  }

  // -- the guest --------------------------------------------------------------------------------------------------
  void self_ipi() {
    const std::uint8_t vector = legal_vector();
    virtualization_result r;
    if (random.one_in(2))
      r = write_virtual_apic(a, writes(vapic::icr_low), 0x40000u | vector);
    else
      r = write_x2apic(a, 0x83F, vector).result;
    EXPECT_FALSE(r.trap);
    t.ask(vector);
  }
  void task_priority() {
    const auto value = static_cast<std::uint8_t>(random.one_in(2) ? random() : 0);
    virtualization_result r;
    switch (random.below(3)) {
      case 0:
        r = write_virtual_apic(a, writes(vapic::tpr), value | static_cast<std::uint32_t>(random()) << 8);
        t.set_task(value);
        break;
      case 1:
        r = write_x2apic(a, 0x808, value).result;
        t.set_task(value);
        break;
      default:
        r = write_cr8(a, value / 16);
        t.set_task(value / 16 * 16);
    }
    EXPECT_FALSE(r.trap);
  }
  void end_of_interrupt() {
    const unsigned ended = t.svi;
    const bool exits = t.end_of_interrupt();
    const auto r = random.one_in(2) ? write_virtual_apic(a, writes(vapic::eoi), static_cast<std::uint32_t>(random()))
                                    : write_x2apic(a, 0x80B, 0).result;
    EXPECT_EQ(r.trap.has_value(), exits);
    if (!exits) return;
    EXPECT_TRUE(is_trap(r, exit_reason::virtualized_eoi, ended));
    leave();  // trap-like: at the very next boundary
    EXPECT_FALSE(state.recognized);
  }
  void deliver_if_recognized() {
    if (!state.recognized) return;
    EXPECT_EQ(deliver(a), t.take());
  }
  void ipi_to_itself() {
    const std::uint8_t vector = legal_vector();
    const virtualization_result r = write_x2apic(a, 0x830, vector).result;
    EXPECT_EQ(r.posted, pid);
    EXPECT_EQ(r.notify.has_value(), t.post(vector, false));
    notified = notified || r.notify;
  }
  void timer() {
    const std::uint8_t vector = legal_vector();
    v.write(field::virtual_timer_vector, vector);
    deadline = 1;
    guest_timer_event(a, deadline);
    EXPECT_EQ(deadline, 0u);
    t.ask(vector);
  }

  // -- others -----------------------------------------------------------------------------------------------------
  void somebody_posts() {
    const std::uint8_t vector = legal_vector();
    const bool urgent = random.one_in(4);
    const auto sent = post(memory, pid, vector, urgent);
    EXPECT_EQ(sent.has_value(), t.post(vector, urgent));
    notified = notified || sent;
  }
  void notification_arrives() {
    if (!notified) return;
    notified = false;
    posted_processing p;
    ASSERT_TRUE(p.acknowledge(v, notification_vector));
    while (p.next != posting_step::done) {
      // Between ON and PIR somebody may post again, and its notification comes later.
      if (p.next == posting_step::write_eoi) t.outstanding = false;
      if (p.next == posting_step::raise_rvi) t.merge();
      if (p.next == posting_step::merge_pir && random.one_in(3)) somebody_posts();
      p.step(a);
    }
    t.weigh();
  }
  // The hypervisor changes what lies in memory: nothing happens until the next evaluation. It raises RVI by itself.
  void request_in_memory() {
    const std::uint8_t vector = legal_vector();
    const virtual_interrupt_state before = state;
    page().set_requested(vector);
    t.requests.insert(vector);
    EXPECT_EQ(state, before);
  }

  // -- entries and exits ------------------------------------------------------------------------------------------
  void leave() {
    at_exit(v, state);
    t.recognized = false;
    in_guest = false;
    EXPECT_EQ(v.read(field::guest_interrupt_status), t.svi << 8 | t.rvi);
  }
  void enter() {
    // What a hypervisor does before it enters.
    if (random.one_in(2)) {
      clear_on(memory, pid);
      t.outstanding = false;
      const int highest = merge_pir(memory, pid, page());
      if (highest > static_cast<int>(t.rvi)) v.write(field::guest_interrupt_status, t.svi << 8 | unsigned(highest));
      t.merge();
    }
    t.window = random.one_in(4);
    window(t.window);
    t.suppressed = random.one_in(4);
    descriptor_info info = read_descriptor_info(memory, pid);
    info.suppressed = t.suppressed;
    write_descriptor_info(memory, pid, info);
    at_entry(a);
    t.priority();
    t.weigh();
    in_guest = true;
  }

  void step() {
    if (!in_guest) {
      switch (random.below(4)) {
        case 0:
          return somebody_posts();
        case 1:
          return request_in_memory();
        default:
          return enter();
      }
    }
    switch (random.below(16)) {
      case 0:
      case 1:
        return self_ipi();
      case 2:
      case 3:
        return task_priority();
      case 4:
      case 5:
      case 6:
        return end_of_interrupt();
      case 7:
        return ipi_to_itself();
      case 8:
        return timer();
      case 9:
        return somebody_posts();
      case 10:
        return notification_arrives();
      case 11:
        return leave();
      case 12:
        return request_in_memory();
      default:
        return deliver_if_recognized();
    }
  }

  void compare() {
    const virtual_apic_page p = page();
    ASSERT_EQ(p.read_32(vapic::tpr), t.task);
    ASSERT_EQ(p.read_32(vapic::ppr), t.processor);
    ASSERT_EQ(state.recognized, t.recognized);
    if (in_guest) {
      ASSERT_EQ(state.rvi, t.rvi);
      ASSERT_EQ(state.svi, t.svi);
    }
    for (unsigned x = 0; x < 256; ++x) {
      const auto vector = static_cast<std::uint8_t>(x);
      ASSERT_EQ(p.requested(vector), t.requests.count(x) != 0) << x;
      ASSERT_EQ(p.in_service(vector), t.service.count(x) != 0) << x;
      ASSERT_EQ(is_posted(memory, pid, vector), t.posted.count(x) != 0) << x;
    }
    const descriptor_info info = read_descriptor_info(memory, pid);
    ASSERT_EQ(info.outstanding, t.outstanding);
    ASSERT_EQ(info.suppressed, t.suppressed);
  }

  // What must hold whatever the rules are.
  void always() {
    const virtual_interrupt_state s =
        in_guest ? state : from_guest_interrupt_status(v.read(field::guest_interrupt_status));
    ASSERT_TRUE(s.rvi == 0 || s.rvi >= 16);
    ASSERT_TRUE(s.svi == 0 || s.svi >= 16);
    ASSERT_TRUE(s.svi == 0 || page().in_service(s.svi));
    ASSERT_TRUE(s.rvi == 0 || page().requested(s.rvi));
    ASSERT_GE(page().vppr(), s.svi & 0xF0);
    if (state.recognized) {
      ASSERT_GT(state.rvi >> 4, page().vppr() >> 4);
      ASSERT_FALSE(t.window);
      ASSERT_TRUE(in_guest);
    }
    // Whoever finds something posted has been told, or told not to be.
    const descriptor_info info = read_descriptor_info(memory, pid);
    suppressed_since_ = any_posted(memory, pid) && (suppressed_since_ || info.suppressed);
    if (any_posted(memory, pid)) ASSERT_TRUE(info.outstanding || suppressed_since_) << "nobody will look";
  }

 private:
  bool suppressed_since_ = false;  // something was posted while SN was 1
};

TEST(virtual_apic_random, follows_a_second_telling_and_keeps_its_invariants) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    pair_of_tellings both{seed};
    for (int i = 0; i < 2000; ++i) {
      both.step();
      both.always();
      if (i % 8 == 0) both.compare();
      if (::testing::Test::HasFatalFailure() || ::testing::Test::HasNonfatalFailure()) FAIL() << "step " << i;
    }
    both.compare();
  }
}

}  // namespace
}  // namespace vmxsys::apic
