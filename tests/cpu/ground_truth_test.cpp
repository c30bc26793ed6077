#include <gtest/gtest.h>

#include "exits.hpp"

// Which strand is on a CPU: the truth behind futile spinning.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;

// CPU 0 runs two guests in turn and an idle host strand; CPU 1 waits for the first guest.
TEST(ground_truth, a_guest_strand_is_on_a_cpu_while_its_carrier_is_and_carries_it) {
  for (const bool stepped : {false, true}) {
    rig r{bare_config(2, stepped)};
    word& w = r.hw.physical().word_at(0x20'0000);
    spin_subject subject;
    strand* guests[2];
    for (strand*& g : guests)
      g = &r.make(
          "guest",
          []() -> program {
            for (;;) {
              co_await isa::compute(cycles{3000});
              co_await isa::cpuid(0);
            }
          },
          test_guest);
    vmcs_setup setups[2];
    strand* host = nullptr;
    strand& idle = r.make("idle", [&]() -> program {
      for (;;) {
        co_await isa::compute(cycles{1700});
        co_await isa::switch_to(*host);
      }
    });
    host = &r.run(0, [&]() -> program {
      co_await enter_root_operation(r.hw);
      co_await make_vmcs(r.hw, *guests[0], 0x3000, setups[0]);
      co_await make_vmcs(r.hw, *guests[1], 0x4000, setups[1]);
      bool launched[2] = {false, false};
      for (unsigned turn = 0;; ++turn) {
        const unsigned which = turn % 3 == 2 ? 1 : 0;
        co_await isa::vmptrld(which == 0 ? 0x3000 : 0x4000);
        if (launched[which])
          co_await isa::vmresume();
        else
          co_await isa::vmlaunch();
        launched[which] = true;
        co_await isa::vmwrite(field::guest_rip, test_guest.rip() + 2);
        if (turn % 4 == 1) co_await isa::switch_to(idle);
      }
    });
    r.run(1, [&]() -> program {
      co_await isa::compute(cycles{9000 - r.now().count()});
      subject.await(guests[0], r.now());
      co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin, &subject);
      co_await rig::sleep();
    });
    // An observer that only looks at the strands, cycle by cycle.
    std::uint64_t futile = 0, changes = 0;
    bool was = false;
    r.hw.run_until(cycles{9001});
    for (std::uint64_t c = 9001; c <= 60'000; ++c) {
      r.hw.run_until(cycles{c});
      const bool on = guests[0]->on_cpu() != nullptr;
      const strand* active = r.hw.cpu(0).active();
      ASSERT_EQ(on, active == guests[0] || (active == host && host->passenger() == guests[0])) << c;
      if (c % 1000 == 0) r.hw.check_accounting();
      changes += on != was;
      was = on;
      futile += c < 60'000 && !on;
    }
    EXPECT_GT(changes, 10u);
    r.hw.check_accounting();
    // The interval [c, c + 1) counts as the strand stood after cycle c; the spin began in cycle 9000.
    const accounting& a = r.hw.cpu(1).account();
    const std::uint64_t booked = a.total(vmx_operation::root, bucket::spin_futile).count();
    const std::uint64_t useful = a.total(vmx_operation::root, bucket::spin).count();
    EXPECT_EQ(booked + useful, 60'000u - 9000u);
    EXPECT_NEAR(static_cast<double>(booked), static_cast<double>(futile), 2.0);
    EXPECT_GT(futile, 5000u);
    // And the loop's own account of it.
    r.hw.physical().write<std::uint64_t>(0x20'0000, 1);
    r.hw.run_until(cycles{61'000});
    r.hw.check_accounting();
    EXPECT_EQ(r.log.of<spin_fact>().at(0)->futile,
              r.hw.cpu(1).account().total(vmx_operation::root, bucket::spin_futile));
  }
}

TEST(ground_truth, a_subject_without_a_name_counts_as_useful) {
  rig r{bare_config(1)};
  strand& other = r.make("other", rig::sleep);
  spin_subject s;
  EXPECT_EQ(s.running(cycles{100}), cycles{100});
  s.await(&other, cycles{100});
  EXPECT_EQ(s.running(cycles{150}), cycles{100});
  s.await(nullptr, cycles{200});
  EXPECT_EQ(s.running(cycles{250}), cycles{150});
  EXPECT_EQ(s.awaited(), nullptr);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
