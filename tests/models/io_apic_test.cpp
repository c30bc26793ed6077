#include <gtest/gtest.h>
#include <vector>

#include <vmxsys/models/devices/io_apic.hpp>

#include "random_numbers.hpp"

namespace vmxsys::models {
namespace {

namespace bits = redirection_bits;
using apic::delivery_mode;

struct bus final : io_apic_sink {
  struct one {
    apic::msi message;
    unsigned pin;
  };
  std::vector<one> sent;
  bool open = true;
  bool send(const apic::msi& message, unsigned pin) override {
    if (open) sent.push_back({message, pin});
    return open;
  }
  std::size_t count() const { return sent.size(); }
};

void program(io_apic& a, unsigned pin, std::uint64_t entry) {
  a.write_register(static_cast<std::uint8_t>(0x11 + 2 * pin), static_cast<std::uint32_t>(entry >> 32));
  a.write_register(static_cast<std::uint8_t>(0x10 + 2 * pin), static_cast<std::uint32_t>(entry));
}
constexpr std::uint64_t to_apic(unsigned id) { return std::uint64_t{id} << 56; }

// -- registers
// ----------------------------------------------------------------------------------------------------------

TEST(io_apic, every_offset_and_width) {
  bus b;
  io_apic a{b};
  const io_apic untouched = a;
  for (std::uint32_t offset = 0; offset < 0x104; ++offset)
    for (unsigned bytes = 0; bytes <= 9; ++bytes) {
      const bool defined = (bytes == 4 && offset % 4 == 0) || (bytes == 1 && offset == 0);
      EXPECT_EQ(a.read(offset, bytes).has_value(), defined) << offset << " " << bytes;
      io_apic written = a;
      EXPECT_EQ(written.write(offset, bytes, 0x10), defined) << offset << " " << bytes;
      if (!defined) EXPECT_EQ(written, untouched);
      if (defined && offset != 0x00 && offset != 0x10) {
        EXPECT_EQ(written, untouched) << "nothing there, or an EOI that ends nothing";
        EXPECT_EQ(*a.read(offset, bytes), 0u);
      }
    }
  EXPECT_EQ(a, untouched) << "reads have no effect";
}

TEST(io_apic, the_window_shows_what_the_index_selects) {
  bus b;
  io_apic a{b};
  for (unsigned index = 0; index < 256; ++index) {
    ASSERT_TRUE(a.write(io_apic::select_offset, index % 2 ? 4 : 1, 0xABCD00 | index));
    EXPECT_EQ(*a.read(io_apic::select_offset, 4), index);
    EXPECT_EQ(*a.read(io_apic::select_offset, 1), index);
    EXPECT_EQ(*a.read(io_apic::window_offset, 4), a.read_register(static_cast<std::uint8_t>(index)));
  }
}

// What every index reads after zeros and after ones have been written, for an I/O APIC of each size and kind.
TEST(io_apic, every_register_keeps_exactly_its_writable_bits) {
  for (unsigned pins : {1u, 23u, 24u, 120u, 240u})
    for (bool extended : {false, true}) {
      bus b;
      io_apic a{b, {pins, 0x20, 5, extended}};
      for (unsigned i = 0; i < 256; ++i) {
        const auto index = static_cast<std::uint8_t>(i);
        const bool low = i >= 0x10 && i % 2 == 0 && (i - 0x10) / 2 < pins;
        const bool high = i >= 0x10 && i % 2 == 1 && (i - 0x10) / 2 < pins;
        const std::uint32_t reset = i == 0 || i == 2 ? 5u << 24 : i == 1 ? (pins - 1) << 16 | 0x20 : low ? 0x10000 : 0;
        EXPECT_EQ(a.read_register(index), reset) << i;
        const std::uint32_t writable = i == 0 ? 0x0F000000
                                       : low  ? 0x1AFFF
                                       : high ? (extended ? 0xFFFF0000 : 0xFF000000)
                                              : 0;
        for (unsigned bit = 0; bit < 32; ++bit) {
          a.write_register(index, 1u << bit);
          EXPECT_EQ(a.read_register(index) & writable, 1u << bit & writable) << i << " bit " << bit;
          a.write_register(index, 0);
          EXPECT_EQ(a.read_register(index) & ~writable, reset & ~writable & ~(low ? 0x10000u : 0u)) << i;
        }
        if (low) a.write_register(index, 0x10000);
        if (i == 0) a.write_register(0, 5u << 24);
      }
      EXPECT_EQ(b.count(), 0u) << "lines are low";
    }
}

TEST(io_apic, sizes) {
  bus b;
  EXPECT_THROW((io_apic{b, {0}}), std::invalid_argument);
  EXPECT_THROW((io_apic{b, {241}}), std::invalid_argument);
  EXPECT_NO_THROW((io_apic{b, {240}}));
  EXPECT_THROW((io_apic{b, {24, 0x20, 16}}), std::invalid_argument);
  io_apic a{b, {240}};
  program(a, 119, 0x20);
  a.set_line(119, true);
  EXPECT_EQ(b.count(), 1u);
  a.set_line(240, true);
  EXPECT_FALSE(a.line(240));
}

TEST(io_apic, reset_masks_everything_and_keeps_the_lines) {
  bus b;
  io_apic a{b};
  program(a, 3, bits::level | 0x40);
  a.set_line(3, true);
  a.write(0, 4, 0x17);
  a.write_register(0, 0x0F000000);
  a.reset();
  EXPECT_EQ(a.entry(3), bits::masked);
  EXPECT_EQ(a.read(0, 4), 0u);
  EXPECT_EQ(a.read_register(0), 0u);
  EXPECT_TRUE(a.line(3));
  EXPECT_EQ(b.count(), 1u);
}

// -- messages
// -----------------------------------------------------------------------------------------------------------

TEST(io_apic, message_in_compatibility_format) {
  EXPECT_EQ(message_of_redirection(to_apic(3) | 0x41), (apic::msi{0xFEE03000, 0x41}));
  EXPECT_EQ(message_of_redirection(to_apic(0xFF) | bits::logical | 0x41), (apic::msi{0xFEEFF004, 0x41}));
  EXPECT_EQ(message_of_redirection(to_apic(6) | bits::logical | 0x141), (apic::msi{0xFEE0600C, 0x141})) << "hint";
  EXPECT_EQ(message_of_redirection(to_apic(1) | bits::level | 0x42), (apic::msi{0xFEE01000, 0xC042}));
  EXPECT_EQ(message_of_redirection(to_apic(1) | bits::level | 0x442), (apic::msi{0xFEE01000, 0x442})) << "NMI: edge";
  EXPECT_EQ(message_of_redirection(std::uint64_t{0x12FE} << 48 | 0x41), (apic::msi{0xFEE12FE0, 0x41})) << "extended ID";
  const auto c = apic::decode_msi(message_of_redirection(std::uint64_t{0x12FE} << 48 | 0x41));
  EXPECT_EQ(c->destination, 0x7F12u);
}

TEST(io_apic, message_in_remappable_format) {
  for (unsigned bit = 0; bit < 16; ++bit) {
    const std::uint64_t handle = 1U << bit;
    const std::uint64_t entry =
        (handle & 0x7FFF) << bits::handle_shift | (handle >> 15) << 11 | bits::remappable | bits::level | 0x100 | 0x41;
    const apic::msi m = message_of_redirection(entry);
    ASSERT_TRUE(apic::is_remappable(m));
    const apic::remappable_request r = apic::decode_remappable(m);
    EXPECT_EQ(r.handle, handle);
    EXPECT_FALSE(r.subhandle_valid) << "the redirection hint's place";
  }
}

TEST(io_apic, every_delivery_mode) {
  for (unsigned mode = 0; mode < 8; ++mode)
    for (bool level : {false, true}) {
      bus b;
      io_apic a{b};
      program(a, 1, (level ? bits::level : 0) | mode << 8 | 0x41);
      a.set_line(1, true);
      const bool reserved = mode == 3 || mode == 6;
      ASSERT_EQ(b.count(), reserved ? 0u : 1u) << mode;
      if (reserved) continue;
      const bool as_level = level && mode <= 1;
      EXPECT_EQ((b.sent[0].message.data & 0x8000) != 0, as_level) << "SMI, NMI, INIT, ExtINT are edges";
      EXPECT_EQ((a.entry(1) & bits::remote_irr) != 0, as_level);
    }
}

// -- pins: every situation of one pin against the sentences of the datasheet
// ------------------------------------------------

struct situation {
  bool level, active_low, masked, remote_irr, asserted;
};
std::vector<situation> situations() {
  std::vector<situation> all;
  for (unsigned i = 0; i < 32; ++i) {
    const situation s{(i & 1) != 0, (i & 2) != 0, (i & 4) != 0, (i & 8) != 0, (i & 16) != 0};
    if (s.remote_irr && !s.level) continue;
    if (s.level && s.asserted && !s.masked && !s.remote_irr) continue;  // it has been sent
    all.push_back(s);
  }
  return all;
}
std::uint64_t entry_of(const situation& s) {
  return (s.level ? bits::level : 0) | (s.active_low ? bits::active_low : 0) | (s.masked ? bits::masked : 0) | 0x41;
}
io_apic in(const situation& s, bus& b) {
  io_apic a{b};
  program(a, 2, entry_of({s.level, s.active_low, true, false, false}));
  a.set_line(2, s.active_low);  // not asserted
  if (s.remote_irr) {
    program(a, 2, entry_of({s.level, s.active_low, false, false, false}));
    a.set_line(2, !s.active_low);
  }
  if (!s.remote_irr && s.asserted) a.set_line(2, !s.active_low);
  if (s.remote_irr && !s.asserted) a.set_line(2, s.active_low);
  program(a, 2, entry_of(s));
  b.sent.clear();
  EXPECT_EQ((a.entry(2) & bits::remote_irr) != 0, s.remote_irr);
  return a;
}

TEST(io_apic, assertion_in_every_situation) {
  for (const situation& s : situations()) {
    bus b;
    io_apic a = in(s, b);
    a.set_line(2, !s.active_low);
    const bool sends = !s.masked && (s.level ? !s.remote_irr : !s.asserted);
    EXPECT_EQ(b.count(), sends ? 1u : 0u);
    EXPECT_EQ((a.entry(2) & bits::remote_irr) != 0, s.remote_irr || (sends && s.level));
  }
}

TEST(io_apic, release_in_every_situation) {
  for (const situation& s : situations()) {
    bus b;
    io_apic a = in(s, b);
    a.set_line(2, s.active_low);
    EXPECT_EQ(b.count(), 0u);
    EXPECT_EQ((a.entry(2) & bits::remote_irr) != 0, s.remote_irr) << "only an EOI ends it";
  }
}

TEST(io_apic, eoi_in_every_situation) {
  for (const situation& s : situations())
    for (const bool by_register : {false, true})
      for (const std::uint8_t vector : {std::uint8_t{0x40}, std::uint8_t{0x41}, std::uint8_t{0x42}}) {
        bus b;
        io_apic a = in(s, b);
        if (by_register)
          a.write(io_apic::eoi_offset, 4, vector);
        else
          a.end_of_interrupt(vector);
        const bool ends = s.remote_irr && vector == 0x41;
        const bool again = ends && s.asserted && !s.masked;
        EXPECT_EQ(b.count(), again ? 1u : 0u) << "a level that is still there is raised again";
        EXPECT_EQ((a.entry(2) & bits::remote_irr) != 0, again || (s.remote_irr && !ends));
      }
}

TEST(io_apic, unmasking_in_every_situation) {
  for (const situation& s : situations()) {
    bus b;
    io_apic a = in(s, b);
    program(a, 2, entry_of(s) & ~bits::masked);
    EXPECT_EQ(b.count(), s.masked && s.level && s.asserted && !s.remote_irr ? 1u : 0u)
        << "an edge that came while masked is forgotten, a level is not";
  }
}

TEST(io_apic, masking_in_every_situation) {
  for (const situation& s : situations()) {
    bus b;
    io_apic a = in(s, b);
    program(a, 2, entry_of(s) | bits::masked);
    EXPECT_EQ(b.count(), 0u);
    EXPECT_EQ((a.entry(2) & bits::remote_irr) != 0, s.remote_irr);
  }
}

TEST(io_apic, change_of_the_trigger_mode_in_every_situation) {
  for (const situation& s : situations()) {
    bus b;
    io_apic a = in(s, b);
    program(a, 2, entry_of(s) ^ bits::level);
    EXPECT_EQ(b.count(), !s.level && s.asserted && !s.masked ? 1u : 0u) << "an asserted edge becomes a level";
    if (s.level) EXPECT_EQ(a.entry(2) & bits::remote_irr, 0u) << "the EOI of who has no EOI register";
  }
}

TEST(io_apic, change_of_the_polarity_in_every_situation) {
  for (const situation& s : situations()) {
    bus b;
    io_apic a = in(s, b);
    program(a, 2, entry_of(s) ^ bits::active_low);
    EXPECT_EQ(b.count(), s.level && !s.asserted && !s.masked && !s.remote_irr ? 1u : 0u) << "is a level, and no edge";
  }
}

TEST(io_apic, eoi_without_an_eoi_register) {
  bus b;
  io_apic a{b, {24, 0x11}};
  program(a, 2, bits::level | 0x41);
  a.set_line(2, true);
  EXPECT_TRUE(a.write(io_apic::eoi_offset, 4, 0x41));
  EXPECT_NE(a.entry(2) & bits::remote_irr, 0u) << "82093AA: nothing there";
  a.write_register(0x14, static_cast<std::uint32_t>(bits::masked) | 0x41);
  a.write_register(0x14, static_cast<std::uint32_t>(bits::level) | 0x41);
  EXPECT_EQ(b.count(), 2u) << "masked edge and back: remote IRR is clear, and the level is still there";
}

TEST(io_apic, an_eoi_ends_every_pin_of_its_vector) {
  bus b;
  io_apic a{b};
  for (unsigned pin : {4u, 9u, 12u}) program(a, pin, bits::level | (pin == 9 ? 0x51 : 0x50));
  for (unsigned pin : {4u, 9u, 12u}) a.set_line(pin, true);
  a.set_line(4, false);
  b.sent.clear();
  a.end_of_interrupt(0x50);
  ASSERT_EQ(b.count(), 1u);
  EXPECT_EQ(b.sent[0].pin, 12u);
  EXPECT_EQ(a.entry(4) & bits::remote_irr, 0u);
  EXPECT_NE(a.entry(9) & bits::remote_irr, 0u);
}

TEST(io_apic, an_eoi_of_another_vector_than_was_sent_ends_nothing) {
  bus b;
  io_apic a{b};
  program(a, 4, bits::level | 0x50);
  a.set_line(4, true);
  program(a, 4, bits::level | 0x60);
  a.end_of_interrupt(0x50);
  EXPECT_NE(a.entry(4) & bits::remote_irr, 0u);
  a.end_of_interrupt(0x60);
  EXPECT_EQ(b.count(), 2u);
}

// -- a bus that is busy
// ---------------------------------------------------------------------------------------------------

TEST(io_apic, delivery_status_of_an_edge) {
  bus b;
  io_apic a{b};
  b.open = false;
  program(a, 1, 0x41);
  a.set_line(1, true);
  a.set_line(1, false);
  EXPECT_EQ(a.entry(1), 0x41u | bits::delivery_status);
  EXPECT_EQ(a.read_register(0x12), 0x1041u);
  a.set_line(1, true);  // the second edge merges with the one that waits
  a.retry();
  EXPECT_EQ(b.count(), 0u);
  b.open = true;
  a.retry();
  EXPECT_EQ(b.count(), 1u);
  EXPECT_EQ(a.entry(1), 0x41u);
  a.retry();
  EXPECT_EQ(b.count(), 1u);
}

TEST(io_apic, masking_holds_a_pending_edge) {
  bus b;
  io_apic a{b};
  b.open = false;
  program(a, 1, 0x41);
  a.set_line(1, true);
  program(a, 1, bits::masked | 0x41);
  b.open = true;
  a.retry();
  EXPECT_EQ(b.count(), 0u);
  EXPECT_NE(a.entry(1) & bits::delivery_status, 0u);
  program(a, 1, 0x41);
  EXPECT_EQ(b.count(), 1u);
}

TEST(io_apic, masking_or_releasing_withdraws_a_pending_level) {
  for (bool mask : {false, true}) {
    bus b;
    io_apic a{b};
    b.open = false;
    program(a, 1, bits::level | 0x41);
    a.set_line(1, true);
    EXPECT_EQ(a.entry(1), bits::level | bits::delivery_status | 0x41u) << "remote IRR only when it is on its way";
    if (mask)
      program(a, 1, bits::level | bits::masked | 0x41);
    else
      a.set_line(1, false);
    b.open = true;
    a.retry();
    EXPECT_EQ(b.count(), 0u);
    EXPECT_EQ(a.entry(1) & (bits::delivery_status | bits::remote_irr), 0u);
  }
}

TEST(io_apic, a_pending_message_takes_the_entry_as_it_is_when_it_is_sent) {
  bus b;
  io_apic a{b};
  b.open = false;
  program(a, 1, to_apic(1) | 0x41);
  a.set_line(1, true);
  b.open = true;
  a.write_register(0x13, 2u << 24);
  ASSERT_EQ(b.count(), 1u);
  EXPECT_EQ(b.sent[0].message.address, 0xFEE02000u);
}

TEST(io_apic, a_change_of_the_trigger_mode_drops_what_is_pending) {
  bus b;
  io_apic a{b};
  b.open = false;
  program(a, 1, 0x41);
  a.set_line(1, true);
  a.set_line(1, false);
  program(a, 1, bits::level | 0x41);
  EXPECT_EQ(a.entry(1) & bits::delivery_status, 0u);
  a.set_line(1, true);
  program(a, 1, 0x41);
  EXPECT_EQ(a.entry(1) & bits::delivery_status, 0u);
}

TEST(io_apic, a_copy_is_a_snapshot) {
  bus b;
  io_apic a{b};
  program(a, 1, bits::level | 0x41);
  io_apic before = a;
  a.set_line(1, true);
  EXPECT_FALSE(before == a);
  before.set_line(1, true);
  EXPECT_EQ(before, a);
}

}  // namespace
}  // namespace vmxsys::models
