#include <gtest/gtest.h>
#include <memory>

#include <vmxsys/cpu/facts/accounting.hpp>
#include <vmxsys/cpu/facts/fact_hash.hpp>
#include <vmxsys/models/kvm/spin/spin_policy.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/run/execution.hpp>

// A spin policy from outside the tree: the class of models/README.md, handed to a run.
namespace {

using namespace vmxsys;
using namespace vmxsys::models;
using vmxsys::platform::execute;
using vmxsys::platform::execution_options;
using vmxsys::platform::run_config;
using vmxsys::platform::run_result;

class first_preempted final : public spin_policy {
 public:
  cpu::program on_spin(spin_context& ctx) override {
    for (unsigned i = 0; i < ctx.vcpus(); ++i) {
      if (i == ctx.me()) continue;
      const spin_candidate c = co_await ctx.check(i);
      if (c.preempted && co_await ctx.yield_to(i) > 0) co_return;
    }
  }
};

const spin_policy_entry first_preempted_entry = entry_without<spin_policy_entry>(
    "first_preempted", "yields to the first sibling that was preempted", "",
    [](const void*) -> std::unique_ptr<spin_policy> { return std::make_unique<first_preempted>(); });

const spin_policy_entry nothing_entry = entry_without<spin_policy_entry>(
    "nothing", "makes no policy", "", [](const void*) { return std::unique_ptr<spin_policy>{}; });

/// Names a vCPU that is not there, by one function of the context or another.
class off_by_one final : public spin_policy {
 public:
  explicit off_by_one(int way) : way_{way} {}
  cpu::program on_spin(spin_context& ctx) override {
    const unsigned n = ctx.vcpus();
    if (way_ == 0) co_await ctx.check(n);
    if (way_ == 1) co_await ctx.yield_to(n);
    if (way_ == 2) static_cast<void>(ctx.ipis(n));
    if (way_ == 3) static_cast<void>(ctx.host_cpu(n));
  }

 private:
  int way_;
};

struct off_by_one_options {
  unsigned way = 0;
};
constexpr std::array off_by_one_rows{
    row<&off_by_one_options::way>("way", "choice", 0, 3, "by which function of the context")};
constexpr spin_policy_entry off_by_one_entry = entry_with<spin_policy_entry, off_by_one_options, off_by_one_rows>(
    "off_by_one", "names a vCPU that is not there", "", [](const void* o) -> std::unique_ptr<spin_policy> {
      return std::make_unique<off_by_one>(static_cast<int>(options_as<off_by_one_options>(o).way));
    });

/// A bare run in which these entries may be named.
execution_options with(std::initializer_list<const spin_policy_entry*> entries) {
  execution_options how;
  how.bare = true;
  for (const spin_policy_entry* e : entries) how.names.spin_policies.add(*e);
  return how;
}

run_config storm() {
  const platform::loaded_config loaded = platform::load_config_text(R"({
    "until": "8ms", "measure_from": "1ms",
    "machine": {"cores": 2},
    "host": {"vcpu_affinity": "stacked"},
    "vms": [{"name": "a", "vcpus": 4, "workload": {"name": "lock_bound", "work": "20us", "hold": "100us"}}]
  })");
  EXPECT_TRUE(loaded.ok()) << loaded.report();
  return loaded.config;
}

TEST(own_policy, runs_without_an_edit_of_the_tree) {
  run_config config = storm();
  config.host.spin_policy = "first_preempted";
  const run_result r = execute(config, with({&first_preempted_entry}));
  EXPECT_EQ(r.policy, "first_preempted");
  EXPECT_GT(r.ple_exits, 0u);
  EXPECT_GT(r.yields.accepted, 0u);
  EXPECT_EQ(r.yields.accepted, r.yields.same_queue + r.yields.other_queue);
  EXPECT_LE(r.yields.to_sibling, r.yields.accepted);
  EXPECT_GT(r.tsc_khz, 0u);
}

TEST(own_policy, none_made_is_an_error) {
  run_config config = storm();
  config.host.spin_policy = nothing_entry.name;
  EXPECT_THROW(execute(config, with({&nothing_entry})), std::invalid_argument);
}

TEST(own_policy, a_vcpu_that_is_not_there_is_named) {
  for (int way = 0; way < 4; ++way) {
    run_config config = storm();
    config.host.spin_policy = {"off_by_one", {{"way", way}}};
    try {
      execute(config, with({&off_by_one_entry}));
      ADD_FAILURE() << "way " << way;
    } catch (const cpu::invariant_error& e) {
      const std::string what = e.what();
      EXPECT_NE(what.find("off_by_one"), std::string::npos) << what;
      EXPECT_NE(what.find("vCPU 4"), std::string::npos) << what;
    }
  }
}

TEST(stop, is_asked_every_simulated_millisecond_and_changes_nothing) {
  execution_options how;
  how.bare = true;
  unsigned asked = 0, told = 0;
  how.stop = [&] { return ++asked, false; };
  how.progress = [&](double, cycles) { ++told; };
  const run_result r = execute(storm(), how);
  EXPECT_EQ(asked, 8u);
  EXPECT_LE(told, asked);

  platform::simulation s{storm()};
  cpu::fact_hash hash;
  s.hardware().facts().attach(hash);
  s.hardware().run_until(s.end());
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash.value()));
  EXPECT_EQ(r.fact_hash, text);
}

TEST(stop, ends_the_run) {
  execution_options how;
  how.bare = true;
  unsigned asked = 0;
  how.stop = [&] { return ++asked == 3; };
  const run_result r = execute(storm(), how);
  EXPECT_EQ(asked, 3u);
  EXPECT_TRUE(r.partial);
  EXPECT_EQ(r.simulated_ns, 3'000'000u);
  asked = 0;
  EXPECT_THROW(platform::execute_whole(storm(), how), platform::execution_interrupted);
}

}  // namespace
