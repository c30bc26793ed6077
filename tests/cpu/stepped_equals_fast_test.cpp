#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>

#include "random_machine.hpp"
#include "storm_fixture.hpp"

// Jumping over the iterations of a spin loop changes nothing that anybody can observe. VMXSYS_STORM_MACHINES sets how
// many random machines are tried; VMXSYS_STORM_FIRST the first seed.
namespace vmxsys::cpu::testing {
namespace {

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// The first lines in which two runs differ.
std::string difference(std::uint64_t seed, const random_run& a, const random_run& b) {
  struct text_log : fact_observer {
    std::vector<std::vector<std::string>> by_source;
    void observe(const fact_view& f) override {
      const fact_header& h = f.header();
      if (by_source.size() <= h.id.source) by_source.resize(h.id.source + std::size_t{1});
      std::uint64_t values[fact_kind::max_fields];
      h.kind->values(f.payload(), values);
      std::string line = std::to_string(h.at.count()) + " " + h.kind->name;
      for (std::size_t i = 0; i < h.kind->field_count; ++i)
        line += std::string{" "} + h.kind->field_names[i] + "=" + std::to_string(values[i]);
      line += " cause " + std::to_string(h.cause.source) + ":" + std::to_string(h.cause.index);
      by_source[h.id.source].push_back(line);
    }
  };
  text_log logs[2];
  const random_run* runs[] = {&a, &b};
  for (int i : {0, 1}) {
    random_run r = *runs[i];
    r.also = &logs[i];
    random_machine{seed, r}.run();
  }
  std::string out;
  for (std::size_t s = 0; s < std::max(logs[0].by_source.size(), logs[1].by_source.size()); ++s) {
    static const std::vector<std::string> none;
    const auto& x = s < logs[0].by_source.size() ? logs[0].by_source[s] : none;
    const auto& y = s < logs[1].by_source.size() ? logs[1].by_source[s] : none;
    for (std::size_t i = 0; i < std::max(x.size(), y.size()); ++i) {
      if (i < x.size() && i < y.size() && x[i] == y[i]) continue;
      out += "source " + std::to_string(s) + ", fact " + std::to_string(i) + ":\n";
      for (std::size_t k = i > 3 ? i - 3 : 0; k <= i; ++k)
        out += "  " + (k < x.size() ? x[k] : "-") + "\n  " + (k < y.size() ? y[k] : "-") + "\n";
      break;
    }
  }
  return out;
}

/// What a number of machines did, each run fast, stepped, and with disturbances.
struct storm {
  std::uint64_t fast_events = 0, stepped_events = 0, iterations = 0, facts = 0, detections = 0;
  std::uint64_t virtual_interrupts = 0, postings = 0, virtualized_ipis = 0, guest_timers = 0;
  std::array<std::uint64_t, 64> exits{};

