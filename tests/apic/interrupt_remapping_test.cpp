#include <gtest/gtest.h>

#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/apic/remapping/interrupt_remapping.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>

#include "random_numbers.hpp"
#include "row_tests.hpp"
#include "vmx/flat_memory.hpp"

namespace {

using namespace vmxsys;
using namespace vmxsys::apic;
namespace pid = posted_interrupt_descriptor;

constexpr physical_address table_at = 0x4000;
constexpr physical_address descriptor_at = 0x20040;
constexpr requester_id device = 0x0310;  // 03:02.0

struct bench {
  vmx::test::flat_memory memory;
  remapping_table table;

  bench() { table.address = table_at; }
  void put(std::uint32_t index, const remapping_entry_bits& bits) { memory.write(table.entry_at(index), bits); }
  void put(std::uint32_t index, const remapping_entry& entry) { put(index, encode(entry)); }
  remapping_outcome send(const msi& m, requester_id from = device) { return remap(table, memory, m, from); }
  std::uint64_t information() const { return memory.read<std::uint64_t>(descriptor_at + pid::information); }
  void information(const descriptor_info& i) { write_descriptor_info(memory, descriptor_at, i); }
};

remapping_entry remapped_entry() {
  remapping_entry e;
  e.present = true;
  e.vector = 0x41;
  e.destination = 0x12345678;
  return e;
}
remapping_entry posted_entry() {
  remapping_entry e;
  e.present = true;
  e.posted = true;
  e.vector = 0x51;
  e.descriptor = descriptor_at;
  return e;
}
remapping_entry xapic_entry() {
  remapping_entry e = remapped_entry();
  e.destination = 0x0500;
  return e;
}

// -- formats
// ------------------------------------------------------------------------------------------------------------

TEST(interrupt_remapping, every_bit_of_an_entry_is_a_field_or_reserved) {
  for (const bool posted : {false, true})
    for (unsigned i = 0; i < 128; ++i) {
      remapping_entry_bits bits;
      if (posted) bits.low = 1U << 15;
      (i < 64 ? bits.low : bits.high) ^= std::uint64_t{1} << i % 64;
      if (i == 15) continue;
      const remapping_entry_bits reserved = reserved_bits(posted, true);
      const bool is_reserved = ((i < 64 ? reserved.low : reserved.high) >> i % 64 & 1) != 0;
      const remapping_entry_bits back = encode(decode(bits));
      EXPECT_EQ(back == bits, !is_reserved) << posted << " bit " << i;
    }
}

TEST(interrupt_remapping, places_of_the_fields) {
  remapping_entry e = remapped_entry();
  e.fault_processing_disabled = true;
  e.to = destination_mode::logical;
  e.redirection_hint = true;
  e.level = true;
  e.mode = delivery_mode::ext_int;
  e.available = 0xA;
  e.source = 0xBEEF;
  e.qualifier = 2;
  e.validation = source_validation::requester;
  EXPECT_EQ(encode(e), (remapping_entry_bits{0x12345678'00410AFF, 0x6BEEF}));
  remapping_entry p = posted_entry();
  p.urgent = true;
  p.descriptor = 0x00345678'9ABCDEC0;
  p.source = 0xBEEF;
  p.validation = source_validation::bus;
  EXPECT_EQ(encode(p), (remapping_entry_bits{0x9ABCDEC0'0051C001, 0x00345678'0008BEEF}));
}

TEST(interrupt_remapping, the_table_address_register) {
  const remapping_table t = with_table_address({}, 0x00000012'3456780F);
  EXPECT_EQ(t.address, 0x12'34567000u);
  EXPECT_TRUE(t.x2apic);
  EXPECT_EQ(t.entries(), 65536u);
  const remapping_table small = with_table_address({}, 0x1000);
  EXPECT_FALSE(small.x2apic);
  EXPECT_EQ(small.entries(), 2u);
}

// -- rows
// ---------------------------------------------------------------------------------------------------------------

TEST(interrupt_remapping, disabled_passes_the_compatibility_format) {
  bench b;
  b.table.enabled = false;
  const auto o = b.send({msi_window | 5U << 12, 0x31});
  EXPECT_EQ(o.step, remapping_step::disabled);
  EXPECT_EQ(o.command, decode_msi({msi_window | 5U << 12, 0x31}));
  b.put(0, remapped_entry());
  EXPECT_FALSE(b.send(remappable_msi(0)).command) << "nobody reads the table";
}

TEST(interrupt_remapping, compatibility_format_is_blocked_in_x2apic_mode_and_unless_allowed) {
  for (const bool x2apic : {false, true})
    for (const bool allowed : {false, true}) {
      bench b;
      b.table.x2apic = x2apic;
      b.table.compatibility = allowed;
      const auto o = b.send({msi_window | 5U << 12, 0x31});
      const bool passes = allowed && !x2apic;
      EXPECT_EQ(o.step, passes ? remapping_step::compatibility : remapping_step::compatibility_blocked);
      EXPECT_EQ(o.command.has_value(), passes);
      EXPECT_EQ(o.recorded, !passes);
      EXPECT_EQ(o.reason(), passes ? 0 : 0x25);
    }
}

TEST(interrupt_remapping, reserved_bits_of_the_request) {
  bench b;
  b.put(5, remapped_entry());
  EXPECT_EQ(b.send(remappable_msi(5, 0)).step, remapping_step::remaps);
  for (unsigned i = 16; i < 32; ++i) {
    const auto o = b.send({remappable_msi(5, 0).address, 1U << i});
    EXPECT_EQ(o.step, remapping_step::reserved_in_request) << i;
    EXPECT_EQ(o.reason(), 0x20);
    EXPECT_TRUE(o.recorded);
  }
  EXPECT_EQ(b.send({remappable_msi(5).address, 0xFFFFFFFF}).step, remapping_step::remaps)
      << "ignored without subhandle";
}

TEST(interrupt_remapping, the_last_index_of_every_size) {
  for (std::uint8_t size = 0; size < 16; ++size) {
    bench b;
    b.table.size = size;
    const std::uint32_t last = b.table.entries() - 1;
    b.put(last, remapped_entry());
    EXPECT_EQ(b.send(remappable_msi(static_cast<std::uint16_t>(last))).step, remapping_step::remaps);
    EXPECT_EQ(b.send(remappable_msi(static_cast<std::uint16_t>(last), 0)).index, last);
    const auto o = b.send(remappable_msi(static_cast<std::uint16_t>(last), 1));
    EXPECT_EQ(o.step, remapping_step::index_beyond_table) << "handle and subhandle together";
    EXPECT_EQ(o.reason(), 0x21);
    EXPECT_TRUE(o.recorded);
  }
}

TEST(interrupt_remapping, subhandles_pick_neighbours) {
  bench b;
  for (std::uint32_t i = 0; i < 4; ++i) {
    remapping_entry e = remapped_entry();
    e.vector = static_cast<std::uint8_t>(0x60 + i);
    b.put(8 + i, e);
  }
  for (std::uint16_t i = 0; i < 4; ++i) EXPECT_EQ(b.send(remappable_msi(8, i)).command->vector, 0x60 + i);
}

TEST(interrupt_remapping, a_table_beyond_the_address_width) {
  bench b;
  b.table.physical_address_width = 40;
  b.table.address = (std::uint64_t{1} << 40) - 4096;
  b.table.size = 15;
  EXPECT_EQ(b.send(remappable_msi(255)).step, remapping_step::not_present) << "the last entry that can be reached";
  const auto o = b.send(remappable_msi(256));
  EXPECT_EQ(o.step, remapping_step::table_unreachable);
  EXPECT_EQ(o.reason(), 0x23);
}

TEST(interrupt_remapping, not_present) {
  bench b;
  remapping_entry e = remapped_entry();
  e.present = false;
  b.put(3, e);
  const auto o = b.send(remappable_msi(3));
  EXPECT_EQ(o.step, remapping_step::not_present);
  EXPECT_EQ(o.reason(), 0x22);
  EXPECT_FALSE(o.command);
  b.put(3, remapping_entry_bits{~std::uint64_t{1}, ~std::uint64_t{0}});
  EXPECT_EQ(b.send(remappable_msi(3)).step, remapping_step::not_present) << "before anything else is looked at";
}

TEST(interrupt_remapping, every_reserved_bit_of_an_entry) {
  const auto expected_reserved = [](bool posted, bool x2apic, unsigned i) {
    if (posted) return (i >= 2 && i <= 7) || i == 12 || i == 13 || (i >= 24 && i <= 37) || (i >= 84 && i <= 95);
    if ((i >= 12 && i <= 14) || (i >= 24 && i <= 31) || i >= 84) return true;
    return !x2apic && ((i >= 32 && i <= 39) || (i >= 48 && i <= 63));
  };
  for (const bool posted : {false, true})
    for (const bool x2apic : {false, true})
      for (unsigned i = 0; i < 128; ++i) {
        bench b;
        b.table.x2apic = x2apic;
        remapping_entry_bits bits = encode(posted ? posted_entry() : xapic_entry());
        if (!posted && x2apic) bits = encode(remapped_entry());
        std::uint64_t& half = i < 64 ? bits.low : bits.high;
        if ((half >> i % 64 & 1) != 0) continue;
        half |= std::uint64_t{1} << i % 64;
        if (i == 15) continue;  // the format
        b.put(1, bits);
        const auto o = b.send(remappable_msi(1));
        EXPECT_EQ(o.step == remapping_step::reserved_in_entry, expected_reserved(posted, x2apic, i))
            << posted << x2apic << " bit " << i << ": " << rule_of(o.step).name;
        if (o.step == remapping_step::reserved_in_entry) EXPECT_EQ(o.reason(), 0x24);
      }
}

TEST(interrupt_remapping, reserved_values_of_an_entry) {
  for (unsigned mode = 0; mode < 8; ++mode) {
    bench b;
    remapping_entry e = remapped_entry();
    e.mode = static_cast<delivery_mode>(mode);
    b.put(0, e);
    EXPECT_EQ(b.send(remappable_msi(0)).step == remapping_step::reserved_in_entry, mode == 3 || mode == 6) << mode;
  }
  for (const bool posted : {false, true}) {
    bench b;
    remapping_entry e = posted ? posted_entry() : remapped_entry();
    e.validation = source_validation::reserved;
    b.put(0, e);
    EXPECT_EQ(b.send(remappable_msi(0)).step, remapping_step::reserved_in_entry);
  }
}

// Every requester against every qualifier, restated bit by bit.
TEST(interrupt_remapping, source_qualifiers) {
  remapping_entry e = remapped_entry();
  e.validation = source_validation::requester;
  e.source = 0x5AA5;
  for (unsigned sq = 0; sq < 4; ++sq)
    for (unsigned from = 0; from < 0x10000; ++from) {
      e.qualifier = static_cast<std::uint8_t>(sq);
      bool same = true;
      for (unsigned i = 0; i < 16; ++i) {
        const bool ignored = (i == 2 && sq >= 1) || (i == 1 && sq >= 2) || (i == 0 && sq == 3);
        if (!ignored && (from >> i & 1) != (0x5AA5u >> i & 1)) same = false;
      }
      ASSERT_EQ(source_allowed(e, static_cast<requester_id>(from)), same) << sq << " " << from;
    }
}

TEST(interrupt_remapping, source_bus_range) {
  remapping_entry e = remapped_entry();
  e.validation = source_validation::bus;
  e.source = 0x1020;
  for (unsigned bus = 0; bus < 256; ++bus)
    for (unsigned function : {0u, 0xFFu})
      EXPECT_EQ(source_allowed(e, static_cast<requester_id>(bus << 8 | function)), bus >= 0x10 && bus <= 0x20) << bus;
  e.source = 0x2010;
  for (unsigned bus = 0; bus < 256; ++bus)
    EXPECT_FALSE(source_allowed(e, static_cast<requester_id>(bus << 8))) << "an empty range";
}

TEST(interrupt_remapping, wrong_source) {
  for (const bool posted : {false, true}) {
    bench b;
    remapping_entry e = posted ? posted_entry() : remapped_entry();
    e.validation = source_validation::requester;
    e.source = device;
    b.put(0, e);
    EXPECT_NE(b.send(remappable_msi(0)).result(), remapping_result::fault);
    const auto o = b.send(remappable_msi(0), device + 1);
    EXPECT_EQ(o.step, remapping_step::wrong_source);
    EXPECT_EQ(o.reason(), 0x26);
    EXPECT_EQ(is_posted(b.memory, descriptor_at, 0x51), posted) << "by the first one only";
  }
}

TEST(interrupt_remapping, a_descriptor_beyond_the_address_width) {
  bench b;
  b.table.physical_address_width = 40;
  remapping_entry e = posted_entry();
  e.descriptor = (std::uint64_t{1} << 40) - 64;
  b.put(0, e);
  EXPECT_EQ(b.send(remappable_msi(0)).step, remapping_step::posts);
  e.descriptor = std::uint64_t{1} << 40;
  b.put(0, e);
  const auto o = b.send(remappable_msi(0));
  EXPECT_EQ(o.step, remapping_step::descriptor_unreachable);
  EXPECT_EQ(o.reason(), 0x27);
}

TEST(interrupt_remapping, every_reserved_bit_of_a_descriptor) {
  for (unsigned i = 0; i < 64; ++i) {
    bench b;
    b.put(0, posted_entry());
    b.memory.write(descriptor_at + pid::information, std::uint64_t{1} << i);
    const bool reserved = (i >= 2 && i <= 15) || (i >= 24 && i <= 31);
    const auto o = b.send(remappable_msi(0));
    EXPECT_EQ(o.step, reserved ? remapping_step::reserved_in_descriptor : remapping_step::posts) << i;
    EXPECT_EQ(is_posted(b.memory, descriptor_at, 0x51), !reserved) << "nothing is posted";
    if (reserved) EXPECT_EQ(o.reason(), 0x28);
  }
}

TEST(interrupt_remapping, fault_processing_disable_hides_the_faults_it_qualifies) {
  struct one {
    remapping_step step;
    remapping_entry entry;
  };
  std::vector<one> all;
  remapping_entry e = remapped_entry();
  e.present = false;
  all.push_back({remapping_step::not_present, e});
  e = remapped_entry();
  e.mode = delivery_mode::startup;
  all.push_back({remapping_step::reserved_in_entry, e});
  e = remapped_entry();
  e.validation = source_validation::requester;
  all.push_back({remapping_step::wrong_source, e});
  e = posted_entry();
  e.descriptor = std::uint64_t{1} << 46;
  all.push_back({remapping_step::descriptor_unreachable, e});
  e = posted_entry();
  e.descriptor = 0x30000;
  all.push_back({remapping_step::reserved_in_descriptor, e});
  for (one& o : all)
    for (const bool disabled : {false, true}) {
      bench b;
      b.memory.write(physical_address{0x30000} + pid::information, std::uint64_t{4});
      o.entry.fault_processing_disabled = disabled;
      b.put(0, o.entry);
      const auto r = b.send(remappable_msi(0));
      EXPECT_EQ(r.step, o.step);
      EXPECT_EQ(r.result(), remapping_result::fault) << "hidden, but a fault";
      EXPECT_EQ(r.recorded, !disabled);
    }
}

TEST(interrupt_remapping, remaps_to_any_command) {
  for (const bool x2apic : {false, true})
    for (const auto to : {destination_mode::physical, destination_mode::logical})
      for (const auto mode : {delivery_mode::fixed, delivery_mode::lowest_priority, delivery_mode::smi,
                              delivery_mode::nmi, delivery_mode::init, delivery_mode::ext_int})
        for (const bool hint : {false, true})
          for (const bool level : {false, true}) {
            bench b;
            b.table.x2apic = x2apic;
            remapping_entry e = x2apic ? remapped_entry() : xapic_entry();
            e.to = to;
            e.mode = mode;
            e.redirection_hint = hint;
            e.level = level;
            b.put(0, e);
            const auto o = b.send(remappable_msi(0));
            ASSERT_EQ(o.step, remapping_step::remaps);
            ASSERT_TRUE(o.command);
            EXPECT_EQ(o.command->vector, 0x41);
            EXPECT_EQ(o.command->to, to);
            EXPECT_EQ(o.command->mode, hint && mode == delivery_mode::fixed ? delivery_mode::lowest_priority : mode);
            EXPECT_EQ(o.command->level_triggered, level);
            EXPECT_TRUE(o.command->assert_level);
            EXPECT_EQ(o.command->destination, x2apic ? 0x12345678u : 5u);
            EXPECT_EQ(o.interrupt(x2apic), o.command);
          }
}

TEST(interrupt_remapping, broadcast_destinations) {
  bench b;
  remapping_entry e = remapped_entry();
  e.destination = 0xFFFFFFFF;
  b.put(0, e);
  EXPECT_EQ(b.send(remappable_msi(0)).command->destination, broadcast_destination);
  b.table.x2apic = false;
  e.destination = 0xFF00;
  b.put(0, e);
  EXPECT_EQ(b.send(remappable_msi(0)).command->destination, broadcast_destination);
  e.to = destination_mode::logical;
  b.put(0, e);
  EXPECT_EQ(b.send(remappable_msi(0)).command->destination, 0xFFu) << "a mask";
}

// ON, SN and URG, all of them.
TEST(interrupt_remapping, posting_notifies_unless_outstanding_or_suppressed_and_urgency_ignores_suppression) {
  for (const bool on : {false, true})
    for (const bool sn : {false, true})
      for (const bool urgent : {false, true}) {
        bench b;
        remapping_entry e = posted_entry();
        e.urgent = urgent;
        b.put(0, e);
        b.information({on, sn, 0xF2, 0x12345678});
        const auto o = b.send(remappable_msi(0));
        EXPECT_EQ(o.step, remapping_step::posts);
        EXPECT_TRUE(is_posted(b.memory, descriptor_at, 0x51));
        const bool notifies = !on && (urgent || !sn);
        ASSERT_EQ(o.notify.has_value(), notifies) << on << sn << urgent;
        EXPECT_EQ((b.information() & pid::on) != 0, on || notifies);
        EXPECT_EQ((b.information() & pid::sn) != 0, sn);
        if (!notifies) {
          EXPECT_FALSE(o.interrupt(true));
          continue;
        }
        const auto c = o.interrupt(true);
        EXPECT_EQ(c->vector, 0xF2);
        EXPECT_EQ(c->destination, 0x12345678u);
        EXPECT_EQ(c->mode, delivery_mode::fixed);
        EXPECT_EQ(o.interrupt(false)->destination, 0x56u) << "xAPIC: bits 15:8";
      }
}

TEST(interrupt_remapping, posting_merges) {
  bench b;
  b.put(0, posted_entry());
  remapping_entry other = posted_entry();
  other.vector = 0xFE;
  b.put(1, other);
  EXPECT_TRUE(b.send(remappable_msi(0)).notify);
  EXPECT_FALSE(b.send(remappable_msi(0)).notify) << "ON";
  EXPECT_FALSE(b.send(remappable_msi(1)).notify);
  EXPECT_TRUE(is_posted(b.memory, descriptor_at, 0x51));
  EXPECT_TRUE(is_posted(b.memory, descriptor_at, 0xFE));
}

TEST(interrupt_remapping, deciding_writes_nothing) {
  bench b;
  b.put(0, posted_entry());
  const remapping_decision d = decide(b.table, b.memory, remappable_msi(0), device);
  EXPECT_EQ(d.step, remapping_step::posts);
  EXPECT_EQ(d.entry.descriptor, descriptor_at);
  EXPECT_FALSE(any_posted(b.memory, descriptor_at));
  EXPECT_EQ(b.information(), 0u);
}

// The example of the room's page.
std::optional<interrupt_command> of_the_readme(physical_memory& memory) {
  remapping_table example;
  example.address = 0x90000;
  remapping_entry entry;
  entry.present = true;
  entry.posted = true;
  entry.vector = 0x41;
  entry.descriptor = 0xA0000;
  entry.validation = source_validation::requester;
  entry.source = 0x0208;
  write_entry(memory, example, 5, entry);
  const remapping_outcome outcome = remap(example, memory, remappable_msi(5), 0x0208);
  EXPECT_EQ(outcome.result(), remapping_result::posts);
  return outcome.interrupt(example.x2apic);
}

TEST(interrupt_remapping, example_of_the_readme) {
  vmx::test::flat_memory memory;
  write_descriptor_info(memory, 0xA0000, {false, false, 0xF2, 3});
  const auto command = of_the_readme(memory);
  ASSERT_TRUE(command);
  EXPECT_EQ(command->vector, 0xF2);
  EXPECT_EQ(command->destination, 3u);
  EXPECT_TRUE(is_posted(memory, 0xA0000, 0x41));
}

// The order of the rows, from random entries: the first reason found by an independent list of tests.
TEST(interrupt_remapping, random_requests_against_the_specification_read_again) {
  vmxsys::testing::random_numbers next{2024};
  bench b;
  std::array<unsigned, remapping_step_count> seen{};
  for (unsigned n = 0; n < 200'000; ++n) {
    b.table.enabled = next() % 16 != 0;
    b.table.x2apic = next() % 2 == 0;
    b.table.compatibility = next() % 2 == 0;
    b.table.size = static_cast<std::uint8_t>(next() % 4);
    b.table.physical_address_width = next() % 8 == 0 ? 12 : 46;
    remapping_entry e = next() % 2 == 0 ? posted_entry() : remapped_entry();
    if (!e.posted && !b.table.x2apic) e = xapic_entry();
    e.present = next() % 8 != 0;
    e.fault_processing_disabled = next() % 4 == 0;
    e.validation = static_cast<source_validation>(next() % 4);
    e.source = next() % 2 == 0 ? device : requester_id{0x0204};
    e.qualifier = next() % 4;
    e.urgent = next() % 2 == 0;
    if (next() % 8 == 0) e.mode = static_cast<delivery_mode>(next() % 8);
    if (next() % 8 == 0) e.descriptor |= std::uint64_t{1} << 46;
    remapping_entry_bits bits = encode(e);
    if (next() % 8 == 0) (next() % 2 == 0 ? bits.low : bits.high) ^= std::uint64_t{1} << next() % 64;
    const auto handle = static_cast<std::uint16_t>(next() % 20);
    const bool reserved_information = next() % 8 == 0;
    const std::uint64_t before = next() % 4 | std::uint64_t{0xF2} << 16 | (reserved_information ? 0x8000 : 0);
    msi m = next() % 2 == 0 ? remappable_msi(handle) : remappable_msi(handle, static_cast<std::uint16_t>(next() % 20));
    if (next() % 8 == 0) m.data |= std::uint32_t{1} << next() % 32;
    if (next() % 8 == 0) m.address &= ~std::uint64_t{0x10};
    const std::uint32_t index = static_cast<std::uint32_t>((m.address >> 5 & 0x7FFF) | (m.address >> 2 & 1) << 15) +
                                ((m.address & 8) != 0 ? m.data & 0xFFFF : 0);
    const std::uint32_t entries = 1U << (b.table.size + 1);
    if (index < entries) b.put(index, bits);
    b.memory.write(descriptor_at + pid::information, before);
    for (unsigned w = 0; w < 4; ++w) b.memory.write(pid::pir_word(descriptor_at, w), std::uint64_t{0});

    const auto field = [&](unsigned high, unsigned low) {
      const std::uint64_t word = low >= 64 ? bits.high : bits.low;
      return word >> low % 64 & ((std::uint64_t{2} << (high - low)) - 1);
    };
    unsigned reason = 0;
    bool posts = false, passes = false, hidden = false;
    const bool posted = field(15, 15) != 0;
    const std::uint64_t svt = field(83, 82), sid = field(79, 64), dlm = field(7, 5);
    const std::uint64_t pda = field(63, 38) << 6 | field(127, 96) << 32;
    static constexpr unsigned kept[] = {0xFFFF, 0xFFFB, 0xFFF9, 0xFFF8};
    if (!b.table.enabled)
      passes = true;
    else if ((m.address & 0x10) == 0) {
      if (b.table.x2apic || !b.table.compatibility)
        reason = 0x25;
      else
        passes = true;
    } else if ((m.address & 8) != 0 && m.data >> 16 != 0)
      reason = 0x20;
    else if (index >= entries)
      reason = 0x21;
    else if (b.table.physical_address_width == 12)
      reason = 0x23;
    else {
      hidden = field(1, 1) != 0;
      if (field(0, 0) == 0)
        reason = 0x22;
      else if (svt == 3 ||
               (posted ? field(7, 2) | field(13, 12) | field(37, 24) | field(95, 84)
                       : field(14, 12) | field(31, 24) | field(127, 84) |
                             (b.table.x2apic ? 0 : field(39, 32) | field(63, 48))) != 0 ||
               (!posted && (dlm == 3 || dlm == 6)))
        reason = 0x24;
      else if (svt == 1 && ((sid ^ device) & kept[field(81, 80)]) != 0)
        reason = 0x26;
      else if (svt == 2 && (device >> 8 < sid >> 8 || device >> 8 > (sid & 0xFF)))
        reason = 0x26;
      else if (posted && pda >> 46 != 0)
        reason = 0x27;
      else if (posted && pda == descriptor_at && reserved_information)
        reason = 0x28;
      else
        posts = posted;
    }
    const auto o = b.send(m);
    ++seen[static_cast<std::size_t>(o.step)];
    ASSERT_EQ(o.reason(), reason) << rule_of(o.step).name;
    ASSERT_EQ(o.recorded, reason != 0 && !hidden);
    ASSERT_EQ(o.result() == remapping_result::posts, posts);
    ASSERT_EQ(o.result() == remapping_result::passes, passes);
    if (posts && pda == descriptor_at) {
      ASSERT_TRUE(is_posted(b.memory, descriptor_at, static_cast<std::uint8_t>(field(23, 16))));
      ASSERT_EQ(o.notify.has_value(), (before & 1) == 0 && ((before & 2) == 0 || field(14, 14) != 0));
    } else if (!posts) {
      ASSERT_FALSE(any_posted(b.memory, descriptor_at));
      ASSERT_EQ(b.information(), before);
    }
  }
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_GT(seen[i], 100u) << remapping_rules[i].name;
}

TEST(interrupt_remapping, the_table_is_in_the_order_of_its_steps) {
  for (std::size_t i = 0; i < remapping_rules.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(remapping_rules[i].step), i);
    EXPECT_EQ(remapping_rules[i].result == remapping_result::fault, remapping_rules[i].reason != 0);
  }
}

TEST(interrupt_remapping, every_row_names_its_tests) {
  std::vector<std::string> rows;
  for (const remapping_rule& rule : remapping_rules) rows.emplace_back(rule.name);
  const auto of = [](remapping_step s) { return std::string{rule_of(s).name}; };
  using step = remapping_step;
  const std::string suite = "interrupt_remapping.";
  testing_rows::expect_rows_tested(
      rows,
      {{of(step::disabled), suite + "disabled_passes_the_compatibility_format"},
       {of(step::compatibility_blocked), suite + "compatibility_format_is_blocked_in_x2apic_mode_and_unless_allowed"},
       {of(step::compatibility), suite + "compatibility_format_is_blocked_in_x2apic_mode_and_unless_allowed"},
       {of(step::reserved_in_request), suite + "reserved_bits_of_the_request"},
       {of(step::index_beyond_table), suite + "the_last_index_of_every_size"},
       {of(step::table_unreachable), suite + "a_table_beyond_the_address_width"},
       {of(step::not_present), suite + "not_present"},
       {of(step::reserved_in_entry), suite + "every_reserved_bit_of_an_entry"},
       {of(step::reserved_in_entry), suite + "reserved_values_of_an_entry"},
       {of(step::wrong_source), suite + "wrong_source"},
       {of(step::wrong_source), suite + "source_qualifiers"},
       {of(step::wrong_source), suite + "source_bus_range"},
       {of(step::descriptor_unreachable), suite + "a_descriptor_beyond_the_address_width"},
       {of(step::reserved_in_descriptor), suite + "every_reserved_bit_of_a_descriptor"},
       {of(step::posts), suite + "posting_notifies_unless_outstanding_or_suppressed_and_urgency_ignores_suppression"},
       {of(step::posts), suite + "posting_merges"},
       {of(step::remaps), suite + "remaps_to_any_command"},
       {of(step::remaps), suite + "broadcast_destinations"}});
}

}  // namespace
