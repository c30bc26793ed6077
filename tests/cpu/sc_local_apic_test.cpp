#include <gtest/gtest.h>
#include <tlm_utils/simple_initiator_socket.h>

#include <vmxsys/cpu/systemc/sc_local_apic.hpp>

#include "rig.hpp"

namespace vmxsys::cpu::testing {
namespace {

using sc_core::sc_time;
namespace page = apic::page;

class debugger : public sc_core::sc_module {
 public:
  tlm_utils::simple_initiator_socket<debugger> socket{"socket"};
  std::function<void(debugger&)> body;

  explicit debugger(const sc_core::sc_module_name& n) : sc_module{n} {
    VMXSYS_SC_HAS_PROCESS(debugger);
    SC_THREAD(run);
  }
  std::uint32_t read(std::uint64_t at) { return access(tlm::TLM_READ_COMMAND, at, 0); }
  void write(std::uint64_t at, std::uint32_t v, sc_time delay = {}) { access(tlm::TLM_WRITE_COMMAND, at, v, delay); }
  std::uint32_t peek(std::uint64_t at) {
    std::uint32_t v = 0;
    tlm::tlm_generic_payload t;
    fill(t, tlm::TLM_READ_COMMAND, at, v);
    EXPECT_EQ(socket->transport_dbg(t), 4u);
    return v;
  }
  tlm::tlm_response_status status = tlm::TLM_INCOMPLETE_RESPONSE;

 private:
  void run() { body(*this); }
  std::uint32_t access(tlm::tlm_command command, std::uint64_t at, std::uint32_t v, sc_time delay = {}) {
    tlm::tlm_generic_payload t;
    fill(t, command, at, v);
    socket->b_transport(t, delay);
    status = t.get_response_status();
    return v;
  }
  static void fill(tlm::tlm_generic_payload& t, tlm::tlm_command command, std::uint64_t at, std::uint32_t& v) {
    t.set_command(command);
    t.set_address(at);
    t.set_data_ptr(reinterpret_cast<unsigned char*>(&v));
    t.set_data_length(4);
    t.set_streaming_width(4);
  }
};

void at(double ns) { wait(sc_time{ns, sc_core::SC_NS} - sc_core::sc_time_stamp()); }

struct bench {
  rig r;
  timeline_module timeline{"timeline", r.hw, 1'000'000};
  local_apic target{"apic", timeline, 1};
  debugger outside{"debugger"};

  static machine_config config(apic::apic_mode mode) {
    machine_config c = bare_config(2);
    c.boot_apic = mode;
    return c;
  }
  explicit bench(apic::apic_mode mode = apic::apic_mode::xapic) : r{config(mode)} {
    outside.socket.bind(target.socket);
  }
  void run(std::function<void(debugger&)> body) {
    outside.body = std::move(body);
    timeline.run_for(sc_time{100, sc_core::SC_US});
    r.hw.check_accounting();
  }
};

TEST(sc_local_apic, shows_the_registers) {
  bench b;
  b.run([](debugger& d) {
    EXPECT_EQ(d.read(page::id), 1u << 24);
    EXPECT_EQ(d.read(0xFEE00000 + page::version) & 0xFF, 0x15u);
    EXPECT_EQ(d.read(page::svr), 0xFFu);
    EXPECT_EQ(d.peek(page::svr), 0xFFu);
    EXPECT_EQ(d.status, tlm::TLM_OK_RESPONSE);
  });
}

TEST(sc_local_apic, a_write_takes_effect_in_the_next_cycle_and_is_read_back_at_once) {
  bench b;
  b.run([&b](debugger& d) {
    at(1'000.5);
    d.write(page::tpr, 0x35);
    EXPECT_EQ(d.read(page::tpr), 0x35u);
    EXPECT_EQ(d.peek(page::tpr), 0x35u);
    EXPECT_EQ(b.r.hw.cpu(1).local_apic().task_priority(), 0);
    d.write(page::tpr, 0x45, sc_time{500, sc_core::SC_NS});
    at(1'002);
    EXPECT_EQ(d.read(page::tpr), 0x35u);
    EXPECT_EQ(b.r.hw.cpu(1).local_apic().task_priority(), 0x35);
    at(1'502);
    EXPECT_EQ(d.read(page::tpr), 0x45u);
  });
}

TEST(sc_local_apic, looking_changes_nothing) {
  bench b;
  b.run([&b](debugger& d) {
    EXPECT_EQ(d.read(page::id + 0x20), 0u + d.read(page::version + 0x10)) << "registers that do not exist";
    EXPECT_EQ(b.r.hw.cpu(1).local_apic().errors(), 0u);
    const std::uint64_t events = b.r.hw.time().events();
    d.peek(page::id);
    EXPECT_EQ(b.r.hw.time().events(), events);
  });
}

TEST(sc_local_apic, sends_ipis_and_ends_interrupts_as_the_cpu_would) {
  bench b;
  unsigned handled = 0;
  b.r.handler = [&](logical_cpu& c, std::uint8_t vector) -> program {
    EXPECT_EQ(c.number(), 1u);
    EXPECT_EQ(vector, 0x51 + handled);
    ++handled;
    return []() -> program { co_await isa::compute(cycles{100}); }();  // somebody else writes EOI
  };
  b.r.run(1, []() -> program {
    co_await isa::mmio_write(0xFEE000F0, 0x1FF, 4);
    co_await isa::sti();
    co_await rig::sleep();
  });
  b.run([&](debugger& d) {
    at(5'000);
    d.write(page::icr_high, 1u << 24);
    d.write(page::icr_low, 0x4051);
    at(10'000);
    d.write(page::icr_low, 0x4052);
    at(12'000);
    EXPECT_EQ(handled, 1u) << "51H and 52H are of one class";
    EXPECT_EQ(d.read(page::isr + 0x20), 1u << 17);
    EXPECT_EQ(d.read(page::irr + 0x20), 1u << 18);
    d.write(page::eoi, 0);
    at(14'000);
    EXPECT_EQ(handled, 2u) << "the EOI of a debugger lets the next one in, in the middle of a computation";
  });
  EXPECT_EQ(b.r.log.of<ipi_sent_fact>().size(), 2u);
}

TEST(sc_local_apic, the_page_does_not_answer_in_x2apic_mode) {
  bench b{apic::apic_mode::x2apic};
  b.run([](debugger& d) {
    d.read(page::id);
    EXPECT_EQ(d.status, tlm::TLM_ADDRESS_ERROR_RESPONSE);
    d.write(page::tpr, 1);
    EXPECT_EQ(d.status, tlm::TLM_ADDRESS_ERROR_RESPONSE);
  });
}

TEST(sc_local_apic, of_a_cpu_that_exists) {
  timeline_module timeline{"timeline", bare_config(2), 1'000'000};
  EXPECT_THROW((local_apic{"apic", timeline, 2}), sc_core::sc_report);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
