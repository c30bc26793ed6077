#include <cstdlib>
#include <gtest/gtest.h>
#include <memory>
#include <ostream>
#include <random_numbers.hpp>
#include <string>
#include <vector>

#include "spin_detector_probe.hpp"

// Every detector's closed form against its stepped form.
namespace vmxsys::vmx {
namespace {

using spin_testing::made;

struct variant {
  std::string label;
  std::string detector;
  settings with;
};

void PrintTo(const variant& v, std::ostream* out) { *out << v.label; }

std::vector<variant> variants() {
  std::vector<variant> all;
  for (const spin_detector_entry* e : spin_detectors()) all.push_back({e->name, e->name, {}});
  const auto add = [&all](const char* detector, const char* label, settings with) {
    all.push_back({std::string{detector} + "_with_" + label, detector, std::move(with)});
  };
  add("pause_loop_exiting", "end_to_start", {{"gap_end_to_start", true}});
  add("pause_loop_exiting", "coarse_counter", {{"counter_shift", 4}});
  add("pause_loop_exiting", "coarse_counter_end_to_start", {{"counter_shift", 5}, {"gap_end_to_start", true}});
  add("pause_loop_exiting", "coarse_counter_at_end", {{"counter_shift", 3}, {"stamp_at_end", true}});
  add("pause_loop_exiting", "coarser_counter", {{"counter_shift", 9}});
  add("pause_loop_exiting", "exit_updates_last", {{"exit_updates_last", true}});
  add("pause_loop_exiting", "user_mode_breaks", {{"broken_by", "user_mode"}});
  add("pause_loop_exiting", "any_work_breaks", {{"broken_by", "any_work"}});
  add("pause_loop_exiting", "wrapping", {{"elapsed_width", "bits_32_wrapping"}});
  add("pause_loop_exiting", "wrapping_coarse", {{"elapsed_width", "bits_32_wrapping"}, {"counter_shift", 7}});
  add("pause_loop_exiting", "wrapping_coarse_end_to_start",
      {{"elapsed_width", "bits_32_wrapping"}, {"counter_shift", 7}, {"gap_end_to_start", true}});
  add("pause_loop_exiting", "saturating", {{"elapsed_width", "bits_32_saturating"}});
  add("pause_loop_exiting", "kept_across_entries", {{"kept_across_entries", true}});
  add("pause_loop_exiting", "stamp_at_end", {{"stamp_at_end", true}});
  add("pause_loop_exiting", "everything",
      {{"gap_end_to_start", true},
       {"counter_shift", 2},
       {"exit_updates_last", true},
       {"broken_by", "any_work"},
       {"elapsed_width", "bits_32_saturating"},
       {"kept_across_entries", true},
       {"stamp_at_end", true}});
  add("pause_filter", "literal_count", {{"count_adjustment", -1}});
  add("pause_filter", "plus_1", {{"count_adjustment", 1}, {"first_reloads", false}});
  add("rip_matched", "reach", {{"reach", 16}, {"gap_end_to_start", true}});
  add("pause_count_in_period", "small_count", {{"count", 7}});
  add("pause_count_in_period", "own_period", {{"period", 1'000}, {"any_cpl", true}});
  add("pause_count_in_period", "both", {{"count", 9}, {"period", 1'000}, {"any_cpl", true}});
  add("dynamic_pause_exiting", "short_phases", {{"enable_after", 50'000}, {"disable_after", 1'000}, {"offset", 20}});
  add("dynamic_pause_exiting", "shorter_phases_alone",
      {{"enable_after", 1'013}, {"disable_after", 7}, {"with_ple", false}});
  add("dynamic_pause_exiting", "coarse_ple", {{"enable_after", 70'000}, {"disable_after", 10}, {"counter_shift", 4}});
  add("dynamic_pause_exiting", "never_on", {{"disable_after", 0}, {"broken_by", "any_work"}});
  add("progress", "small_table", {{"entries", 2}, {"window", 300}});
  add("progress", "ple_window", {{"window", 0}});
  add("backward_branch", "iterations", {{"iterations", 30}});
  add("backward_branch", "iterations_alone", {{"iterations", 30}, {"obeys_window", false}});
  add("lock_line", "gap", {{"obeys_gap", true}, {"any_cpl", false}});
  add("lock_line", "others_stores_only", {{"own_store_restarts", false}});
  add("overcommit_aware", "coarse_counter", {{"counter_shift", 4}});
  add("coin_flip", "rare", {{"probability_ppm", 50'000}, {"seed", 99}});
  return all;
}

std::uint64_t pauses_wanted() {
  const char* wanted = std::getenv("VMXSYS_SPIN_PAUSES");
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 600'000;
}

pause_event nth(pause_event pause, std::uint64_t period, std::uint64_t i) {
  pause.issue += cycles{period} * i;
  if (i > 0) pause.loop.line_changed = false;
  return pause;
}

/// One detector is only stepped, the other is asked and advanced, in pieces; they must agree in every verdict. Spins of
/// random rhythm, and between them lone PAUSEs, work, stores, entries and the rest of a guest's life.
class two_forms {
 public:
  explicit two_forms(const variant& v) : stepped_{made(v.detector, v.with)}, closed_{made(v.detector, v.with)} {}

  void run(std::uint64_t wanted) {
    ASSERT_NE(stepped_, nullptr);
    enter(drawn_parameters());
    while (pauses_ < wanted && !::testing::Test::HasFatalFailure()) {
      pass(random_.one_in(3) ? random_.below(300) : random_.below(20));
      if (random_.one_in(200)) pass(std::uint64_t{1} << random_.below(34));
      if (random_.one_in(4)) draw_loop();
      switch (random_.below(12)) {
        case 0:
          leave();
          pass(random_.below(3'000));
          enter(drawn_parameters());
          break;
        case 1:
          work();
          break;
        case 2:
          store();
          break;
        case 3:
        case 4:
          spin(1);
          break;
        default:
          spin(1 + random_.below(random_.one_in(16) ? 3'000 : 300));
      }
    }
  }

  std::uint64_t exits() const { return exits_; }
  std::uint64_t exits_foreseen() const { return foreseen_; }

 private:
  void pass(std::uint64_t length) { now_ += length; }

  spin_parameters drawn_parameters() {
    spin_parameters p;
    p.ple_gap = random_.one_in(4) ? random_.below(4) : random_.below(random_.one_in(6) ? 2'000 : 200);
    p.ple_window = random_.one_in(3) ? random_.below(10) : random_.below(5'000);
    slow_ = random_.one_in(16);
    if (slow_) {  // near the end of 32 bits
      p.ple_gap = random_.one_in(2) ? 0xFFFF'FFFF - random_.below(3) : random_.below(0x4000'0000);
      p.ple_window = 0xFFFF'FFFF - (random_.one_in(2) ? random_.below(3) : random_.below(0x4000'0000));
    }
    p.ple_enabled = !random_.one_in(16);
    p.pause_exiting = random_.one_in(32);
    p.overcommitted = !random_.one_in(4);
    return p;
  }

  void enter(const spin_parameters& p) {
    parameters_ = p;
    stepped_->on_entry(cycles{now_}, p);
    closed_->on_entry(cycles{now_}, p);
    if (random_.one_in(2)) ++episode_;
  }

  void leave() {
    stepped_->on_exit(cycles{now_});
    closed_->on_exit(cycles{now_});
  }

  void work() {
    if (!stepped_->interests().work) return;
    pass(random_.below(500));
    const work_event w{cycles{now_}, random_.one_in(2) ? 3u : 0u, random_.below(600), random_.one_in(3) ? 1u : 0u,
                       random_.below(3)};
    stepped_->on_work(w);
    closed_->on_work(w);
  }

  void store() {
    if (!stepped_->interests().stores) return;
    const store_event s{cycles{now_}, random_.pick(addresses_), random_.below(3), 0};
    stepped_->on_store(s);
    closed_->on_store(s);
  }

  void draw_loop() {
    if (random_.one_in(2)) {
      first_.loop.word = random_.one_in(6) ? 0 : random_.pick(addresses_);
      first_.loop.branch = 0x1006 + random_.below(2);
      first_.loop.instructions = static_cast<std::uint32_t>(random_.below(6));
      first_.rip = random_.pick(rips_);
      first_.cpl = random_.one_in(6) ? 3 : 0;
      ++episode_;
    }
    first_.loop.value = random_.below(2);
    first_.truth.futile = random_.one_in(8);
  }

  void spin(std::uint64_t limit) {
    std::uint64_t period = random_.one_in(8) ? random_.below(3) : random_.below(220);
    if (slow_ && random_.one_in(2)) {
      period = random_.below(std::uint64_t{1} << random_.between(20, 33));
      limit = limit % 300 + 1;
    }
    first_.issue = cycles{now_};
    first_.latency = cycles{random_.below(period + 1)};
    first_.loop.line_changed = random_.one_in(4);
    if (stepped_->interests().truth) first_.truth.episode = first_.loop.word == 0 ? 0 : episode_ - random_.below(2);

    const spin_prediction prediction = closed_->predict(first_, cycles{period});
    ASSERT_NE(prediction.what, spin_prediction::kind::step);
    const bool exits = prediction.what == spin_prediction::kind::at && prediction.index < limit;
    const std::uint64_t executed = exits ? prediction.index : limit;
    for (std::uint64_t i = 0; i < executed; ++i, ++pauses_)
      ASSERT_EQ(stepped_->on_pause(nth(first_, period, i)), spin_verdict::execute)
          << "PAUSE " << i << " of " << executed << " after " << pauses_;
    follow(period, executed, exits, prediction);
    const pause_event last = nth(first_, period, exits ? executed : executed - 1);
    now_ = last.issue.count() + last.latency.count();
    if (!exits) return;

    ASSERT_EQ(stepped_->on_pause(last), spin_verdict::exit) << "PAUSE " << executed << " after " << pauses_;
    ASSERT_EQ(closed_->on_pause(last), spin_verdict::exit);
    ++pauses_;
    ++exits_;
    if (executed > 1) ++foreseen_;
    after_exit();
  }

  // The closed form, in up to three pieces with a step between the first two. What is foreseen must not depend on where
  // one stands.
  void follow(std::uint64_t period, std::uint64_t executed, bool exits, const spin_prediction& prediction) {
    if (random_.one_in(8)) {  // nothing at all
      pause_event stray = first_;
      stray.rip += 0x5000;
      stray.loop.word += 0x1000;
      stray.truth.episode += 7;
      closed_->advance(stray, cycles{period}, 0);
    }
    std::uint64_t done = 0;
    while (done < executed) {
      const std::uint64_t piece = random_.one_in(3) ? random_.below(executed - done + 1) : executed - done;
      closed_->advance(nth(first_, period, done), cycles{period}, piece);
      done += piece;
      if (done == executed) break;
      const spin_prediction rest = closed_->predict(nth(first_, period, done), cycles{period});
      if (exits) {
        ASSERT_EQ(rest.what, spin_prediction::kind::at);
        ASSERT_EQ(rest.index, executed - done);
      } else {
        ASSERT_EQ(rest.what, prediction.what);
      }
      ASSERT_EQ(closed_->on_pause(nth(first_, period, done)), spin_verdict::execute);
      ++done;
    }
  }

  void after_exit() {
    switch (random_.below(4)) {
      case 0:  // nobody follows, and nobody says so
        break;
      case 1:  // nobody follows: as if it had come back at once
        leave();
        enter(parameters_);
        break;
      default:
        leave();
        pass(random_.one_in(3) ? random_.below(50) : 500 + random_.below(3'000));
        enter(drawn_parameters());
    }
  }

  testing::random_numbers random_{42};
  std::unique_ptr<spin_detector> stepped_, closed_;
  spin_parameters parameters_;
  bool slow_ = false;
  std::uint64_t now_ = 0;
  pause_event first_{cycles{}, cycles{}, 0, 0x1000};
  std::uint64_t episode_ = 2;
  std::uint64_t pauses_ = 0, exits_ = 0, foreseen_ = 0;
  const std::vector<physical_address> addresses_{0x4000, 0x4038, 0x4040, 0x5000};
  const std::vector<std::uint64_t> rips_{0x1000, 0x1010, 0x1021};
};

class vmx_spin_equal : public ::testing::TestWithParam<variant> {};

TEST_P(vmx_spin_equal, closed_form_is_the_stepped_form) {
  two_forms forms{GetParam()};
  const std::uint64_t wanted = pauses_wanted();
  forms.run(wanted);
  EXPECT_GT(forms.exits(), wanted / 50'000) << "the streams are meant to exit now and then";
  const std::string& d = GetParam().detector;
  const bool at_once = d == "none" || d == "pause_exiting" || d == "oracle" || d == "coin_flip";
  EXPECT_TRUE(at_once || forms.exits_foreseen() > wanted / 50'000) << "and not always at once";
}

INSTANTIATE_TEST_SUITE_P(detectors, vmx_spin_equal, ::testing::ValuesIn(variants()),
                         [](const auto& test) { return test.param.label; });

// A long run in one jump and the state it leaves, where stepping would still be checked quickly.
TEST_P(vmx_spin_equal, advancing_k_then_one_pause_is_k_plus_1_steps) {
  for (const std::uint64_t period : {0u, 1u, 45u, 127u, 128u, 129u, 150u})
    for (const std::uint64_t start : {5u, 1'000u})
      for (std::uint64_t k = 0; k < 110; ++k) {
        const auto stepped = made(GetParam().detector, GetParam().with);
        const auto closed = made(GetParam().detector, GetParam().with);
        pause_event first = spin_testing::poll_at(start);
        first.latency = cycles{period / 2};
        first.truth.episode = 3;
        stepped->on_entry(cycles{1}, spin_testing::ple(128, 4096));
        closed->on_entry(cycles{1}, spin_testing::ple(128, 4096));
        const spin_prediction p = closed->predict(first, cycles{period});
        if (p.what == spin_prediction::kind::at && p.index < k) break;
        for (std::uint64_t i = 0; i < k; ++i)
          ASSERT_EQ(stepped->on_pause(nth(first, period, i)), spin_verdict::execute);
        closed->advance(first, cycles{period}, k);
        ASSERT_EQ(closed->on_pause(nth(first, period, k)), stepped->on_pause(nth(first, period, k)))
            << period << ' ' << k;
      }
}

}  // namespace
}  // namespace vmxsys::vmx
