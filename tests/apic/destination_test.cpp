#include <gtest/gtest.h>
#include <vector>

#include <vmxsys/apic/local/destination.hpp>

namespace {

using namespace vmxsys::apic;

const std::vector<std::uint32_t> machine{0, 1, 2, 15, 16, 17, 31, 255, 256, 0x1234};

interrupt_command to(destination_mode mode, std::uint32_t destination, shorthand group = shorthand::none) {
  interrupt_command c;
  c.vector = 0x40;
  c.to = mode;
  c.destination = destination;
  c.group = group;
  return c;
}

std::vector<std::uint32_t> receivers(const interrupt_command& command, std::uint32_t sender) {
  std::vector<std::uint32_t> ids;
  for (std::uint32_t id : machine)
    if (addresses(command, sender, id)) ids.push_back(id);
  return ids;
}

TEST(destination, logical_id_is_cluster_and_one_hot_place) {
  struct row {
    std::uint32_t id, logical;
  };
  for (const row& r :
       {row{0, 0x00000001}, row{1, 0x00000002}, row{15, 0x00008000}, row{16, 0x00010001}, row{0x2B, 0x00020800},
        row{255, 0x000F8000}, row{256, 0x00100001}, row{0xFFFFF, 0xFFFF8000}, row{0x100000, 0x00000001}})
    EXPECT_EQ(x2apic_logical_id(r.id), r.logical) << std::hex << r.id;
}

TEST(destination, receivers_of_each_kind) {
  using ids = std::vector<std::uint32_t>;
  const ids all = machine;
  ids others = machine;
  others.erase(others.begin() + 2);
  struct row {
    const char* what;
    interrupt_command command;
    ids expected;
  };
  const auto physical = destination_mode::physical;
  const auto logical = destination_mode::logical;
  const std::uint32_t sender = 2;
  for (const row& r : {
           row{"one", to(physical, 17), {17}},
           row{"oneself", to(physical, 2), {2}},
           row{"the ID that is the xAPIC broadcast is just an ID", to(physical, 255), {255}},
           row{"nobody", to(physical, 3), {}},
           row{"physical broadcast includes the sender", to(physical, broadcast_destination), all},
           row{"logical, two of cluster 0", to(logical, 0x00000005), {0, 2}},
           row{"logical, cluster 1", to(logical, 0x0001FFFF), {16, 17, 31}},
           row{"logical, the right bit in another cluster", to(logical, 0x00020001), {}},
           row{"logical, no bit", to(logical, 0x00010000), {}},
           row{"logical broadcast", to(logical, broadcast_destination), all},
           row{"self beats the destination field", to(physical, 17, shorthand::self), {2}},
           row{"all including self", to(physical, 17, shorthand::all_including_self), all},
           row{"all excluding self", to(logical, 0, shorthand::all_excluding_self), others},
       })
    EXPECT_EQ(receivers(r.command, sender), r.expected) << r.what;
}

TEST(destination, only_target_agrees_with_asking_everyone) {
  std::vector<interrupt_command> commands;
  for (std::uint32_t sender : machine) {
    for (std::uint32_t id : machine) {
      commands.push_back(to(destination_mode::physical, id));
      commands.push_back(to(destination_mode::logical, x2apic_logical_id(id)));
      commands.push_back(to(destination_mode::logical, x2apic_logical_id(id) | 2));
    }
    commands.push_back(to(destination_mode::physical, broadcast_destination));
    commands.push_back(to(destination_mode::logical, broadcast_destination));
    commands.push_back(to(destination_mode::logical, 0x00010000));
    for (shorthand group : {shorthand::self, shorthand::all_including_self, shorthand::all_excluding_self})
      commands.push_back(to(destination_mode::physical, 1, group));
    for (const interrupt_command& c : commands) {
      const auto target = only_target(c, sender);
      if (!target) continue;
      for (std::uint32_t id : machine) EXPECT_EQ(addresses(c, sender, id), id == *target);
    }
  }
  EXPECT_EQ(only_target(to(destination_mode::physical, 17), 2), 17U);
  EXPECT_EQ(only_target(to(destination_mode::logical, 0x00010002), 2), 17U);
  EXPECT_EQ(only_target(to(destination_mode::physical, 17, shorthand::self), 2), 2U);
  EXPECT_FALSE(only_target(to(destination_mode::logical, 0x00010003), 2));
  EXPECT_FALSE(only_target(to(destination_mode::physical, broadcast_destination), 2));
  EXPECT_FALSE(only_target(to(destination_mode::logical, broadcast_destination), 2));
  EXPECT_FALSE(only_target(to(destination_mode::physical, 1, shorthand::all_excluding_self), 2));
}

// xAPIC mode --------------------------------------------------------------------------------------------------------

apic_address xapic(std::uint32_t id, std::uint32_t logical_id, bool flat) {
  return {apic_mode::xapic, id, logical_id, flat, id};
}

TEST(destination, flat_and_cluster_for_every_pair_of_destination_and_ldr) {
  for (unsigned destination = 0; destination < 256; ++destination) {
    const interrupt_command c = decode_xapic_icr(std::uint64_t{destination} << 56 | 0x4840);
    for (unsigned ldr = 0; ldr < 256; ++ldr) {
      bool flat = destination == 255, cluster = destination == 255;
      for (int bit = 0; bit < 8; ++bit)
        if ((destination >> bit) % 2 == 1 && (ldr >> bit) % 2 == 1) {
          flat = true;
          if (bit < 4 && destination / 16 == ldr / 16) cluster = true;
        }
      ASSERT_EQ(addresses(c, 0, xapic(9, ldr, true)), flat) << destination << ' ' << ldr;
      ASSERT_EQ(addresses(c, 0, xapic(9, ldr, false)), cluster) << destination << ' ' << ldr;
    }
  }
}

TEST(destination, physical_xapic_ids_for_every_pair) {
  for (unsigned destination = 0; destination < 256; ++destination) {
    const interrupt_command c = decode_xapic_icr(std::uint64_t{destination} << 56 | 0x4040);
    for (unsigned id = 0; id < 256; ++id)
      ASSERT_EQ(addresses(c, 0, xapic(id, 0, true)), destination == id || destination == 255) << c.destination;
  }
}

TEST(destination, a_disabled_apic_receives_nothing) {
  const apic_address off{apic_mode::disabled, 3, 0x8, true, 3};
  for (shorthand group :
       {shorthand::none, shorthand::self, shorthand::all_including_self, shorthand::all_excluding_self})
    for (destination_mode mode : {destination_mode::physical, destination_mode::logical})
      for (std::uint32_t destination : {3U, 8U, broadcast_destination})
        for (std::uint32_t sender : {3U, 4U}) EXPECT_FALSE(addresses(to(mode, destination, group), sender, off));
}

TEST(destination, shorthands_go_by_what_hardware_gave_not_by_the_xapic_id) {
  const apic_address twin_a{apic_mode::xapic, 7, 0, true, 1}, twin_b{apic_mode::xapic, 7, 0, true, 2};
  const auto physical = destination_mode::physical;
  struct row {
    shorthand group;
    bool a, b;
  };
  for (const row& r : {row{shorthand::self, true, false}, row{shorthand::all_including_self, true, true},
                       row{shorthand::all_excluding_self, false, true}}) {
    EXPECT_EQ(addresses(to(physical, 0, r.group), 1, twin_a), r.a);
    EXPECT_EQ(addresses(to(physical, 0, r.group), 1, twin_b), r.b);
  }
  EXPECT_TRUE(addresses(to(physical, 7), 1, twin_a) && addresses(to(physical, 7), 1, twin_b)) << "one ID reaches both";
}

TEST(destination, every_candidate_reads_the_destination_in_its_own_mode) {
  const apic_address old = xapic(3, 0x08, true);
  const apic_address extended{apic_mode::x2apic, 0x103, x2apic_logical_id(0x103), false, 0x103};
  const auto physical = destination_mode::physical;
  const auto logical = destination_mode::logical;
  struct row {
    interrupt_command command;
    bool old, extended;
  };
  for (const row& r :
       {row{to(physical, 3), true, false}, row{to(physical, 0x103), false, true}, row{to(physical, 0xFF), false, false},
        row{to(physical, broadcast_destination), true, true}, row{to(logical, 0x08), true, false},
        row{to(logical, 0x00100008), false, true}, row{to(logical, broadcast_destination), true, true}}) {
    EXPECT_EQ(addresses(r.command, 0, old), r.old) << std::hex << r.command.destination;
    EXPECT_EQ(addresses(r.command, 0, extended), r.extended) << std::hex << r.command.destination;
  }
}

}  // namespace
