#include <gtest/gtest.h>
#include <set>

#include "rig.hpp"

namespace vmxsys::cpu::testing {
namespace {

struct three_fields {
  static constexpr const char* fact_name = "three_fields";
  std::uint64_t a;
  std::uint8_t b;
  cycles c;
};
BOOST_DESCRIBE_STRUCT(three_fields, (), (a, b, c))

struct other_name {
  static constexpr const char* fact_name = "other_name";
  std::uint64_t a;
  std::uint8_t b;
  cycles c;
};
BOOST_DESCRIBE_STRUCT(other_name, (), (a, b, c))

struct bus_with_hash {
  bus_with_hash() {
    for (int i = 0; i < 3; ++i) bus.add_source();
    bus.attach(hash);
  }
  fact_bus bus;
  fact_hash hash;
};

TEST(fact_hash, sources_may_interleave_in_any_way) {
  random_numbers next{3};
  std::set<std::uint64_t> values;
  for (int round = 0; round < 50; ++round) {
    bus_with_hash b;
    unsigned left[3] = {0, 0, 0};
    while (left[0] + left[1] + left[2] < 30) {
      const auto source = static_cast<std::uint32_t>(next.below(3));
      if (left[source] == 10) continue;
      const std::uint64_t n = ++left[source];
      b.bus.record(source, cycles{100 * n}, three_fields{n * source, 7, cycles{n}});
    }
    values.insert(b.hash.value());
    EXPECT_EQ(b.hash.count(), 30u);
  }
  EXPECT_EQ(values.size(), 1u);
}

TEST(fact_hash, every_part_of_a_fact_counts) {
  struct variant {
    std::uint32_t source = 1;
    cycles at{10};
    three_fields fact{1, 2, cycles{3}};
    fact_id cause{0, 4};
    bool renamed = false;
    bool twice = false;
  };
  const auto hash = [](const variant& v) {
    bus_with_hash b;
    for (int i = 0; i < (v.twice ? 2 : 1); ++i) {
      if (v.renamed)
        b.bus.record(v.source, v.at, other_name{v.fact.a, v.fact.b, v.fact.c}, v.cause);
      else
        b.bus.record(v.source, v.at, v.fact, v.cause);
    }
    return b.hash.value();
  };
  std::vector<variant> variants(11);
  variants[1].source = 2;
  variants[2].at = cycles{11};
  variants[3].fact.a = 0;
  variants[4].fact.b = 3;
  variants[5].fact.c = cycles{4};
  variants[6].cause = {0, 5};
  variants[7].cause = {1, 4};
  variants[8].cause = {};
  variants[9].renamed = true;
  variants[10].twice = true;
  std::set<std::uint64_t> seen;
  for (const variant& v : variants) seen.insert(hash(v));
  EXPECT_EQ(seen.size(), variants.size());
  EXPECT_EQ(hash(variants[0]), hash(variant{}));
}

TEST(fact_hash, order_within_a_source_counts) {
  const auto hash = [](std::uint64_t first, std::uint64_t second) {
    bus_with_hash b;
    b.bus.record(0, cycles{5}, three_fields{first, 0, cycles{0}});
    b.bus.record(0, cycles{5}, three_fields{second, 0, cycles{0}});
    return b.hash.value();
  };
  EXPECT_NE(hash(1, 2), hash(2, 1));
}

TEST(fact_bus, numbers_facts_per_source_and_costs_nothing_unobserved) {
  fact_bus bus;
  bus.add_source();
  bus.add_source();
  EXPECT_FALSE(bus.observed());
  EXPECT_FALSE(bus.record(0, cycles{1}, three_fields{}));
  fact_hash hash;
  bus.attach(hash);
  EXPECT_TRUE(bus.observed());
  EXPECT_EQ(bus.record(1, cycles{1}, three_fields{}), (fact_id{1, 1}));
  EXPECT_EQ(bus.record(0, cycles{1}, three_fields{}), (fact_id{0, 1}));
  EXPECT_EQ(bus.record(1, cycles{1}, three_fields{}), (fact_id{1, 2}));
  bus.detach(hash);
  EXPECT_FALSE(bus.observed());
  EXPECT_EQ(hash.count(), 3u);
}

TEST(facts, describe_themselves) {
  const fact_kind& k = kind_of<vm_exit_fact>;
  EXPECT_STREQ(k.name, "vm_exit");
  ASSERT_EQ(k.field_count, 7u);
  EXPECT_STREQ(k.field_names[1], "reason");
  const vm_exit_fact f{1, vmx::exit_reason::pause, 2, 3, 4, 5, cycles{6}};
  std::uint64_t values[fact_kind::max_fields];
  k.values(&f, values);
  EXPECT_EQ(values[1], 40u);
  EXPECT_EQ(values[6], 6u);
  std::uint64_t state = 77;
  for (std::size_t i = 0; i < k.field_count; ++i) state = detail::hash_step(state, values[i]);
  EXPECT_EQ(k.hash(&f, 77), state) << "the hash goes over the values in their order";
  EXPECT_EQ(k.name_hash, detail::hash_of_name("vm_exit"));
  const fact_header h{cycles{9}, {0, 1}, {}, &k};
  const fact_view v{h, &f};
  EXPECT_EQ(v.as<vm_exit_fact>(), &f);
  EXPECT_EQ(v.as<vm_entry_fact>(), nullptr);
}

// A chain can be read backwards: interrupt <- arrival <- IPI <- interrupt that made the sender send it.
TEST(facts, name_their_causes) {
  rig r{bare_config(2)};
  r.handler = [&](logical_cpu& cpu, std::uint8_t vector) -> program {
    if (cpu.number() == 0 && vector == 0x40) co_await isa::wrmsr(apic::msr::icr, std::uint64_t{1} << 32 | 0x41);
    co_await isa::wrmsr(apic::msr::eoi, 0);
  };
  for (unsigned cpu : {0u, 1u})
    r.run(cpu, []() -> program {
      co_await rig::accept_interrupts();
      co_await rig::sleep();
    });
  r.interrupt(0, cycles{5000}, 0x40);
  r.hw.run_until(cycles{10'000});
  const auto taken = r.log.of<interrupt_fact>();
  const auto came = r.log.of<ipi_arrived_fact>();
  const auto sent = r.log.of<ipi_sent_fact>();
  ASSERT_EQ(taken.size(), 2u);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(taken[1].header.cause, came.back().header.id);
  EXPECT_EQ(came.back().header.cause, sent[0].header.id);
  EXPECT_EQ(sent[0].header.cause, taken[0].header.cause);
  EXPECT_EQ(taken[0].header.cause.source, 0u);
  EXPECT_TRUE(taken[0].header.cause);
}

TEST(facts, are_the_same_without_observers_as_far_as_the_machine_goes) {
  const auto run = [](bool observed) {
    rig r{bare_config(2)};
    if (!observed) {
      r.hw.facts().detach(r.log);
      r.hw.facts().detach(r.hash);
    }
    word& w = r.hw.physical().word_at(0x20'0000);
    for (unsigned cpu : {0u, 1u})
      r.run(cpu, [&]() -> program {
        co_await rig::accept_interrupts();
        for (;;) {
          const std::uint64_t v = co_await isa::fetch_add(w, 1);
          co_await isa::compute(cycles{v % 97 + 1});
          if (v % 50 == 0) co_await isa::wrmsr(apic::msr::icr, (v / 50 % 2) << 32 | 0x41);
        }
      });
    r.hw.run_until(cycles{100'000});
    r.hw.check_accounting();
    return std::pair{w.peek(), r.hw.time().events()};
  };
  EXPECT_EQ(run(true), run(false));
}

}  // namespace
}  // namespace vmxsys::cpu::testing