  void run(std::uint64_t machines, bool virtual_apics) {
    const std::uint64_t first = setting("VMXSYS_STORM_FIRST", 1);
    int failures = 0;
    for (std::uint64_t seed = first; seed < first + machines && failures < 3; ++seed) {
      random_run fast, stepped;
      fast.length = stepped.length = 100'000 + seed % 3 * 100'000;
      fast.virtual_apics = stepped.virtual_apics = virtual_apics;
      stepped.stepped = true;
      random_run fast_disturbed = fast, stepped_disturbed = stepped;
      fast_disturbed.disturb = seed;
      stepped_disturbed.disturb = seed + 1;
      random_machine machine{seed, fast};
      const random_result reference = machine.run();
      ASSERT_EQ(reference.error, "") << "seed " << seed << machine.describe();
      const random_result every_step = random_machine{seed, stepped}.run();
      for (const random_run& other : {stepped, fast_disturbed, stepped_disturbed, fast}) {
        const random_result r = other.stepped && other.disturb == 0 ? every_step : random_machine{seed, other}.run();
        if (r.same_as(reference)) continue;
        ++failures;
        ADD_FAILURE() << "seed " << seed << machine.describe() << (other.stepped ? ", stepped" : ", fast")
                      << (other.disturb != 0 ? ", disturbed" : "") << ": " << r.error << ", " << r.facts << " facts of "
                      << reference.facts << ", spins " << r.iterations << " of " << reference.iterations << "\n"
                      << difference(seed, fast, other);
        break;
      }
      fast_events += reference.events;
      stepped_events += every_step.events;
      iterations += reference.iterations;
      facts += reference.facts;
      detections += reference.detections;
      virtual_interrupts += reference.virtual_interrupts;
      postings += reference.postings;
      virtualized_ipis += reference.virtualized_ipis;
      guest_timers += reference.guest_timers;
      for (std::size_t i = 0; i < exits.size(); ++i) exits[i] += reference.exits[i];
    }
    std::string seen;
    for (std::size_t i = 0; i < exits.size(); ++i)
      if (exits[i] != 0) seen += " " + std::to_string(i) + ":" + std::to_string(exits[i]);
    std::printf("%llu machines, %llu facts, %llu spin iterations, %llu events fast, %llu stepped; exits%s\n",
                static_cast<unsigned long long>(machines), static_cast<unsigned long long>(facts),
                static_cast<unsigned long long>(iterations), static_cast<unsigned long long>(fast_events),
                static_cast<unsigned long long>(stepped_events), seen.c_str());
  }
};

TEST(stepped_equals_fast, on_random_machines) {
  const std::uint64_t machines = setting("VMXSYS_STORM_MACHINES", 300);
  storm s;
  s.run(machines, false);
  if (HasFatalFailure()) return;
  RecordProperty("facts", std::to_string(s.facts));
  if (machines < 100) return;
  for (const std::size_t reason : {0, 1, 3, 7, 10, 12, 18, 31, 32, 40, 52})
    EXPECT_GT(s.exits[reason], machines / 3) << "the storm has become a calm: exit " << reason;
  EXPECT_GT(s.stepped_events, s.fast_events * 3 / 2);
  EXPECT_GT(s.facts, 500 * machines);
  EXPECT_GT(s.detections, 20 * machines);
}

TEST(stepped_equals_fast, on_random_machines_with_virtual_apics_and_posted_interrupts) {
  const std::uint64_t machines = setting("VMXSYS_STORM_MACHINES", 300);
  storm s;
  s.run(machines, true);
  if (HasFatalFailure()) return;
  std::printf("%llu virtual interrupts, %llu postings, %llu virtualized IPIs, %llu guest timers\n",
              static_cast<unsigned long long>(s.virtual_interrupts), static_cast<unsigned long long>(s.postings),
              static_cast<unsigned long long>(s.virtualized_ipis), static_cast<unsigned long long>(s.guest_timers));
  if (machines < 100) return;
  for (const std::size_t reason : {1, 7, 40, 44, 45, 52, 56})
    EXPECT_GT(s.exits[reason], machines / 3) << "the storm has become a calm: exit " << reason;
  EXPECT_GT(s.exits[43], machines / 30);
  EXPECT_GT(s.virtual_interrupts, 10 * machines);
  EXPECT_GT(s.postings, 10 * machines);
  EXPECT_GT(s.virtualized_ipis, machines);
  EXPECT_GT(s.guest_timers, machines);
}

// Every compiler, optimisation and platform gives these facts. A change of the model's rules, costs or facts gives
// others: then put the value of the message here, and say in the commit why it changed.
TEST(stepped_equals_fast, twenty_machines_give_the_committed_facts) {
  constexpr std::uint64_t committed = 0xf4a7aadaaa8ab842;
  std::uint64_t all = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const random_result r = random_machine{seed, {}}.run();
    EXPECT_EQ(r.error, "");
    all = all * 0x9e3779b97f4a7c15ULL + r.hash;
  }
  EXPECT_EQ(all, committed) << std::hex << "0x" << all;
}

TEST(stepped_equals_fast, twenty_machines_with_virtual_apics_give_the_committed_facts) {
  constexpr std::uint64_t committed = 0x5ea6c504b4c4ca8f;
  std::uint64_t all = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    random_run how;
    how.virtual_apics = true;
    const random_result r = random_machine{seed, how}.run();
    EXPECT_EQ(r.error, "");
    all = all * 0x9e3779b97f4a7c15ULL + r.hash;
  }
  EXPECT_EQ(all, committed) << std::hex << "0x" << all;
}

TEST(stepped_equals_fast, a_spinning_guest_under_a_ten_line_vmm_until_any_end) {
  spin_rig fast{false};
  spin_rig stepped{true};
  for (std::uint64_t end = 1'000; end <= 1'000'000; end = end * 3 + 17) {
    fast.hw.run_until(cycles{end});
    stepped.hw.run_until(cycles{end});
    fast.hw.check_accounting();
    stepped.hw.check_accounting();
    ASSERT_EQ(fast.hash.value(), stepped.hash.value()) << "until cycle " << end;
  }
  EXPECT_GT(fast.hash.count(), 1000u);
  EXPECT_GT(stepped.hw.time().events(), 5 * fast.hw.time().events());
}

TEST(stepped_equals_fast, a_wait_of_a_million_iterations_costs_a_few_events) {
  rig r{bare_config(2)};
  word& w = r.hw.physical().word_at(0x20'0000);
  r.run(0, [&]() -> program {
    co_await isa::compute(cycles{50'000'000});
    co_await isa::store(w, 1);
    co_await rig::sleep();
  });
  r.run(1, [&]() -> program {
    co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{60'000'000});
  EXPECT_GT(r.log.of<spin_fact>().at(0)->iterations, 1'000'000u);
  EXPECT_LT(r.hw.time().events(), 30u);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
