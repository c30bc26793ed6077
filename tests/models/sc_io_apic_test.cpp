#include <gtest/gtest.h>
#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>

#include <vmxsys/cpu/systemc/sc_interrupt_port.hpp>
#include <vmxsys/cpu/systemc/sc_physical_cpu.hpp>
#include <vmxsys/cpu/systemc/sc_remapping_unit.hpp>
#include <vmxsys/models/devices/sc_io_apic.hpp>

#include "cpu/rig.hpp"
#include "cpu/sc_storm.hpp"

namespace vmxsys::models::testing {
namespace {

namespace bits = redirection_bits;
using namespace cpu;
using cpu::testing::bare_config;
using cpu::testing::in_child;
using cpu::testing::result;
using cpu::testing::rig;
using sc_core::sc_time;
using line = sc_core::sc_signal<bool, sc_core::SC_MANY_WRITERS>;

constexpr std::uint64_t one_ghz = 1'000'000;
constexpr physical_address io_apic_base = 0xFEC00000;
constexpr physical_address device_base = 0xFD000000;

void at(double ns) { wait(sc_time{ns, sc_core::SC_NS} - sc_core::sc_time_stamp()); }

/// Any body in a thread; a device with lines; a bus in front of it and the I/O APIC.
class board : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket_optional<board> from_cpu{"from_cpu"};
  tlm_utils::simple_initiator_socket<board> registers{"registers"};
  sc_core::sc_vector<line> lines;
  std::function<void(board&)> body;
  std::vector<unsigned> raised, acknowledged;

  explicit board(const sc_core::sc_module_name& n) : sc_module{n}, lines{"lines", 24}, raised(24), acknowledged(24) {
    VMXSYS_SC_HAS_PROCESS(board);
    from_cpu.register_b_transport(this, &board::b_transport);
    SC_THREAD(run);
  }

  void raise(unsigned pin) {
    if (lines[pin].read()) return;
    lines[pin].write(true);
    ++raised[pin];
  }
  std::uint32_t read(std::uint64_t offset) {
    std::uint32_t v = 0;
    access(tlm::TLM_READ_COMMAND, offset, v);
    return v;
  }
  void write(std::uint64_t offset, std::uint32_t v) { access(tlm::TLM_WRITE_COMMAND, offset, v); }
  std::uint32_t indirect(unsigned index) {
    write(0, index);
    return read(0x10);
  }
  void indirect(unsigned index, std::uint32_t v) {
    write(0, index);
    write(0x10, v);
  }
  void program(unsigned pin, std::uint64_t entry) {
    indirect(0x11 + 2 * pin, static_cast<std::uint32_t>(entry >> 32));
    indirect(0x10 + 2 * pin, static_cast<std::uint32_t>(entry));
  }

 private:
  void run() {
    if (body) body(*this);
  }
  void access(tlm::tlm_command command, std::uint64_t offset, std::uint32_t& v) {
    tlm::tlm_generic_payload t;
    t.set_command(command);
    t.set_address(io_apic_base + offset);
    t.set_data_ptr(reinterpret_cast<unsigned char*>(&v));
    t.set_data_length(4);
    t.set_streaming_width(4);
    sc_time delay;
    registers->b_transport(t, delay);
    EXPECT_TRUE(t.is_response_ok());
  }
  // A write to the device satisfies it: the line of that number goes down.
  void b_transport(tlm::tlm_generic_payload& t, sc_time& delay) {
    if (t.get_address() >= io_apic_base) {
      registers->b_transport(t, delay);
      return;
    }
    t.set_response_status(tlm::TLM_OK_RESPONSE);
    const unsigned pin = *t.get_data_ptr();
    if (!lines[pin].read()) return;
    lines[pin].write(false);
    ++acknowledged[pin];
  }
};

/// CPUs whose handler of vector 40H + p satisfies the device of pin p, or not.
struct bench {
  rig r;
  timeline_module timeline{"timeline", r.hw, one_ghz};
  sc_core::sc_vector<physical_cpu> cpus;
  interrupt_port port{"port", timeline};
  io_apic_module chip{"chip", timeline};
  board outside{"board"};
  bool handler_satisfies = true;
  struct seen {
    std::uint64_t at;
    unsigned cpu;
    std::uint8_t vector;
    friend bool operator==(const seen&, const seen&) = default;
  };
  std::vector<seen> taken;

