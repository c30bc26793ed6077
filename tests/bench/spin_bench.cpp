#include "cpu/storm_fixture.hpp"
#include "ratio.hpp"

// What jumping over regular iterations of a spin loop gains over executing them.
namespace vmxsys::bench {
namespace {

using cpu::testing::spin_rig;

/// Seconds per simulated cycle.
double spin_under_vmm(bool stepped, std::uint64_t until) {
  spin_rig rig{stepped};
  return seconds([&] { rig.hw.run_until(cycles{until}); }) / static_cast<double>(until);
}

// PAUSE takes 40 cycles; the window of 4096 makes an exit every hundred of them.
void spin_under_a_ten_line_vmm(benchmark::State& state) {
  for (auto _ : state)
    at_least(state,
             median_ratio(
                 9, [] { return spin_under_vmm(true, 20'000'000); }, [] { return spin_under_vmm(false, 200'000'000); }),
             4);
}
BENCHMARK(spin_under_a_ten_line_vmm)->Iterations(1)->Unit(benchmark::kMillisecond);

constexpr cpu::code_location wait_site{"wait", 0xffffffff81000100, 0, 0, cpu::bucket::spin};
constexpr cpu::code_location main_site{"main", 0xffffffff81000000, 0, 0, cpu::bucket::kernel};
constexpr std::uint64_t millisecond = 2'300'000;

cpu::program holder(cpu::word& lock) {
  for (;;) {
    co_await cpu::isa::store(lock, 1);
    co_await cpu::isa::compute(cycles{millisecond});
    co_await cpu::isa::store(lock, 0);
    co_await cpu::isa::compute(cycles{5'000});
  }
}

cpu::program waiter(cpu::word& lock) {
  for (;;) {
    co_await cpu::isa::spin_while(lock, cpu::spin_predicate::while_equal(1), wait_site);
    co_await cpu::isa::compute(cycles{1'000});
  }
}

/// Two CPUs: one holds a lock for a millisecond at a time, the other waits for it.
struct long_hold final : cpu::boot_if {
  explicit long_hold(bool stepped)
      : hw{cpu::testing::small_machine(2, stepped)}, lock{hw.physical().word_at(0x100000)} {
    owner.start(boot_other(), main_site);
    other.start(waiter(lock), main_site);
    hw.connect(*this);
  }
  cpu::strand& boot(cpu::logical_cpu& c, physical_address) override { return c.number() == 0 ? owner : other; }
  cpu::program boot_other() {
    co_await cpu::isa::wrmsr(0x80F, 0x1FF);
    co_await cpu::isa::wrmsr(0x830, std::uint64_t{1} << 32 | 0x4500);
    co_await cpu::isa::wrmsr(0x830, std::uint64_t{1} << 32 | 0x4699);
    co_await holder(lock);
  }
  cpu::machine hw;
  cpu::word& lock;
  cpu::strand owner{hw.names(), "owner"};
  cpu::strand other{hw.names(), "other"};
};

double hold_for_a_millisecond(bool stepped, std::uint64_t rounds) {
  long_hold rig{stepped};
  const std::uint64_t until = rounds * (millisecond + 6'000);
  return seconds([&] { rig.hw.run_until(cycles{until}); }) / static_cast<double>(until);
}

void lock_held_for_a_millisecond(benchmark::State& state) {
  for (auto _ : state)
    at_least(
        state,
        median_ratio(
            5, [] { return hold_for_a_millisecond(true, 8); }, [] { return hold_for_a_millisecond(false, 20'000); }),
        1000);
}
BENCHMARK(lock_held_for_a_millisecond)->Iterations(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vmxsys::bench
