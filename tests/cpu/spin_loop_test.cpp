#include <gtest/gtest.h>

#include <vmxsys/cpu/core/detail/spin_loop.hpp>
#include <vmxsys/vmx/spin_detectors/catalogue.hpp>

#include "core_rig.hpp"

// The spin loop on a core alone: a jump and the way back into the middle of an iteration are the stepped loop.
namespace vmxsys::cpu::testing {
namespace {

constexpr code_location site{"spin", 0xffffffff81101000, 0x13, 0, bucket::spin};
constexpr std::uint64_t gap = 128, window = 1000;

struct spinner {
  explicit spinner(bool stepped, bool guest = false)
      : rig{stepped}, loop{rig.core, [] { return vmx::spin_detectors().select("pause_loop_exiting").make(); }, {}} {
    target.initialise(1);
    if (guest) {
      rig.enter_guest();
      loop.detectors().on_entry(cycles{0}, {gap, window, true, false, false});
    }
    rig.at_step = [this](cycles now) {
      ++steps;
      if (loop.arrive(now))
        proceed(now);
      else
        ended = now;
    };
    loop.begin(spin, cycles{0});
    proceed(cycles{0});
  }
  void proceed(cycles now) {
    if (!loop.proceed(false, now)) exited = now;
  }
  /// The state in the middle of the run: where the loop stands, and when it goes on.
  void expect_like(const spinner& other) const {
    EXPECT_EQ(spin.position, other.spin.position);
    EXPECT_EQ(spin.iterations, other.spin.iterations);
    EXPECT_EQ(rig.time.next(), other.rig.time.next());
    EXPECT_EQ(exited, other.exited);
  }

  cycles spun() const { return rig.core.account.total(vmx_operation::root, bucket::spin); }

  core_rig rig;
  spin_loop loop;
  word& target = rig.physical.word_at(0x5000);
  spin_instruction spin{target, spin_predicate::while_equal(1), site, nullptr, 0};
  unsigned steps = 0;
  cycles ended = cycles::never();
  cycles exited = cycles::never();
};

TEST(cpu_spin_loop, a_jump_takes_no_steps) {
  spinner fast{false}, stepped{true};
  for (spinner* s : {&fast, &stepped}) s->rig.time.run_until(cycles{10'000});
  EXPECT_LE(fast.steps, 2u);
  EXPECT_GT(stepped.steps, 400u);
}

TEST(cpu_spin_loop, the_way_back_is_exact_at_every_cycle) {
  for (const bool guest : {false, true})
    for (std::uint64_t at = 1; at < 400; ++at) {
      SCOPED_TRACE(std::to_string(at) + (guest ? " in a guest" : ""));
      spinner fast{false, guest}, stepped{true, guest};
      for (spinner* s : {&fast, &stepped}) s->rig.time.run_until(cycles{at});
      fast.loop.materialise(cycles{at});
      fast.expect_like(stepped);
    }
}

TEST(cpu_spin_loop, the_detector_exits_at_the_same_pause) {
  spinner fast{false, true}, stepped{true, true};
  for (spinner* s : {&fast, &stepped}) s->rig.time.run_until(cycles{5'000});
  EXPECT_NE(fast.exited, cycles::never());
  EXPECT_GT(fast.exited, cycles{window});
  fast.expect_like(stepped);
  EXPECT_LT(fast.steps, stepped.steps);
}

TEST(cpu_spin_loop, a_store_of_another_cpu_ends_it_at_the_same_poll) {
  for (std::uint64_t at = 300; at < 400; ++at) {
    SCOPED_TRACE(at);
    spinner fast{false}, stepped{true};
    for (spinner* s : {&fast, &stepped}) {
      const slot store = [](spinner& on) {
        return on.rig.time.add_slot(&on, [](void* self, cycles now) {
          auto& of = *static_cast<spinner*>(self);
          of.rig.physical.complete_store(of.target, 1, now, 0);
        });
      }(*s);
      s->rig.time.arm(store, cycles{at}, phase::effect);
      s->rig.time.run_until(cycles{2'000});
    }
    EXPECT_NE(fast.ended, cycles::never());
    EXPECT_EQ(fast.ended, stepped.ended);
    EXPECT_EQ(fast.spin.iterations, stepped.spin.iterations);
    EXPECT_EQ(fast.rig.core.activity, cpu_activity::executing);
    EXPECT_EQ(fast.spun(), stepped.spun());
  }
}

TEST(cpu_spin_loop, a_monitor_trap_flag_forbids_the_jump) {
  spinner s{false};
  s.rig.at_step = [&s](cycles now) {
    ++s.steps;
    if (s.loop.arrive(now)) s.loop.proceed(true, now);
  };
  s.rig.time.run_until(cycles{1'000});
  EXPECT_GT(s.steps, 30u);
}

TEST(cpu_spin_loop, leaving_keeps_the_position) {
  spinner s{false};
  s.rig.time.run_until(cycles{500});
  const std::uint64_t before = s.spin.iterations;
  s.loop.leave(cycles{500});
  EXPECT_GT(s.spin.iterations, before) << "the jump's PAUSEs are counted";
  const std::uint64_t iterations = s.spin.iterations;
  s.rig.core.activity = cpu_activity::executing;
  s.loop.begin(s.spin, cycles{700});
  EXPECT_EQ(s.spin.iterations, iterations);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
