#include <array>
#include <cstring>
#include <gtest/gtest.h>
#include <initializer_list>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/vmx/events/boundary.hpp>

#include "random_numbers.hpp"
#include "virtual_apic_bench.hpp"

namespace vmxsys::apic {
namespace {

using apic_testing::virtual_apic_bench;
using vmx::field;
namespace layout = posted_interrupt_descriptor;

constexpr physical_address pid = virtual_apic_bench::descriptor;

// -- layout -----------------------------------------------------------------------------------------------------------

TEST(posted_descriptor, bits_are_where_the_manual_counts_them) {
  virtual_apic_bench b;
  const auto bit = [&](unsigned n) { return (b.memory.read<std::uint8_t>(pid + n / 8) >> n % 8 & 1) != 0; };
  for (unsigned x = 0; x < 256; ++x) {
    const auto vector = static_cast<std::uint8_t>(x);
    EXPECT_FALSE(is_posted(b.memory, pid, vector));
    EXPECT_TRUE(set_pir(b.memory, pid, vector));
    EXPECT_FALSE(set_pir(b.memory, pid, vector)) << "it was set already";
    EXPECT_TRUE(bit(x));
    EXPECT_TRUE(is_posted(b.memory, pid, vector));
  }
  write_descriptor_info(b.memory, pid, {true, false, 0, 0});
  EXPECT_TRUE(bit(256));
  write_descriptor_info(b.memory, pid, {false, true, 0, 0});
  EXPECT_TRUE(bit(257));
  write_descriptor_info(b.memory, pid, {false, false, 0x81, 0});
  for (unsigned n = 256; n < 320; ++n) EXPECT_EQ(bit(n), n == 272 || n == 279) << n;
  write_descriptor_info(b.memory, pid, {false, false, 0, 0x8000'0001});
  for (unsigned n = 256; n < 320; ++n) EXPECT_EQ(bit(n), n == 288 || n == 319) << n;
  for (unsigned n = 320; n < 512; ++n) EXPECT_FALSE(bit(n)) << "software's";
  EXPECT_EQ(layout::information + 8, layout::software);
}

TEST(posted_descriptor, information_word_survives_decoding_without_its_reserved_bits) {
  vmxsys::testing::random_numbers random{3};
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t word = random();
    EXPECT_EQ(encode(decode_descriptor_info(word)), word & ~layout::reserved);
  }
  EXPECT_EQ(decode_descriptor_info(0x00000005'00F20003), (descriptor_info{true, true, 0xF2, 5}));
}

TEST(posted_descriptor, any_posted_sees_every_word) {
  for (unsigned x = 0; x < 256; x += 17) {
    virtual_apic_bench b;
    EXPECT_FALSE(any_posted(b.memory, pid));
    set_pir(b.memory, pid, static_cast<std::uint8_t>(x));
    EXPECT_TRUE(any_posted(b.memory, pid));
  }
}

// -- posting ----------------------------------------------------------------------------------------------------------

TEST(posting, notifies_by_on_sn_and_urgency) {
  for (unsigned c = 0; c < 8; ++c) {
    const bool on = c & 1, sn = c & 2, urgent = c & 4;
    virtual_apic_bench b;
    write_descriptor_info(b.memory, pid, {on, sn, 0xF2, 0x12345678});
    const auto sent = post(b.memory, pid, 0x60, urgent);
    const bool expected = !on && (urgent || !sn);
    EXPECT_EQ(sent.has_value(), expected) << c;
    if (sent) EXPECT_EQ(*sent, (notification{0xF2, 0x12345678}));
    EXPECT_TRUE(is_posted(b.memory, pid, 0x60)) << "whatever becomes of the notification";
    EXPECT_EQ(read_descriptor_info(b.memory, pid), (descriptor_info{on || expected, sn, 0xF2, 0x12345678}));
  }
}

TEST(posting, touches_only_its_bit_and_on) {
  virtual_apic_bench b;
  for (unsigned i = 0; i < 64; ++i) b.memory.write<std::uint8_t>(pid + i, 0xFF);
  b.memory.write<std::uint64_t>(pid + layout::information, ~layout::on & ~layout::sn);
  b.memory.write<std::uint64_t>(layout::pir_word(pid, 1), ~std::uint64_t{0} << 1);
  EXPECT_TRUE(post(b.memory, pid, 64));
  for (unsigned i = 0; i < 64; i += 8)
    EXPECT_EQ(b.memory.read<std::uint64_t>(pid + i), ~(i == layout::information ? layout::sn : 0)) << i;
}

TEST(posting, a_second_one_finds_the_first_outstanding) {
  virtual_apic_bench b;
  write_descriptor_info(b.memory, pid, {false, false, 0xF2, 3});
  EXPECT_TRUE(post(b.memory, pid, 0x60));
  EXPECT_FALSE(post(b.memory, pid, 0x61));
  EXPECT_FALSE(post(b.memory, pid, 0x60));
  EXPECT_TRUE(is_posted(b.memory, pid, 0x60) && is_posted(b.memory, pid, 0x61));
}

TEST(notification, becomes_a_physical_fixed_ipi_in_either_mode) {
  const notification n{0xF2, 0x12345678};
  const interrupt_command x2apic = command_of(n, true);
  EXPECT_EQ(encode_icr(x2apic), 0x12345678'000040F2u);
  interrupt_command xapic = x2apic;
  xapic.destination = 0x56;
  EXPECT_EQ(command_of(n, false), xapic);
}

// -- processing -------------------------------------------------------------------------------------------------------

void process(virtual_apic_bench& b) {
  posted_processing p;
  ASSERT_TRUE(p.acknowledge(b.v, b.notification_vector));
  while (p.next != posting_step::done) p.step(b.a);
}

TEST(posted_processing, only_of_the_notification_vector_and_with_the_control) {
  for (unsigned x = 0; x < 256; ++x) {
    virtual_apic_bench b;
    b.posting();
    posted_processing p;
    EXPECT_EQ(p.acknowledge(b.v, static_cast<std::uint8_t>(x)), x == b.notification_vector);
    EXPECT_EQ(p.next, x == b.notification_vector ? posting_step::clear_on : posting_step::done);
  }
  virtual_apic_bench b;
  posted_processing p;
  EXPECT_FALSE(p.acknowledge(b.v, b.notification_vector));
  EXPECT_EQ(p.next, posting_step::done);
}

TEST(posted_processing, every_step_does_its_own_part) {
  virtual_apic_bench b;
  b.posting();
  write_descriptor_info(b.memory, pid, {false, false, 0x11, 7});
  ASSERT_TRUE(post(b.memory, pid, 0x60));
  post(b.memory, pid, 0x31);
  posted_processing p;
  ASSERT_TRUE(p.acknowledge(b.v, b.notification_vector));

  p.step(b.a);
  EXPECT_EQ(p.next, posting_step::write_eoi);
  EXPECT_EQ(read_descriptor_info(b.memory, pid), (descriptor_info{false, false, 0x11, 7}));
  EXPECT_TRUE(any_posted(b.memory, pid));

  p.step(b.a);
  EXPECT_EQ(p.next, posting_step::merge_pir);
  EXPECT_TRUE(any_posted(b.memory, pid));

  p.step(b.a);
  EXPECT_EQ(p.next, posting_step::raise_rvi);
  EXPECT_FALSE(any_posted(b.memory, pid));
  EXPECT_TRUE(b.page().requested(0x60) && b.page().requested(0x31));
  EXPECT_EQ(p.highest_posted, 0x60);
  EXPECT_EQ(b.state.rvi, 0);

  p.step(b.a);
  EXPECT_EQ(p.next, posting_step::evaluate);
  EXPECT_EQ(b.state.rvi, 0x60);
  EXPECT_FALSE(b.state.recognized);

  p.step(b.a);
  EXPECT_EQ(p.next, posting_step::done);
  EXPECT_TRUE(b.state.recognized);
}

TEST(posted_processing, the_table_has_the_steps_in_their_order) {
  virtual_apic_bench b;
  b.posting();
  posted_processing p;
  for (const posting_step_info& row : posting_step_table) {
    EXPECT_EQ(row.step, p.next) << row.name;
    EXPECT_STREQ(name_of(p.next), row.name);
    if (p.next == posting_step::acknowledge)
      p.acknowledge(b.v, b.notification_vector);
    else
      p.step(b.a);
  }
  EXPECT_STREQ(name_of(p.next), "done");
  const posted_processing finished = p;
  p.step(b.a);
  EXPECT_TRUE(p == finished);
}

TEST(posted_processing, clears_on_and_leaves_every_other_bit) {
  virtual_apic_bench b;
  b.memory.write(pid + layout::information, ~std::uint64_t{0});
  clear_on(b.memory, pid);
  EXPECT_EQ(b.memory.read<std::uint64_t>(pid + layout::information), ~std::uint64_t{1});
}

// Vectors that lie in VIRR without having raised RVI stay asleep: the new PIR bits alone count.
TEST(posted_processing, rvi_is_raised_by_new_bits_only) {
  virtual_apic_bench b;
  b.posting();
  b.page().set_requested(0x90);
  set_pir(b.memory, pid, 0x60);
  process(b);
  EXPECT_EQ(b.state.rvi, 0x60);
  EXPECT_TRUE(b.page().requested(0x90) && b.page().requested(0x60));
  EXPECT_EQ(deliver(b.a), 0x60);
  EXPECT_EQ(b.state.rvi, 0x90) << "delivery looks at all of VIRR";
}

TEST(posted_processing, with_nothing_posted_leaves_rvi_and_evaluates) {
  virtual_apic_bench b;
  b.posting();
  b.state.rvi = 0x41;
  process(b);
  EXPECT_EQ(b.state.rvi, 0x41);
  EXPECT_TRUE(b.state.recognized);
}

TEST(posted_processing, a_lower_vector_does_not_lower_rvi) {
  virtual_apic_bench b;
  b.posting();
  b.state.rvi = 0x61;
  for (const std::uint8_t vector : std::initializer_list<std::uint8_t>{0x60, 0x61}) {
    set_pir(b.memory, pid, vector);
    process(b);
    EXPECT_EQ(b.state.rvi, 0x61);
  }
  set_pir(b.memory, pid, 0x62);
  process(b);
  EXPECT_EQ(b.state.rvi, 0x62);
}

TEST(posted_processing, does_not_read_sn_nv_or_ndst) {
  virtual_apic_bench b;
  b.posting();
  write_descriptor_info(b.memory, pid, {true, true, 0x33, 0xFFFFFFFF});
  set_pir(b.memory, pid, 0x60);
  process(b);
  EXPECT_EQ(b.state.rvi, 0x60);
  EXPECT_EQ(read_descriptor_info(b.memory, pid), (descriptor_info{false, true, 0x33, 0xFFFFFFFF}));
}

TEST(merge_pir, moves_every_vector_and_reports_the_highest) {
  vmxsys::testing::random_numbers random{5};
  for (int round = 0; round < 200; ++round) {
    virtual_apic_bench b;
    int highest = -1;
    bool expected[256] = {};
    for (std::uint64_t n = random.below(6); n > 0; --n) {
      const auto vector = static_cast<std::uint8_t>(random());
      set_pir(b.memory, pid, vector);
      expected[vector] = true;
      highest = std::max<int>(highest, vector);
    }
    const auto old = static_cast<std::uint8_t>(random());
    b.page().set_requested(old);
    expected[old] = true;
    EXPECT_EQ(merge_pir(b.memory, pid, b.page()), highest);
    EXPECT_FALSE(any_posted(b.memory, pid));
    for (unsigned x = 0; x < 256; ++x) ASSERT_EQ(b.page().requested(static_cast<std::uint8_t>(x)), expected[x]);
  }
}

// -- sequences --------------------------------------------------------------------------------------------------------

// A running processor: posted, notified, delivered at the same boundary, without an exit.
TEST(posted_sequence, to_a_running_processor) {
  virtual_apic_bench b;
  b.posting();
  b.set(field::pin_based_controls, vmx::pin_based::external_interrupt_exiting);
  write_descriptor_info(b.memory, pid, {false, false, b.notification_vector, 4});
  const auto sent = post(b.memory, pid, 0x3C);
  ASSERT_EQ(sent, (notification{b.notification_vector, 4}));

  vmx::boundary_state at;
  at.blocking.rflags = vmx::rflags_bits::interrupt_flag;
  at.external_interrupt = true;
  ASSERT_EQ(vmx::next_event(b.v, at), vmx::boundary_event::external_interrupt);
  process(b);
  EXPECT_EQ(b.state.rvi, 0x3C);
  at.external_interrupt = false;
  at.virtual_interrupt = b.state.recognized;
  EXPECT_EQ(vmx::next_event(b.v, at), vmx::boundary_event::virtual_interrupt);
  EXPECT_EQ(deliver(b.a), 0x3C);
}

// In HLT: the notification itself wakes nothing, a recognized interrupt does, once IF allows its delivery.
TEST(posted_sequence, to_a_halted_processor) {
  for (const bool masked_by_priority : {false, true})
    for (const bool interrupts_on : {false, true}) {
      virtual_apic_bench b;
      b.posting();
      b.page().write_32(vapic::ppr, masked_by_priority ? 0x60 : 0);
      set_pir(b.memory, pid, 0x60);
      process(b);
      EXPECT_TRUE(waits_on(guest_wait::hlt));
      EXPECT_EQ(b.state.recognized, !masked_by_priority);
      vmx::boundary_state at;
      at.activity = vmx::activity_state::hlt;
      at.blocking.rflags = interrupts_on ? vmx::rflags_bits::interrupt_flag : 0;
      at.virtual_interrupt = b.state.recognized;
      EXPECT_EQ(vmx::next_event(b.v, at) == vmx::boundary_event::virtual_interrupt,
                interrupts_on && !masked_by_priority);
    }
}

// Not running: with SN nothing is sent; without it the host gets an ordinary interrupt. What is posted waits until
// software merges it and raises RVI before the next entry.
TEST(posted_sequence, to_a_processor_that_does_not_run) {
  virtual_apic_bench b;
  b.posting();
  write_descriptor_info(b.memory, pid, {false, true, b.notification_vector, 4});
  EXPECT_FALSE(post(b.memory, pid, 0x60));
  at_entry(b.a);
  EXPECT_EQ(b.state, virtual_interrupt_state{}) << "an entry does not look at the descriptor";
  at_exit(b.v, b.state);

  const int highest = merge_pir(b.memory, pid, b.page());
  ASSERT_EQ(highest, 0x60);
  b.v.write(field::guest_interrupt_status, 0x60);
  at_entry(b.a);
  EXPECT_TRUE(b.state.recognized);
  EXPECT_EQ(deliver(b.a), 0x60);
}

// -- interleavings ----------------------------------------------------------------------------------------------------

// A world that is copied often: the descriptor and the virtual-APIC page, nothing else.
class small_memory final : public physical_memory {
 public:
  using physical_memory::read;
  using physical_memory::write;
  void read(physical_address at, void* to, std::size_t bytes) const override {
    std::memcpy(to, &bytes_[place(at)], bytes);
  }
  void write(physical_address at, const void* from, std::size_t bytes) override {
    std::memcpy(&bytes_[place(at)], from, bytes);
  }

 private:
  static std::size_t place(physical_address at) {
    return at >= pid ? at - pid : layout::bytes + (at - virtual_apic_bench::page_at);
  }
  std::array<unsigned char, layout::bytes + 0x400> bytes_{};
};

// A poster with three interrupts, each in its two atomic steps, against a processor that processes every notification
// it gets.
struct race {
  small_memory memory;
  virtual_interrupt_state state;
  posted_processing processing{posting_step::done, -1};
  unsigned posted_steps = 0;
  bool notified = false;  // a notification waits in the local APIC
};

constexpr std::uint8_t posted_vectors[] = {0x3C, 0xE1, 0x3D};
constexpr unsigned poster_steps = 2 * 3;

struct interleavings {
  vmx::vmcs& v;
  bool planted_mistake;  // PIR is merged before ON is cleared
  unsigned ends = 0;
  unsigned lost = 0;

  void run(const race& before) {
    bool moved = false;
    if (before.posted_steps < poster_steps) {
      race r = before;
      poster(r);
      moved = true;
      run(r);
    }
    if (before.processing.next != posting_step::done || before.notified) {
      race r = before;
      processor(r);
      moved = true;
      run(r);
    }
    if (!moved) end(before);
  }

  void poster(race& r) {
    const std::uint8_t vector = posted_vectors[r.posted_steps / 2];
    if (r.posted_steps % 2 == 0)
      set_pir(r.memory, pid, vector);
    else if (announce(r.memory, pid))
      r.notified = true;
    ++r.posted_steps;
    check(r);
  }

  void processor(race& r) {
    posted_processing& p = r.processing;
    const virtual_apic a{v, r.memory, r.state};
    if (p.next == posting_step::done) {
      r.notified = false;
      p = {};
      ASSERT_TRUE(p.acknowledge(v, virtual_apic_bench::notification_vector));
    } else if (planted_mistake && p.next == posting_step::clear_on) {
      p.highest_posted = static_cast<std::int16_t>(merge_pir(r.memory, pid, a.page()));
      p.next = posting_step::write_eoi;
    } else if (planted_mistake && p.next == posting_step::merge_pir) {
      clear_on(r.memory, pid);
      p.next = posting_step::raise_rvi;
    } else {
      p.step(a);
    }
    check(r);
  }

  // Whatever has been posted is in PIR or in VIRR, at every point.
  void check(race& r) {
    const virtual_apic_page page{r.memory, v};
    for (unsigned i = 0; 2 * i < r.posted_steps; ++i)
      EXPECT_TRUE(is_posted(r.memory, pid, posted_vectors[i]) || page.requested(posted_vectors[i]));
  }

  // Nobody has anything left to do: nothing may lie in PIR, where nobody looks any more, and nothing be overlooked.
  void end(race r) {
    ++ends;
    if (any_posted(r.memory, pid) || r.state.rvi != 0xE1 || !r.state.recognized) ++lost;
  }
};

TEST(posted_interleavings, of_a_poster_with_the_processing_lose_nothing) {
  virtual_apic_bench b;
  b.posting();
  for (const bool planted_mistake : {false, true}) {
    interleavings all{b.v, planted_mistake};
    race quiet;
    write_descriptor_info(quiet.memory, pid, {false, false, b.notification_vector, 0});
    all.run(quiet);
    // A notification is on its way already, with or without anything outstanding.
    race late = quiet;
    late.notified = true;
    all.run(late);
    write_descriptor_info(late.memory, pid, {true, false, b.notification_vector, 0});
    all.run(late);
    EXPECT_GT(all.ends, 1000u);
    if (planted_mistake)
      EXPECT_GT(all.lost, 0u) << "the wrong order must show";
    else
      EXPECT_EQ(all.lost, 0u);
  }
}

}  // namespace
}  // namespace vmxsys::apic
