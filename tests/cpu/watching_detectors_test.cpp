#include "rig.hpp"

// Detectors that watch a run without a say in it, and the truth they are held against.
namespace vmxsys::cpu::testing {
namespace {

/// Answers at every PAUSE in vain; says so in closed form too.
class truth_teller final : public vmx::spin_detector {
 public:
  void on_entry(cycles, const vmx::spin_parameters&) override {}
  vmx::spin_verdict on_pause(const vmx::pause_event& p) override {
    return p.truth.futile ? vmx::spin_verdict::hint : vmx::spin_verdict::execute;
  }
  vmx::spin_interests interests() const noexcept override { return {false, false, true}; }
  vmx::spin_prediction predict(const vmx::pause_event& first, cycles) const override {
    if (first.truth.futile) return {vmx::spin_prediction::kind::at, 0};
    return {vmx::spin_prediction::kind::never, 0};
  }
  void advance(const vmx::pause_event&, cycles, std::uint64_t) override {}
};

/// Counts what it is told of work and stores.
class bookkeeper final : public vmx::spin_detector {
 public:
  struct books {
    std::uint64_t instructions = 0, unique_stores = 0, branches = 0, stores = 0, pauses = 0, misses = 0;
    cycles work{0};
  };
  explicit bookkeeper(books& in) : books_{in} {}
  void on_entry(cycles, const vmx::spin_parameters&) override {}
  vmx::spin_verdict on_pause(const vmx::pause_event& p) override {
    ++books_.pauses;
    books_.misses += p.loop.line_changed;
    return vmx::spin_verdict::execute;
  }
  vmx::spin_interests interests() const noexcept override { return {true, true, false}; }
  void on_work(const vmx::work_event& w) override {
    books_.instructions += w.instructions;
    books_.unique_stores += w.unique_stores;
    books_.branches += w.backward_branches;
  }
  void on_store(const vmx::store_event&) override { ++books_.stores; }
  vmx::spin_prediction predict(const vmx::pause_event&, cycles) const override {
    return {vmx::spin_prediction::kind::never, 0};
  }
  void advance(const vmx::pause_event& first, cycles, std::uint64_t k) override {
    books_.pauses += k;
    books_.misses += k != 0 && first.loop.line_changed;
  }

