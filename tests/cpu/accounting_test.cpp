#include <gtest/gtest.h>

#include "rig.hpp"

namespace vmxsys::cpu {

/// The way into the books, for tests that cook them.
struct accounting_access {
  static cycles& total(accounting& a, vmx_operation op, bucket b) {
    return a.totals_[static_cast<std::size_t>(op)][static_cast<std::size_t>(b)];
  }
  static cycles& since(accounting& a) { return a.since_; }
};

namespace testing {
namespace {

TEST(accounting, every_cycle_is_in_the_bucket_that_was_open) {
  accounting a;
  EXPECT_EQ(a.open_bucket(), bucket::wait_for_sipi);
  a.enter(cycles{10}, vmx_operation::root, bucket::kernel);
  a.enter(cycles{10}, vmx_operation::non_root, bucket::user);
  a.enter(cycles{25}, vmx_operation::root, bucket::spin);
  a.close_spin(cycles{125}, cycles{40});
  a.close(cycles{130});
  EXPECT_EQ(a.total(vmx_operation::root, bucket::wait_for_sipi), cycles{10});
  EXPECT_EQ(a.total(vmx_operation::root, bucket::kernel), cycles{0});
  EXPECT_EQ(a.total(vmx_operation::non_root, bucket::user), cycles{15});
  EXPECT_EQ(a.total(vmx_operation::root, bucket::spin), cycles{65});
  EXPECT_EQ(a.total(vmx_operation::root, bucket::spin_futile), cycles{40});
  EXPECT_EQ(a.sum(), cycles{130});
  EXPECT_NO_THROW(a.check(cycles{130}, 0));
}

TEST(accounting, every_bucket_has_a_name) {
  EXPECT_STREQ(bucket_name(bucket::user), "user");
  EXPECT_STREQ(bucket_name(bucket::spin_futile), "spin futile");
  EXPECT_STREQ(bucket_name(bucket::handle_timer), "handle timer");
  EXPECT_STREQ(bucket_name(bucket::wait_for_sipi), "wait for SIPI");
}

struct broken_books : ::testing::Test {
  rig r{bare_config(3)};
  void SetUp() override {
    for (unsigned cpu = 0; cpu < 3; ++cpu) r.run(cpu, rig::sleep);
    r.hw.run_until(cycles{777});
    r.hw.check_accounting();
    r.hw.run_until(cycles{1234});
  }
  std::string message() {
    try {
      r.hw.check_accounting();
    } catch (const invariant_error& e) {
      EXPECT_EQ(e.at(), cycles{1234});
      return e.what();
    }
    return "";
  }
};

TEST_F(broken_books, a_cycle_too_many_or_too_few_names_the_cpu_and_the_cycle) {
  cycles& kernel = accounting_access::total(r.hw.cpu(2).account(), vmx_operation::root, bucket::kernel);
  kernel += cycles{1};
  EXPECT_EQ(message(), "accounting of CPU 2 does not close: buckets hold 1235 cycles of 1234 (cycle 1234)");
  kernel -= cycles{2};
  EXPECT_EQ(message(), "accounting of CPU 2 does not close: buckets hold 1233 cycles of 1234 (cycle 1234)");
  kernel += cycles{1};
  EXPECT_EQ(message(), "");
}

TEST_F(broken_books, that_do_not_reach_the_present_are_found) {
  accounting& a = r.hw.cpu(1).account();
  r.hw.check_accounting();
  accounting_access::since(a) = cycles{1000};
  try {
    a.check(cycles{1234}, 1);
    FAIL();
  } catch (const invariant_error& e) {
    EXPECT_STREQ(e.what(), "accounting of CPU 1 reaches to cycle 1000, not to the end of the run (cycle 1234)");
  }
}

// The truth about a spin comes from whoever switches strands; here it is told again by a lock holder's own diary.
TEST(accounting, futile_spinning_is_what_passes_while_the_holder_is_switched_out) {
  for (const bool stepped : {false, true})
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      random_numbers next{seed};
      rig r{bare_config(3, stepped)};
      word& w = r.hw.physical().word_at(0x20'0000);
      w.initialise(1);
      spin_subject subject;
      std::vector<std::pair<std::uint64_t, bool>> diary;  // (cycle, the holder is on a CPU from here on)
      strand* holder = nullptr;
      strand* other = nullptr;
      const auto away = [&](strand& to) -> program {  // the holder's kernel
        const std::uint64_t left = r.now().count() + 20;
        diary.emplace_back(left, false);
        co_await isa::switch_to(to);
        diary.emplace_back(r.now().count(), true);
      };
      other = &r.make("other", [&]() -> program {
        for (;;) {
          co_await isa::compute(cycles{next.between(1, 3000)});
          co_await isa::switch_to(*holder);
        }
      });
      const std::uint64_t turns = next.between(1, 8);
      holder = &r.run(0, [&]() -> program {
        subject.await(holder, r.now());
        diary.emplace_back(0, true);
        for (std::uint64_t i = 0; i < turns; ++i) {
          co_await isa::compute(cycles{next.between(1, 3000)});
          co_await away(*other);
        }
        co_await isa::store(w, 0);
        co_await rig::sleep();
      });
      std::uint64_t begin[3] = {}, end[3] = {};
      for (unsigned cpu : {1u, 2u})
        r.run(cpu, [&, cpu]() -> program {
          co_await isa::compute(cycles{next.between(1, 2000)});
          begin[cpu] = r.now().count();
          co_await isa::spin_while(w, spin_predicate::while_equal(1), test_spin, &subject);
          end[cpu] = r.now().count();
          co_await rig::sleep();
        });
      for (std::uint64_t at = 1000; at < 60'000; at += next.between(1, 9000)) {
        r.hw.run_until(cycles{at});
        r.hw.check_accounting();  // closing the books in the middle must not change them
      }
      r.hw.run_until(cycles{60'000});
      r.hw.check_accounting();
      for (unsigned cpu : {1u, 2u}) {
        ASSERT_GT(end[cpu], begin[cpu]);
        std::uint64_t futile = 0;
        for (std::uint64_t c = begin[cpu]; c < end[cpu]; ++c) {
          bool on = false;
          for (const auto& [at, state] : diary)
            if (at <= c) on = state;
          futile += !on;
        }
        const accounting& a = r.hw.cpu(cpu).account();
        EXPECT_EQ(a.total(vmx_operation::root, bucket::spin_futile).count(), futile)
            << "seed " << seed << ", CPU " << cpu;
        EXPECT_EQ(a.total(vmx_operation::root, bucket::spin).count(), end[cpu] - begin[cpu] - futile);
      }
      std::uint64_t stated_futile = 0;
      for (const auto& s : r.log.of<spin_fact>()) stated_futile += s->futile.count();
      EXPECT_EQ(stated_futile, r.hw.cpu(1).account().total(vmx_operation::root, bucket::spin_futile).count() +
                                   r.hw.cpu(2).account().total(vmx_operation::root, bucket::spin_futile).count());
    }
}

}  // namespace
}  // namespace testing
}  // namespace vmxsys::cpu
