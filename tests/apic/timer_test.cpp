#include <gtest/gtest.h>
#include <random>
#include <stdexcept>

#include <vmxsys/apic/local/timer.hpp>

namespace {

using vmxsys::cycles;
using namespace vmxsys::apic;

constexpr std::uint32_t divide_by_1 = 0xB;

struct dice {
  std::mt19937 engine;
  std::uint32_t operator()(std::uint32_t sides) { return static_cast<std::uint32_t>(engine() % sides); }
};

/// Not at c - 1, exactly once at c.
void expect_expiry_at(apic_timer& timer, std::uint64_t c) {
  ASSERT_EQ(timer.next_event(), cycles{c});
  ASSERT_GT(c, 0U);
  EXPECT_EQ(timer.fire(cycles{c - 1}), 0U) << "early at " << c - 1;
  EXPECT_EQ(timer.fire(cycles{c}), 1U) << "missing at " << c;
  EXPECT_EQ(timer.fire(cycles{c}), 0U) << "twice at " << c;
}

apic_timer deadline_timer() {
  apic_timer timer;
  timer.set_mode(timer_mode::tsc_deadline, cycles{0});
  return timer;
}

TEST(apic_timer, unarmed_never_fires) {
  apic_timer timer;
  EXPECT_EQ(timer.next_event(), cycles::never());
  EXPECT_EQ(timer.fire(cycles{1'000'000}), 0U);
  EXPECT_EQ(timer.fire(cycles::never()), 0U);
}

TEST(apic_timer, clock_must_be_legal) {
  EXPECT_THROW(apic_timer({0, 0}), std::invalid_argument);
  EXPECT_THROW(apic_timer({1, 0}), std::invalid_argument);
  EXPECT_THROW(apic_timer({1, 2}), std::invalid_argument) << "faster than the TSC";
  EXPECT_THROW(apic_timer({1U << 31, 1}), std::invalid_argument);
  EXPECT_NO_THROW(apic_timer({(1U << 31) - 1, (1U << 31) - 1}));
}

TEST(apic_timer, divisor_encodings) {
  struct row {
    std::uint32_t code, divisor;
  };
  for (const row& r :
       {row{0x0, 2}, row{0x1, 4}, row{0x2, 8}, row{0x3, 16}, row{0x8, 32}, row{0x9, 64}, row{0xA, 128}, row{0xB, 1}})
    EXPECT_EQ(timer_divisor(r.code), r.divisor) << r.code;
}

TEST(apic_timer, one_shot_and_periodic_at_every_divisor_and_clock) {
  for (timer_clock clock : {timer_clock{1, 1}, timer_clock{100, 1}, timer_clock{7, 3}, timer_clock{1000, 999}})
    for (std::uint32_t code : {0x0U, 0x1U, 0x2U, 0x3U, 0x8U, 0x9U, 0xAU, 0xBU})
      for (std::uint32_t count : {1U, 2U, 10U, 1000U})
        for (timer_mode mode : {timer_mode::one_shot, timer_mode::periodic}) {
          SCOPED_TRACE(testing::Message() << clock.tsc_cycles << '/' << clock.ticks << " code " << code << " count "
                                          << count << " mode " << int(mode));
          const std::uint64_t start = 12345;
          apic_timer timer{clock};
          timer.set_mode(mode, cycles{0});
          timer.set_divide_configuration(code, cycles{0});
          timer.set_initial_count(count, cycles{start});
          const std::uint64_t ticks = std::uint64_t{count} * timer_divisor(code);
          const std::uint64_t laps = mode == timer_mode::periodic ? 7 : 1;
          for (std::uint64_t k = 1; k <= laps; ++k)  // exact: rounded up once, not once per lap
            expect_expiry_at(timer, start + (k * ticks * clock.tsc_cycles + clock.ticks - 1) / clock.ticks);
          if (mode == timer_mode::one_shot) {
            EXPECT_EQ(timer.next_event(), cycles::never());
            EXPECT_EQ(timer.current_count(cycles{start + 1'000'000'000}), 0U);
            EXPECT_EQ(timer.initial_count(), count);
          }
        }
}

TEST(apic_timer, a_late_caller_gets_all_expiries_and_stays_in_step) {
  apic_timer timer{{7, 3}};
  timer.set_mode(timer_mode::periodic, cycles{0});
  timer.set_divide_configuration(divide_by_1, cycles{0});
  timer.set_initial_count(10, cycles{0});
  EXPECT_EQ(timer.fire(cycles{24 + 70 * 1'000'000}), 1U + 3'000'000U);
  EXPECT_EQ(timer.next_event(), cycles{70 * 1'000'000 + 47});
}

TEST(apic_timer, current_count_is_the_remaining_count) {
  apic_timer timer{{10, 1}};
  timer.set_divide_configuration(0x0, cycles{0});  // by 2: one count is 20 cycles
  timer.set_initial_count(5, cycles{1000});
  struct row {
    std::uint64_t now;
    std::uint32_t count;
  };
  for (const row& r : {row{1000, 5}, row{1019, 5}, row{1020, 4}, row{1099, 1}, row{1100, 0}, row{5000, 0}})
    EXPECT_EQ(timer.current_count(cycles{r.now}), r.count) << r.now;
}

TEST(apic_timer, periodic_count_reloads_also_when_the_expiry_is_not_taken_yet) {
  apic_timer timer;
  timer.set_mode(timer_mode::periodic, cycles{0});
  timer.set_divide_configuration(divide_by_1, cycles{0});
  timer.set_initial_count(5, cycles{0});
  apic_timer lazy = timer;
  for (std::uint64_t now = 0; now < 40; ++now) {
    timer.fire(cycles{now});
    EXPECT_EQ(timer.current_count(cycles{now}), 5 - now % 5);
    EXPECT_EQ(lazy.current_count(cycles{now}), 5 - now % 5);
  }
}

TEST(apic_timer, current_count_never_rises_within_a_lap) {
  dice random{std::mt19937{11}};
  for (int round = 0; round < 200; ++round) {
    const std::uint32_t ticks = 1 + random(50);
    apic_timer timer{{ticks + random(300), ticks}};
    timer.set_divide_configuration(random(16), cycles{0});
    const std::uint64_t start = random(1U << 31);
    timer.set_initial_count(1 + random(1000), cycles{start});
    std::uint32_t last = timer.initial_count();
    for (std::uint64_t now = start; now < timer.next_event().count(); now += 1 + random(97)) {
      const std::uint32_t count = timer.current_count(cycles{now});
      ASSERT_LE(count, last);
      ASSERT_GT(count, 0U) << "zero only when it expires";
      last = count;
    }
    EXPECT_EQ(timer.current_count(timer.next_event()), 0U);
  }
}

TEST(apic_timer, zero_initial_count_stops) {
  apic_timer timer;
  timer.set_initial_count(10, cycles{0});
  timer.set_initial_count(0, cycles{3});
  EXPECT_EQ(timer.next_event(), cycles::never());
  EXPECT_EQ(timer.current_count(cycles{4}), 0U);
}

TEST(apic_timer, writing_the_initial_count_restarts) {
  apic_timer timer;
  timer.set_divide_configuration(divide_by_1, cycles{0});
  timer.set_initial_count(10, cycles{0});
  timer.set_initial_count(10, cycles{9});
  expect_expiry_at(timer, 19);
}

TEST(apic_timer, changing_the_divisor_keeps_the_remaining_count) {
  apic_timer timer;
  timer.set_mode(timer_mode::periodic, cycles{0});
  timer.set_divide_configuration(divide_by_1, cycles{0});
  timer.set_initial_count(100, cycles{0});
  timer.set_divide_configuration(0x1, cycles{40});  // 60 left, now 4 cycles each
  EXPECT_EQ(timer.current_count(cycles{40}), 60U);
  expect_expiry_at(timer, 40 + 240);
  expect_expiry_at(timer, 40 + 240 + 400);
}

TEST(apic_timer, writing_the_same_divisor_disturbs_nothing) {
  apic_timer timer{{10, 1}};
  timer.set_initial_count(3, cycles{0});
  timer.set_divide_configuration(0x0, cycles{19});
  expect_expiry_at(timer, 60);
}

TEST(apic_timer, one_shot_to_periodic_goes_on_counting_by_default) {
  apic_timer timer;
  timer.set_divide_configuration(divide_by_1, cycles{0});
  timer.set_initial_count(10, cycles{0});
  timer.set_mode(timer_mode::periodic, cycles{4});
  expect_expiry_at(timer, 10);
  timer.set_mode(timer_mode::one_shot, cycles{14});
  expect_expiry_at(timer, 20);
  timer.set_mode(timer_mode::periodic, cycles{25});
  EXPECT_EQ(timer.next_event(), cycles::never()) << "a count that ended stays at zero until it is rewritten";
  EXPECT_EQ(timer.current_count(cycles{25}), 0U);
}

TEST(apic_timer, a_mode_change_can_disarm) {
  apic_timer timer{{}, timer_mode_change::disarms};
  timer.set_initial_count(10, cycles{0});
  timer.set_mode(timer_mode::one_shot, cycles{4});
  EXPECT_NE(timer.next_event(), cycles::never()) << "not a change";
  timer.set_mode(timer_mode::periodic, cycles{4});
  EXPECT_EQ(timer.next_event(), cycles::never());
}

TEST(apic_timer, deadline_fires_when_the_tsc_reaches_it_once) {
  apic_timer timer = deadline_timer();
  timer.set_deadline(500, cycles{100});
  EXPECT_EQ(timer.deadline(), 500U);
  expect_expiry_at(timer, 500);
  EXPECT_EQ(timer.deadline(), 0U);
  EXPECT_EQ(timer.next_event(), cycles::never());
}

TEST(apic_timer, a_deadline_that_has_passed_is_due_now) {
  for (std::uint64_t deadline : {1U, 99U, 100U}) {
    apic_timer timer = deadline_timer();
    timer.set_deadline(deadline, cycles{100});
    EXPECT_EQ(timer.next_event(), cycles{100}) << deadline;
    EXPECT_EQ(timer.fire(cycles{100}), 1U);
  }
  apic_timer timer = deadline_timer();
  timer.set_deadline(101, cycles{100});
  expect_expiry_at(timer, 101);
}

TEST(apic_timer, zero_disarms_the_deadline_and_a_new_one_replaces_it) {
  apic_timer timer = deadline_timer();
  timer.set_deadline(500, cycles{0});
  timer.set_deadline(400, cycles{1});
  EXPECT_EQ(timer.next_event(), cycles{400});
  timer.set_deadline(600, cycles{2});
  EXPECT_EQ(timer.next_event(), cycles{600});
  timer.set_deadline(0, cycles{3});
  EXPECT_EQ(timer.next_event(), cycles::never());
  EXPECT_EQ(timer.fire(cycles{1000}), 0U);
}

TEST(apic_timer, deadline_and_count_exclude_each_other) {
  apic_timer timer;
  timer.set_deadline(500, cycles{0});
  EXPECT_EQ(timer.next_event(), cycles::never()) << "ignored in the other modes";
  EXPECT_EQ(timer.deadline(), 0U);
  timer.set_initial_count(10, cycles{0});
  timer.set_mode(timer_mode::tsc_deadline, cycles{1});
  EXPECT_EQ(timer.next_event(), cycles::never()) << "the count is gone";
  timer.set_initial_count(10, cycles{2});
  EXPECT_EQ(timer.next_event(), cycles::never()) << "ignored in deadline mode";
  EXPECT_EQ(timer.initial_count(), 0U);
  timer.set_deadline(500, cycles{3});
  EXPECT_EQ(timer.current_count(cycles{3}), 0U);
  timer.set_mode(timer_mode::periodic, cycles{4});
  EXPECT_EQ(timer.next_event(), cycles::never()) << "the deadline is gone";
  EXPECT_EQ(timer.deadline(), 0U);
}

TEST(apic_timer, the_deadline_follows_the_tsc_offset) {
  apic_timer timer = deadline_timer();
  timer.set_tsc_offset(1000, cycles{0});
  timer.set_deadline(1500, cycles{100});
  EXPECT_EQ(timer.next_event(), cycles{500});
  timer.set_tsc_offset(std::uint64_t{0} - 50, cycles{200});  // TSC set back to 150
  EXPECT_EQ(timer.next_event(), cycles{1550});
  timer.set_tsc_offset(1300, cycles{200});  // TSC set forward to the deadline
  EXPECT_EQ(timer.next_event(), cycles{200});
}

TEST(apic_timer, far_events_saturate) {
  apic_timer timer = deadline_timer();
  timer.set_tsc_offset(std::uint64_t{0} - 100, cycles{100});
  timer.set_deadline(~std::uint64_t{0}, cycles{100});
  EXPECT_EQ(timer.next_event(), cycles::never());
  apic_timer slow{{(1U << 31) - 1, 1}};
  slow.set_divide_configuration(0xA, cycles{0});
  slow.set_initial_count(0xFFFFFFFF, cycles{0});
  EXPECT_EQ(slow.next_event(), cycles::never());
  EXPECT_EQ(slow.current_count(cycles{1}), 0xFFFFFFFFU);
}

TEST(apic_timer, reset_clears_all_but_the_tsc_offset) {
  apic_timer timer = deadline_timer();
  timer.set_tsc_offset(7, cycles{0});
  timer.set_divide_configuration(0xA, cycles{0});
  timer.set_deadline(500, cycles{0});
  timer.reset();
  EXPECT_EQ(timer.mode(), timer_mode::one_shot);
  EXPECT_EQ(timer.next_event(), cycles::never());
  EXPECT_EQ(timer.deadline(), 0U);
  EXPECT_EQ(timer.divide_configuration(), 0U);
  EXPECT_EQ(timer.tsc_offset(), 7U);
}

/// An independent restatement that counts input-clock ticks one cycle at a time.
class ticking_timer {
 public:
  ticking_timer(timer_clock clock, timer_mode mode) : clock_{clock}, mode_{mode} {}
  void write(std::uint32_t count) { initial_ = left_ = count, phase_ = 0, prescaled_ = 0; }
  void divide(std::uint32_t by) {
    if (by != divisor_ && left_ != 0) phase_ = 0, prescaled_ = 0;
    divisor_ = by;
  }
  void mode(timer_mode m) { mode_ = m; }
  std::uint32_t left() const { return left_; }
  bool cycle() {  // one cycle passes; true if the timer expires at its end
    phase_ += clock_.ticks;
    if (phase_ < clock_.tsc_cycles) return false;
    phase_ -= clock_.tsc_cycles;
    if (left_ == 0 || ++prescaled_ < divisor_) return false;
    prescaled_ = 0;
    if (--left_ != 0) return false;
    if (mode_ == timer_mode::periodic) left_ = initial_;
    return true;
  }

 private:
  timer_clock clock_;
  timer_mode mode_;
  std::uint32_t divisor_ = 2, initial_ = 0, left_ = 0, prescaled_ = 0;
  std::uint64_t phase_ = 0;
};

TEST(apic_timer, agrees_with_a_timer_that_ticks) {
  dice random{std::mt19937{23}};
  for (int round = 0; round < 60; ++round) {
    const std::uint32_t ticks = 1 + random(9);
    const timer_clock clock{ticks + random(20), ticks};
    apic_timer ours{clock};
    ticking_timer naive{clock, timer_mode::one_shot};
    for (std::uint64_t now = 1; now < 20000; ++now) {
      ASSERT_EQ(ours.fire(cycles{now}), naive.cycle() ? 1U : 0U) << "round " << round << " cycle " << now;
      ASSERT_EQ(ours.current_count(cycles{now}), naive.left()) << "round " << round << " cycle " << now;
      switch (random(2000)) {
        case 0:
        case 1:
        case 2: {
          const std::uint32_t count = random(60);
          ours.set_initial_count(count, cycles{now});
          naive.write(count);
          break;
        }
        case 3: {
          const std::uint32_t code = random(16) & 0xB;
          ours.set_divide_configuration(code, cycles{now});
          naive.divide(timer_divisor(code));
          break;
        }
        case 4:
        case 5: {
          const auto mode = random(2) ? timer_mode::periodic : timer_mode::one_shot;
          ours.set_mode(mode, cycles{now});
          naive.mode(mode);
          break;
        }
        default:
          break;
      }
    }
  }
}

}  // namespace
