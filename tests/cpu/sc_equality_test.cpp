#include <gtest/gtest.h>

#include "sc_storm.hpp"

// The same machine bare, in lock-step and ahead of the kernel states the same facts.
namespace vmxsys::cpu::testing {
namespace {

constexpr std::uint64_t us = 1'000'000;
constexpr std::uint64_t ms = 1'000'000'000;

struct variant {
  std::uint64_t quantum_ps;
  std::uint64_t slice_ps;
};
constexpr variant variants[] = {{0, 0},          {us, 0},          {ms, 0},          {333'333, 0},
                                {0, 12'345'679}, {us, 12'345'679}, {ms, 77'777'777}, {ms, 1'000'001}};

void expect_equal_for_every_quantum(storm_options o, const result& reference) {
  for (const variant& v : variants) {
    o.quantum_ps = v.quantum_ps;
    o.slice_ps = v.slice_ps;
    const result r = in_child([&] { return run_under_systemc(o); });
    EXPECT_GT(r.ok, 0u);
    EXPECT_EQ(r, reference) << "quantum " << v.quantum_ps << " ps, slices of " << v.slice_ps << " ps";
  }
}

TEST(sc_equality, bare_and_systemc_alone) {
  const storm_options o;
  const result bare = run_bare(o);
  EXPECT_GT(bare.facts, 1000u);
  expect_equal_for_every_quantum(o, bare);
}

TEST(sc_equality, bare_and_systemc_with_a_foreign_thread) {
  storm_options o;
  const result quiet = run_bare(o);
  o.with_foreign = true;
  const result bare = run_bare(o);
  EXPECT_FALSE(bare == quiet);
  EXPECT_NE(bare.looks, 0u);
  expect_equal_for_every_quantum(o, bare);
}

TEST(sc_equality, stepped_under_systemc_is_fast_bare) {
  storm_options o;
  o.until_ps = 100 * us;
  o.with_foreign = true;
  const result bare = run_bare(o);
  o.stepped = true;
  for (std::uint64_t quantum : {std::uint64_t{0}, us}) {
    o.quantum_ps = quantum;
    EXPECT_EQ(in_child([&] { return run_under_systemc(o); }), bare) << quantum;
  }
}

TEST(sc_equality, transactions_to_a_target_that_waits) {
  storm_options o;
  o.with_device = true;
  const result lock_step = in_child([&] { return run_under_systemc(o); });
  EXPECT_GT(lock_step.ok, 100u) << "transactions";
  expect_equal_for_every_quantum(o, lock_step);
}

TEST(sc_equality, transactions_and_a_foreign_thread) {
  storm_options o;
  o.with_device = true;
  o.with_foreign = true;
  const result lock_step = in_child([&] { return run_under_systemc(o); });
  EXPECT_GT(lock_step.ok, 100u) << "transactions";
  expect_equal_for_every_quantum(o, lock_step);
}

TEST(sc_equality, ended_at_any_instant) {
  storm_options o;
  o.with_device = true;
  o.with_foreign = true;
  generator next{3};
  for (int i = 0; i < 40; ++i) {
    o.until_ps = 1 + next() % (20 * us);
    o.quantum_ps = i % 2 == 0 ? 0 : us;
    EXPECT_GT(in_child([&] {
                result r = run_under_systemc(o);
                r.ok = 1;
                return r;
              }).ok,
              0u)
        << o.until_ps;
  }
}

}  // namespace
}  // namespace vmxsys::cpu::testing
