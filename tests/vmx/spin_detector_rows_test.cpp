#include <gtest/gtest.h>
#include <random_numbers.hpp>
#include <row_tests.hpp>
#include <string>
#include <vector>

#include "spin_detector_probe.hpp"

// The table of detectors and of their parameters: every row is proved by a test, and settings reach their detector.
namespace vmxsys::vmx {
namespace {

using spin_testing::entered;
using spin_testing::made;
using spin_testing::ple;

// A detector that has PAUSE-loop exiting inside, while nothing else of it acts, is PAUSE-loop exiting.
TEST(vmx_spin_rows, switches_of_ple_inside_other_detectors) {
  const settings variants[] = {{},
                               {{"gap_end_to_start", true}},
                               {{"counter_shift", 4}},
                               {{"exit_updates_last", true}},
                               {{"broken_by", "user_mode"}},
                               {{"broken_by", "any_work"}},
                               {{"elapsed_width", "bits_32_wrapping"}},
                               {{"elapsed_width", "bits_32_saturating"}},
                               {{"kept_across_entries", true}},
                               {{"stamp_at_end", true}}};
  for (const char* name : {"rip_matched", "dynamic_pause_exiting", "overcommit_aware"})
    for (const settings& variant : variants) {
      settings with = variant;
      if (std::string{name} == "dynamic_pause_exiting") with.push_back({"disable_after", 0});
      const auto outer = entered(name, 128, 4096, with);
      const auto inner = entered("pause_loop_exiting", 128, 4096, variant);
      EXPECT_EQ(outer->interests().work, inner->interests().work);
      testing::random_numbers random{5};
      std::uint64_t t = 0;
      int exited = 0;
      for (int i = 0; i < 20'000; ++i) {
        const pause_event pause = spin_testing::pause_at(t, random.one_in(300) ? 3 : 0, random.below(40));
        const auto verdict = inner->on_pause(pause);
        ASSERT_EQ(outer->on_pause(pause), verdict) << name;
        if (verdict == spin_verdict::exit) ++exited;
        t += 40 + random.below(random.one_in(100) ? 200 : 80);
        if (random.one_in(1'000)) t += std::uint64_t{1} << 32;
        for (spin_detector* d : {outer.get(), inner.get()}) {
          if (i % 250 == 249) d->on_work({cycles{t}, i % 500 == 499 ? 3u : 0u, 10, 0, 0});
          if (i % 700 == 699) d->on_entry(cycles{t}, ple(128, i % 1'400 == 699 ? 0xFFFF'FFFF : 4096));
        }
      }
      EXPECT_GT(exited, 0) << name;
    }
}

TEST(vmx_spin_rows, settings_are_checked) {
  for (const spin_detector_entry* e : spin_detectors()) {
    EXPECT_THROW(made(e->name, {{"colour", 1}}), catalogue_error);
    for (const parameter& p : e->parameters) {
      const std::string label = std::string{e->name} + '.' + p.name;
      EXPECT_STRNE(p.description, "") << label;
      EXPECT_NE(made(e->name, {{p.name, p.value(e->defaults().get())}}), nullptr) << label;
      if (p.kind == parameter_kind::name) {
        for (const std::string& legal : p.choice_names()) EXPECT_NE(made(e->name, {{p.name, legal}}), nullptr) << label;
        EXPECT_THROW(made(e->name, {{p.name, "colour"}}), catalogue_error) << label;
      }
      if (p.kind != parameter_kind::integer) continue;
      EXPECT_NE(made(e->name, {{p.name, p.lowest}}), nullptr) << label;
      EXPECT_NE(made(e->name, {{p.name, p.highest}}), nullptr) << label;
      EXPECT_THROW(made(e->name, {{p.name, p.lowest - 1}}), catalogue_error) << label;
      if (p.highest != ~std::uint64_t{0})
        EXPECT_THROW(made(e->name, {{p.name, p.highest + 1}}), catalogue_error) << label;
    }
  }
  EXPECT_THROW(made("progress", {{"entries", 9}}), catalogue_error);
  EXPECT_STREQ(spin_detectors().first().name, "pause_loop_exiting");
}

// Which detectors a processor without the control cannot have: those whose PAUSEs exit with it and not without.
TEST(vmx_spin_rows, ple_control_is_told) {
  for (const spin_detector_entry* e : spin_detectors()) {
    const bool without_memory = std::string{e->name} == "none" || std::string{e->name} == "pause_exiting";
    EXPECT_EQ(e->ple_control, !without_memory) << e->name;
  }
}

TEST(vmx_spin_rows, the_last_of_two_settings_counts) {
  const auto d = entered("pause_count_in_period", 128, 4096, {{"count", 5}, {"count", 9}});
  EXPECT_EQ(spin_testing::exit_index(*d, spin_testing::pause_at(0), 10), 9u);
}

TEST(vmx_spin_rows, defaults_are_those_of_the_options) {
  const auto initial = [](const char* detector, const char* name) {
    const spin_detector_entry* e = spin_detectors().find(detector);
    return e->parameters.find(name)->value(e->defaults().get());
  };
  EXPECT_EQ(initial("pause_loop_exiting", "gap_end_to_start"), parameter_value{false});
  EXPECT_EQ(initial("pause_loop_exiting", "broken_by"), parameter_value{"time_only"});
  EXPECT_EQ(initial("pause_loop_exiting", "elapsed_width"), parameter_value{"bits_64"});
  EXPECT_EQ(initial("pause_filter", "count_adjustment"), parameter_value{0});
  EXPECT_EQ(initial("dynamic_pause_exiting", "enable_after"), parameter_value{250'000'000});
  EXPECT_EQ(initial("dynamic_pause_exiting", "counter_shift"), parameter_value{0});
  EXPECT_EQ(initial("progress", "window"), parameter_value{1'000});
}

TEST(vmx_spin_rows, every_detector_has_a_test) {
  const std::vector<std::string> rows = spin_detectors().names();
  std::vector<testing_rows::row_test> list;
  for (const std::string& row : rows) list.push_back({row, "vmx_spin_equal.closed_form_is_the_stepped_form"});
  const std::vector<testing_rows::row_test> own = {
      {"pause_loop_exiting", "vmx_spin.worked_numbers_of_the_closed_form"},
      {"pause_loop_exiting", "vmx_spin.end_to_start_does_not_let_a_slow_pause_break_its_loop"},
      {"pause_filter", "vmx_spin_golden.exits_where_expected"},
      {"pause_exiting", "vmx_spin.control_pause_exiting_beats_every_detector"},
      {"none", "vmx_spin.control_pause_exiting_beats_every_detector"},
      {"rip_matched", "vmx_rip_matched.another_address_starts_a_loop"},
      {"pause_count_in_period", "vmx_pause_count.exits_the_loosest_loop_where_ple_does"},
      {"dynamic_pause_exiting", "vmx_dynamic_pause_exiting.is_on_at_the_start_of_every_stretch"},
      {"progress", "vmx_progress.a_new_store_is_progress_and_an_old_one_is_not"},
      {"backward_branch", "vmx_backward_branch.what_breaks_the_row"},
      {"lock_line", "vmx_lock_line.a_poll_that_missed_starts_afresh"},
      {"overcommit_aware", "vmx_overcommit_aware.acts_only_on_the_hint"},
      {"oracle", "vmx_oracle.exits_exactly_where_the_wait_is_futile"},
      {"coin_flip", "vmx_coin_flip.flips_once_for_a_wait"},
  };
  testing_rows::expect_rows_tested(rows, own);
  testing_rows::expect_rows_tested(rows, list);
}

TEST(vmx_spin_rows, every_parameter_has_a_test) {
  std::vector<std::string> rows;
  for (const spin_detector_entry* e : spin_detectors())
    for (const parameter& p : e->parameters) rows.push_back(std::string{e->name} + '.' + p.name);

  std::vector<testing_rows::row_test> list = {
      {"pause_filter.count_adjustment", "vmx_spin.filter_count_adjustment"},
      {"pause_filter.first_reloads", "vmx_spin.filter_first_reloads"},
      {"pause_filter.count_adjustment", "vmx_spin_golden.exits_where_expected"},
      {"rip_matched.reach", "vmx_rip_matched.two_pauses_in_one_loop_need_reach"},
      {"pause_count_in_period.count", "vmx_pause_count.count"},
      {"pause_count_in_period.period", "vmx_pause_count.period"},
      {"pause_count_in_period.any_cpl", "vmx_pause_count.any_cpl"},
      {"dynamic_pause_exiting.enable_after", "vmx_dynamic_pause_exiting.enable_after_and_disable_after"},
      {"dynamic_pause_exiting.disable_after", "vmx_dynamic_pause_exiting.enable_after_and_disable_after"},
      {"dynamic_pause_exiting.offset", "vmx_dynamic_pause_exiting.offset"},
      {"dynamic_pause_exiting.with_ple", "vmx_dynamic_pause_exiting.with_ple"},
      {"progress.window", "vmx_progress.window"},
      {"progress.entries", "vmx_progress.entries"},
      {"backward_branch.iterations", "vmx_backward_branch.iterations"},
      {"backward_branch.obeys_window", "vmx_backward_branch.obeys_window"},
      {"lock_line.any_cpl", "vmx_lock_line.any_cpl"},
      {"lock_line.own_store_restarts", "vmx_lock_line.own_store_restarts"},
      {"lock_line.obeys_gap", "vmx_lock_line.obeys_gap"},
      {"coin_flip.probability_ppm", "vmx_coin_flip.probability"},
      {"coin_flip.seed", "vmx_coin_flip.seed"},
  };
  const std::vector<testing_rows::row_test> switches = {
      {"gap_end_to_start", "vmx_ple_switches.gap_end_to_start"},
      {"counter_shift", "vmx_ple_switches.counter_shift"},
      {"exit_updates_last", "vmx_ple_switches.exit_updates_last"},
      {"broken_by", "vmx_ple_switches.broken_by"},
      {"elapsed_width", "vmx_ple_switches.elapsed_width_64"},
      {"elapsed_width", "vmx_ple_switches.elapsed_width_32_wrapping"},
      {"elapsed_width", "vmx_ple_switches.elapsed_width_32_saturating"},
      {"kept_across_entries", "vmx_ple_switches.kept_across_entries"},
      {"stamp_at_end", "vmx_ple_switches.stamp_at_end"},
  };
  for (const auto& s : switches) {
    list.push_back({std::string{"pause_loop_exiting"} + '.' + s.row, s.test});
    for (const char* outer : {"rip_matched", "dynamic_pause_exiting", "overcommit_aware"})
      list.push_back({std::string{outer} + '.' + s.row, "vmx_spin_rows.switches_of_ple_inside_other_detectors"});
  }
  testing_rows::expect_rows_tested(rows, list);
}

}  // namespace
}  // namespace vmxsys::vmx