  explicit bench(unsigned count = 1, bool stepped = false)
      : r{bare_config(count, stepped)}, cpus{"cpu", count, physical_cpu::of(timeline)} {
    cpus[0].bus.bind(outside.from_cpu);
    outside.registers.bind(chip.socket);
    chip.messages.bind(port.socket);
    for (unsigned pin = 0; pin < 24; ++pin) chip.lines[pin].bind(outside.lines[pin]);
    r.handler = [this](logical_cpu& c, std::uint8_t vector) { return handle(c.number(), vector); };
    for (unsigned i = 0; i < count; ++i)
      r.run(i, []() -> cpu::program {
        co_await rig::accept_interrupts();
        co_await rig::sleep();
      });
  }
  cpu::program handle(unsigned on, std::uint8_t vector) {
    taken.push_back({r.now().count(), on, vector});
    if (handler_satisfies) co_await isa::mmio_write(device_base, vector - 0x40u, 1);
    co_await isa::compute(cycles{100});
    co_await isa::wrmsr(apic::msr::eoi, 0);
  }
  void run(std::function<void(board&)> body, double us = 100) {
    outside.body = std::move(body);
    timeline.run_for(sc_time{us, sc_core::SC_US});
    r.hw.check_accounting();
  }
};

TEST(sc_io_apic, an_edge_becomes_a_message_of_the_next_cycle) {
  bench b;
  b.run([](board& o) {
    o.program(3, 0x43);
    at(10'000.5);
    o.raise(3);
    at(30'000);
    o.lines[3].write(false);
    at(40'000);
    o.raise(3);
  });
  const auto arrived = b.r.log.of<ipi_arrived_fact>();
  ASSERT_EQ(arrived.size(), 2u);
  // The line is seen at cycle 10001, its message leaves then and is the port's at the next, and then it flies.
  const std::uint64_t flight = b.r.hw.costs().interrupt.flight_same_socket.count();
  EXPECT_EQ(arrived[0].at().count(), 10'001 + 1 + flight);
  EXPECT_EQ(arrived[1].at().count(), 40'001 + 1 + flight);
  EXPECT_EQ(b.taken.size(), 2u);
}

TEST(sc_io_apic, a_level_comes_again_until_the_device_is_satisfied) {
  bench b;
  b.handler_satisfies = false;
  b.run([&b](board& o) {
    o.program(2, bits::level | 0x42);
    at(10'000);
    o.raise(2);
    at(16'000);
    EXPECT_GE(b.taken.size(), 3u);
    b.handler_satisfies = true;
    at(30'000);
    EXPECT_EQ(o.acknowledged[2], 1u);
    EXPECT_EQ(o.indirect(0x14) & bits::remote_irr, 0u);
  });
  const auto eois = b.r.log.of<eoi_broadcast_fact>();
  const auto arrived = b.r.log.of<ipi_arrived_fact>();
  ASSERT_EQ(eois.size(), b.taken.size());
  const interrupt_costs costs;
  for (std::size_t i = 1; i < arrived.size(); ++i)
    EXPECT_EQ(arrived[i].at().count(),
              eois[i - 1].at().count() + costs.eoi_broadcast.count() + 1 + costs.flight_same_socket.count())
        << "the EOI's way there, and the message's way back";
}

TEST(sc_io_apic, registers_show_what_has_come) {
  bench b;
  b.run([&b](board& o) {
    at(5'000.25);
    EXPECT_EQ(o.indirect(1), 0x00170020u);
    o.program(7, bits::level | bits::masked | 0x47);
    EXPECT_EQ(o.indirect(0x1E), bits::level | bits::masked | 0x47) << "an initiator reads its own writes";
    EXPECT_EQ(b.chip.state().entry(7), bits::masked) << "which act at the next cycle";
    at(5'002);
    EXPECT_EQ(o.read(0), 0x1Eu);
    EXPECT_EQ(b.chip.state().entry(7), bits::level | bits::masked | 0x47);
    o.raise(7);
    o.indirect(0x1E, bits::level | 0x47);
    wait(sc_core::SC_ZERO_TIME);
    wait(sc_core::SC_ZERO_TIME);
    EXPECT_NE(o.read(0x10) & bits::remote_irr, 0u) << "and the line is up, in this cycle";
  });
}

TEST(sc_io_apic, delayed_writes_act_later) {
  bench b;
  b.run([&b](board& o) {
    at(1'000);
    std::uint32_t index = 0x33;
    tlm::tlm_generic_payload t;
    t.set_command(tlm::TLM_WRITE_COMMAND);
    t.set_address(0);
    t.set_data_ptr(reinterpret_cast<unsigned char*>(&index));
    t.set_data_length(4);
    t.set_streaming_width(4);
    sc_time delay{500, sc_core::SC_NS};
    o.registers->b_transport(t, delay);
    EXPECT_EQ(o.read(0), 0u);
    at(1'499);
    EXPECT_EQ(o.read(0), 0u);
    at(1'501);
    EXPECT_EQ(o.read(0), 0x33u);
    t.set_command(tlm::TLM_READ_COMMAND);
    delay = sc_time{9, sc_core::SC_NS};
    o.registers->b_transport(t, delay);
    EXPECT_EQ(sc_core::sc_time_stamp(), sc_time(1'510, sc_core::SC_NS)) << "a read waits its delay out";
    EXPECT_EQ(delay, sc_core::SC_ZERO_TIME);
  });
}

TEST(sc_io_apic, lines_without_signals) {
  rig r{bare_config(1)};
  timeline_module timeline{"timeline", r.hw, one_ghz};
  interrupt_port port{"port", timeline};
  io_apic_module chip{"chip", timeline, {240}};
  chip.messages.bind(port.socket);
  board o{"board"};
  o.registers.bind(chip.socket);
  o.body = [&chip](board& b) {
    b.program(119, 0x91);
    at(2'000);
    chip.drive(119, true);
    chip.drive(119, false, sc_time{10, sc_core::SC_NS});
    chip.drive(119, true, sc_time{20, sc_core::SC_NS});
  };
  r.run(0, []() -> cpu::program {
    co_await rig::enable_apic();
    co_await rig::sleep();
  });
  timeline.run_for(sc_time{10, sc_core::SC_US});
  const auto arrived = r.log.of<ipi_arrived_fact>();
  ASSERT_EQ(arrived.size(), 2u);
  EXPECT_EQ((arrived[1].at() - arrived[0].at()).count(), 20u);
}

TEST(sc_io_apic, messages_of_a_chip_that_is_connected_to_nothing_are_lost_quietly) {
  rig r{bare_config(1)};
  timeline_module timeline{"timeline", r.hw, one_ghz};
  io_apic_module chip{"chip", timeline};
  board o{"board"};
  o.registers.bind(chip.socket);
  o.body = [&chip](board& b) {
    b.program(1, 0x41);
    chip.drive(1, true);
  };
  timeline.run_for(sc_time{10, sc_core::SC_US});
  EXPECT_TRUE(r.log.of<ipi_arrived_fact>().empty());
}

TEST(sc_io_apic, a_remapped_line_goes_where_the_table_says) {
  rig r{bare_config(2)};
  timeline_module timeline{"timeline", r.hw, one_ghz};
  apic::remapping_table table;
  table.address = 0x9'0000;
  apic::remapping_entry e;
  e.present = true;
  e.vector = 0x77;
  e.destination = 1;
  e.level = true;
  e.validation = apic::source_validation::requester;
  e.source = 0xF0F8;
  apic::write_entry(r.hw.physical(), table, 0x8001, e);
  table.size = 15;
  remapping_unit unit{"unit", timeline, table};
  io_apic_module chip{"chip", timeline, {}, {io_apic_base, 0xF0F8}};
  chip.messages.bind(unit.socket);
  board o{"board"};
  o.registers.bind(chip.socket);
  unsigned handled = 0;
  r.handler = [&](logical_cpu& c, std::uint8_t vector) {
    EXPECT_EQ(c.number(), 1u);
    EXPECT_EQ(vector, 0x77);
    ++handled;
    return rig::acknowledge();
  };
  r.run(1, []() -> cpu::program {
    co_await rig::accept_interrupts();
    co_await rig::sleep();
  });
  o.body = [&](board& b) {
    // The vector is that of the table's entry, because the EOI's is.
    b.program(5, std::uint64_t{1} << bits::handle_shift | bits::remappable | bits::logical | bits::level | 0x77);
    at(5'000);
    chip.drive(5, true);
    at(5'010);
    chip.drive(5, false);
    at(20'000);
    EXPECT_EQ(b.indirect(0x1A) & bits::remote_irr, 0u);
    chip.drive(5, true);
    at(20'010);
    chip.drive(5, false);
  };
  timeline.run_for(sc_time{30, sc_core::SC_US});
  EXPECT_EQ(unit.count(apic::remapping_step::remaps), 2u);
  EXPECT_EQ(handled, 2u);
}

// Two processors, sixteen levels and eight edges at awkward times, programmed from outside and re-programmed on the
// way.
result storm(double quantum_ns, bool stepped) {
  tlm::tlm_global_quantum::instance().set(sc_time{quantum_ns, sc_core::SC_NS});
  bench b{1, stepped};
  unsigned pulses = 0;
  b.run(
      [&](board& o) {
        vmxsys::testing::random_numbers next{5};
        for (unsigned pin = 0; pin < 24; ++pin) o.program(pin, (pin < 16 ? bits::level : 0) | (0x40u + pin));
        for (unsigned n = 0; n < 400; ++n) {
          wait(sc_time{static_cast<double>(next.below(900'000)) / 1000, sc_core::SC_NS});
          if (next.one_in(4)) {
            // At the very time of a cycle.
            const auto ns = static_cast<double>(sc_core::sc_time_stamp().value() / 1000 + 1);
            at(ns);
          }
          const auto pin = static_cast<unsigned>(next.below(24));
          if (next.one_in(5)) {
            const std::uint64_t e = (pin < 16 ? bits::level : 0) | (0x40u + pin);
            o.indirect(0x10 + 2 * pin, static_cast<std::uint32_t>(e | bits::masked));
            wait(sc_time{static_cast<double>(next.below(300'000)) / 1000, sc_core::SC_NS});
            o.indirect(0x10 + 2 * pin, static_cast<std::uint32_t>(e));
          } else if (pin < 16) {
            o.raise(pin);
          } else if (!o.lines[pin].read()) {
            ++pulses;
            o.lines[pin].write(true);
            wait(sc_time{2, sc_core::SC_NS});
            o.lines[pin].write(false);
          }
        }
      },
      1000);
  for (unsigned pin = 0; pin < 16; ++pin) EXPECT_EQ(b.outside.acknowledged[pin], b.outside.raised[pin]) << pin;
  EXPECT_GT(b.taken.size(), 150u);
  result out;
  out.hash = b.r.hash.value();
  out.facts = b.r.hash.count();
  out.looks = b.taken.size();
  out.ok = 1;
  return out;
}

TEST(sc_io_apic, the_quantum_changes_no_fact) {
  const result expected = in_child([] { return storm(0, true); });
  ASSERT_EQ(expected.ok, 1u);
  EXPECT_GT(expected.facts, 800u);
  for (const double quantum : {0.0, 100.0, 1'000.0, 1e6})
    EXPECT_EQ(in_child([=] { return storm(quantum, false); }), expected) << quantum;
}

}  // namespace
}  // namespace vmxsys::models::testing
