#include <gtest/gtest.h>

#include "sc_storm.hpp"

// Accesses of a CPU to devices outside, one program at a time.
namespace vmxsys::cpu::testing {
namespace {

using sc_core::sc_time;
constexpr std::uint64_t one_ghz = 1'000'000;  // a cycle is a nanosecond

struct one_program final : boot_if {
  using body = std::function<program(one_program&)>;
  one_program(machine& hw, body b) : on{hw.names(), "cpu0"}, software{std::move(b)} {
    on.start(software(*this), storm_code);
  }
  strand& boot(logical_cpu&, physical_address) override { return on; }
  std::uint64_t value = 0;
  std::uint64_t done_at = 0;
  strand on;
  body software;
};

program read_once(one_program& p, physical_address at, unsigned bytes, std::uint64_t work) {
  co_await isa::compute(cycles{work});
  p.value = co_await isa::mmio_read(at, bytes);
  p.done_at = (co_await isa::this_cpu()).now().count();
  for (;;) co_await isa::compute(cycles{1'000'000'000});
}

struct device : sc_core::sc_module {
  tlm_utils::simple_target_socket_optional<device> socket{"socket"};
  std::uint64_t value = 0x8877665544332211;
  sc_time takes;
  sc_time annotates;
  sc_time called_at;
  tlm::tlm_response_status status = tlm::TLM_OK_RESPONSE;
  explicit device(const sc_core::sc_module_name& n) : sc_module{n} {
    socket.register_b_transport(this, &device::b_transport);
  }
  void b_transport(tlm::tlm_generic_payload& t, sc_time& delay) {
    called_at = sc_core::sc_time_stamp();
    if (takes != sc_core::SC_ZERO_TIME) wait(takes);
    delay += annotates;
    if (t.is_read())
      std::memcpy(t.get_data_ptr(), &value, t.get_data_length());
    else
      std::memcpy(&value, t.get_data_ptr(), t.get_data_length());
    t.set_response_status(status);
  }
};

/// Processes of the outside that change the device at a given instant: five in its first delta cycle, made pending at
/// different times before it, and three in its third, a method among them.
struct poker : sc_core::sc_module {
  poker(const sc_core::sc_module_name& n, device& d, sc_time at) : sc_module{n}, device_{d}, at_{at} {
    VMXSYS_SC_HAS_PROCESS(poker);
    SC_THREAD(first_delta_1);
    SC_THREAD(third_delta_1);
    SC_THREAD(first_delta_2);
    SC_THREAD(first_delta_3);
    SC_THREAD(third_delta_2);
    SC_THREAD(first_delta_4);
    SC_THREAD(first_delta_5);
    SC_METHOD(third_delta_3);
  }
  void first_delta_1() { add(0, 1, 1); }
  void first_delta_2() { add(10'000, 1, 1); }
  void first_delta_3() { add(900'000, 1, 1); }
  void first_delta_4() { add(500'000, 1, 1); }
  void first_delta_5() { add(10'001, 1, 1); }
  void third_delta_1() { add(0, 3, 0x100); }
  void third_delta_2() { add(20'000, 3, 0x100); }
  void third_delta_3() {  // methods go before threads
    switch (runs_++) {
      case 0:
        next_trigger(at_);
        break;
      case 1:
      case 2:
        next_trigger(sc_core::SC_ZERO_TIME);
        break;
      default:
        device_.value += 0x100;
    }
  }
  void add(double before_ps, int delta, std::uint64_t value) {
    const sc_time before{before_ps, sc_core::SC_PS};
    wait(at_ - before);
    if (before_ps != 0) wait(before);
    for (int i = 1; i < delta; ++i) wait(sc_core::SC_ZERO_TIME);
    device_.value += value;
  }
  device& device_;
  sc_time at_;
  int runs_ = 0;
};

struct rig {
  timeline_module timeline{"timeline", small_machine(1, false), one_ghz};
  physical_cpu cpu{"cpu", timeline, 0};
  device target{"target"};
  one_program software;
  boot_adapter boot{software};
  explicit rig(one_program::body body, bool bound = true) : software{timeline.hardware(), std::move(body)} {
    cpu.boot(boot);
    if (bound) cpu.bus.bind(target.socket);
  }
};

result read_under(std::uint64_t quantum_ps, std::uint64_t work, std::uint64_t poke_ns, std::uint64_t takes_ns,
                  std::uint64_t annotates_ns) {
  return in_child([=] {
    tlm::tlm_global_quantum::instance().set(sc_time{static_cast<double>(quantum_ps), sc_core::SC_PS});
    rig r{[=](one_program& p) { return read_once(p, device_address, 8, work); }};
    r.target.takes = sc_time{static_cast<double>(takes_ns), sc_core::SC_NS};
    r.target.annotates = sc_time{static_cast<double>(annotates_ns), sc_core::SC_NS};
    poker p{"poker", r.target, sc_time{static_cast<double>(poke_ns), sc_core::SC_NS}};
    r.timeline.run_for(sc_time{10, sc_core::SC_US});
    return result{r.software.value, r.software.done_at, r.target.called_at.value(), 0, 0, 1};
  });
}

// The load costs 4 cycles, so the transaction of a read issued at cycle 1000 is carried at 1004 ns and answered at
// floor(T)+1.
TEST(sc_bus, a_transaction_is_carried_at_its_cycle_and_answered_one_cycle_later) {
  for (std::uint64_t quantum : {0ull, 1'000ull, 1'000'000ull, 1'000'000'000ull}) {
    const result r = read_under(quantum, 1000, 5000, 0, 0);
    EXPECT_EQ(r.device_answers, 1'004'000u) << "picoseconds, quantum " << quantum;
    EXPECT_EQ(r.facts, 1005u) << quantum;
    EXPECT_EQ(r.hash, 0x8877665544332211u) << quantum;
    EXPECT_EQ(read_under(quantum, 1000, 5000, 100, 0).facts, 1105u) << quantum;
    EXPECT_EQ(read_under(quantum, 1000, 5000, 100, 11).facts, 1116u) << quantum;
  }
}

TEST(sc_bus, what_another_process_does_at_the_same_instant_is_before_it_for_every_quantum) {
  for (std::uint64_t quantum : {0ull, 1'000ull, 1'000'000ull, 1'000'000'000ull}) {
    EXPECT_EQ(read_under(quantum, 1000, 1003, 0, 0).hash, 0x8877665544332516u) << quantum;
    EXPECT_EQ(read_under(quantum, 1000, 1004, 0, 0).hash, 0x8877665544332216u) << quantum;
    EXPECT_EQ(read_under(quantum, 1000, 1005, 0, 0).hash, 0x8877665544332211u) << quantum;
  }
}

TEST(sc_bus, narrow_reads) {
  rig r{[](one_program& p) { return read_once(p, device_address, 2, 10); }};
  r.timeline.run_for(sc_time{1, sc_core::SC_US});
  EXPECT_EQ(r.software.value, 0x2211u);
}

TEST(sc_bus, all_ones_where_no_device_claims_the_address) {
  rig r{[](one_program& p) { return read_once(p, device_address, 4, 10); }};
  r.target.status = tlm::TLM_ADDRESS_ERROR_RESPONSE;
  r.timeline.run_for(sc_time{1, sc_core::SC_US});
  EXPECT_EQ(r.software.value, 0xFFFFFFFFu);
}

TEST(sc_bus, all_ones_without_a_bus_after_the_cost_of_a_load) {
  rig r{[](one_program& p) { return read_once(p, device_address, 1, 10); }, false};
  r.timeline.run_for(sc_time{1, sc_core::SC_US});
  EXPECT_EQ(r.software.value, 0xFFu);
  EXPECT_EQ(r.software.done_at, 14u);
}

program write_then_read(one_program& p) {
  co_await isa::mmio_write(device_address, 0x1234, 2);
  p.value = co_await isa::mmio_read(device_address, 4);
  p.done_at = (co_await isa::this_cpu()).now().count();
  for (;;) co_await isa::compute(cycles{1'000'000'000});
}

TEST(sc_bus, a_write_is_taken_before_the_next_instruction) {
  rig r{write_then_read};
  r.target.takes = sc_time{50, sc_core::SC_NS};
  r.timeline.run_for(sc_time{1, sc_core::SC_US});
  EXPECT_EQ(r.software.value, 0x44331234u);
  EXPECT_EQ(r.software.done_at, 4u + 51 + 4 + 51);
}

/// CPU 1 waits for a slow device when CPU 0 resets and restarts it; its second life waits for the device again.
struct reset_in_between final : boot_if {
  machine& hw;
  std::uint64_t values[2] = {};
  std::uint64_t done_at[2] = {};
  unsigned lives = 0;
  strand first{hw.names(), "first"}, second{hw.names(), "second"}, main{hw.names(), "main"};

  explicit reset_in_between(machine& m) : hw{m} {
    first.start(reads(0), storm_code);
    second.start(reads(1), storm_code);
    main.start(resets(), storm_code);
  }
  strand& boot(logical_cpu& on, physical_address) override {
    return on.number() == 0 ? main : lives++ == 0 ? first : second;
  }
  program reads(unsigned life) {
    values[life] = co_await isa::mmio_read(device_address, 1);
    done_at[life] = (co_await isa::this_cpu()).now().count();
    for (;;) co_await isa::compute(cycles{1'000'000'000});
  }
  program resets() {
    constexpr std::uint64_t to_1 = std::uint64_t{1} << 32;
    co_await isa::wrmsr(apic::msr::icr, to_1 | 0x4608);  // SIPI
    co_await isa::compute(cycles{2'000});
    co_await isa::wrmsr(apic::msr::icr, to_1 | 0x4500);  // INIT
    co_await isa::compute(cycles{1'000});
    co_await isa::wrmsr(apic::msr::icr, to_1 | 0x4608);
    for (;;) co_await isa::compute(cycles{1'000'000'000});
  }
};

TEST(sc_bus, an_answer_to_a_cpu_that_was_reset_is_dropped) {
  timeline_module timeline{"timeline", small_machine(2, false), one_ghz};
  physical_cpu cpu{"cpu", timeline, 1};
  device target{"target"};
  target.takes = sc_time{10, sc_core::SC_US};
  cpu.bus.bind(target.socket);
  reset_in_between software{timeline.hardware()};
  timeline.hardware().connect(software);
  timeline.run_for(sc_time{30, sc_core::SC_US});
  EXPECT_EQ(software.lives, 2u);
  EXPECT_EQ(software.done_at[0], 0u);
  EXPECT_GT(software.done_at[1], 20'000u) << "the bridge carries one transaction at a time";
  EXPECT_LT(software.done_at[1], 21'000u);
  EXPECT_EQ(software.values[1], 0x11u);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