 private:
  books& books_;
};

/// A guest that waits for a word that a strand of CPU 1 sets; that strand leaves its CPU for a while.
struct wait_rig : vmx_rig {
  explicit wait_rig(machine_config config) : vmx_rig{std::move(config)} {
    word& w = hw.physical().word_at(0x20'0000);
    strand& owner = make("owner", [&w]() -> program {
      for (;;) {
        co_await isa::compute(cycles{6'000});
        co_await isa::store(w, 1);
        co_await sleep();
      }
    });
    run_guest([this, &w]() -> program {
      co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin, &subject);
      co_await sleep();
    });
    run_host([]() -> program { co_await isa::vmlaunch(); });
    run(1, [this, &owner]() -> program {
      subject.await(&owner, hw.time().now());
      co_await isa::compute(cycles{20'000});  // the owner is on no CPU
      co_await isa::switch_to(owner);
    });
  }
  spin_subject subject;
};

machine_config watched(bool stepped, std::vector<observing_detector> observers) {
  machine_config c = bare_config(2, stepped);
  c.make_detector = nullptr;
  c.observers = std::move(observers);
  return c;
}

TEST(watching_detectors, the_first_pause_in_vain_is_known_to_the_cycle) {
  cycles first[2], last[2];
  std::size_t answers[2] = {};
  for (const bool stepped : {false, true}) {
    wait_rig r{watched(stepped, {{[] { return std::make_unique<truth_teller>(); }}})};
    r.hw.run_until(cycles{60'000});
    const auto spins = r.log.of<spin_fact>();
    ASSERT_EQ(spins.size(), 1u);
    const auto detected = r.log.of<spin_detected_fact>();
    ASSERT_FALSE(detected.empty());
    EXPECT_EQ(detected.front()->episode, spins[0]->episode);
    for (const auto& d : detected) EXPECT_EQ(d->futile, 1u);
    first[stepped] = detected.front().at();
    last[stepped] = detected.back().at();
    answers[stepped] = detected.size();
    const auto& switched = r.log.of<switch_fact>();
    ASSERT_EQ(switched.size(), 1u);
    // The first answer comes with the first PAUSE in vain, and the loop's own fact when it has ended.
    const auto answer = fact<spin_detected_fact>(&spin_detected_fact::word, 0x20'0000u, &spin_detected_fact::futile, 1);
    expect_first_at(r.log, answer, spins[0]->futile_since);
    expect_sequence(r.log, {answer, fact<switch_fact>(), fact<spin_fact>(&spin_fact::word, 0x20'0000u)});
    // In the cycle of the switch itself the owner still counts as away.
    EXPECT_LE(last[stepped], switched[0].at());
    EXPECT_GT(last[stepped] + cycles{200}, switched[0].at());
  }
  EXPECT_EQ(first[0], first[1]);
  EXPECT_EQ(last[0], last[1]);
  EXPECT_EQ(answers[0], answers[1]);
}

TEST(watching_detectors, nobody_asks_for_the_truth_and_none_is_stated) {
  wait_rig r{bare_config(2)};
  r.hw.run_until(cycles{60'000});
  expect_exact_sequence(r.log, {fact<spin_fact>(&spin_fact::futile_since, cycles::never())});
  EXPECT_GT(r.log.of<spin_fact>()[0]->futile, cycles{0});
}

TEST(watching_detectors, a_watcher_that_would_exit_starts_afresh_and_the_run_goes_on) {
  wait_rig r{watched(false, {{[] { return vmx::spin_detectors().select("pause_loop_exiting").make(); }, 128, 4096}})};
  r.hw.run_until(cycles{60'000});
  const auto detected = r.log.of<spin_detected_fact>();
  ASSERT_GT(detected.size(), 3u);
  for (std::size_t i = 1; i < detected.size(); ++i) {
    const cycles between = detected[i].at() - detected[i - 1].at();
    EXPECT_GT(between, cycles{4096});
    EXPECT_LT(between, cycles{4096 + 3 * 60});
  }
  EXPECT_TRUE(r.exits().empty()) << "PAUSE-loop exiting is off in the VMCS";
}

TEST(watching_detectors, change_nothing_in_the_run) {
  const auto books_of = [](std::vector<observing_detector> observers) {
    wait_rig r{watched(false, std::move(observers))};
    r.hw.run_until(cycles{60'000});
    r.hw.check_accounting();
    std::vector<std::uint64_t> books;
    for (unsigned c = 0; c < 2; ++c)
      for (vmx_operation w : {vmx_operation::root, vmx_operation::non_root})
        for (std::size_t b = 0; b < accounting::buckets; ++b)
          books.push_back(r.hw.cpu(c).account().total(w, static_cast<bucket>(b)).count());
    const auto spin = r.log.of<spin_fact>()[0];
    books.push_back(spin->iterations);
    books.push_back(spin.at().count());
    return books;
  };
  EXPECT_EQ(books_of({}), books_of({{[] { return std::make_unique<truth_teller>(); }},
                                    {[] { return vmx::spin_detectors().select("pause_loop_exiting").make(); }}}));
}

TEST(watching_detectors, are_told_of_work_and_stores_of_the_guest_alone) {
  bookkeeper::books books[2];
  for (const bool stepped : {false, true}) {
    bookkeeper::books& b = books[stepped];
    vmx_rig r{watched(stepped, {{[&b] { return std::make_unique<bookkeeper>(b); }}})};
    word& w = r.hw.physical().word_at(0x20'0000);
    r.run_guest([&w]() -> program {
      co_await isa::compute(cycles{4096});
      co_await isa::store(w, 7);
      co_await isa::compute(cycles{1024}, {2048, 0, 1024});
      co_await isa::fetch_add(w, 1);
      co_await isa::load(w);
      co_await isa::spin_while(w, spin_predicate::while_equal(8), test_spin, nullptr, 50);
      co_await isa::vmcall(0, 0);
    });
    r.run_host([&w]() -> program {
      co_await isa::store(w, 1);
      co_await isa::compute(cycles{500});
      co_await isa::vmlaunch();
      co_await isa::compute(cycles{500});
    });
    r.hw.run_until(cycles{60'000});
    ASSERT_TRUE(r.done);
    EXPECT_EQ(b.instructions, 4096u + 2048u);
    EXPECT_EQ(b.unique_stores, 256u);
    EXPECT_EQ(b.branches, 128u + 1024u);
    EXPECT_EQ(b.stores, 2u);
    EXPECT_EQ(b.pauses, 50u);
    EXPECT_EQ(b.misses, 0u) << "the line was this CPU's own";
  }
}

TEST(watching_detectors, see_the_line_change_under_a_loop) {
  for (const bool stepped : {false, true}) {
    bookkeeper::books b;
    vmx_rig r{watched(stepped, {{[&b] { return std::make_unique<bookkeeper>(b); }}})};
    word& w = r.hw.physical().word_at(0x20'0000);
    r.run_guest([&w]() -> program {
      co_await isa::spin_while(w, spin_predicate::while_not_equal(99), test_spin);
      co_await isa::vmcall(0, 0);
    });
    r.run_host([]() -> program { co_await isa::vmlaunch(); });
    r.run(1, [&w]() -> program {
      co_await isa::compute(cycles{10'000});
      for (std::uint64_t v = 1; v <= 5; ++v) {
        co_await isa::compute(cycles{3'000});
        co_await isa::store(w, v);
      }
      co_await isa::compute(cycles{3'000});
      co_await isa::store(w, 99);
      co_await rig::sleep();
    });
    r.hw.run_until(cycles{60'000});
    ASSERT_TRUE(r.done);
    EXPECT_EQ(b.misses, 6u) << "the first poll and one for each store but the last";
  }
}

}  // namespace
}  // namespace vmxsys::cpu::testing
