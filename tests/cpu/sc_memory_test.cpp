#include <gtest/gtest.h>

#include <vmxsys/apic/local/destination.hpp>

#include "sc_storm.hpp"

namespace vmxsys::cpu::testing {
namespace {

using sc_core::sc_time;
constexpr std::uint64_t one_ghz = 1'000'000;

struct transaction : tlm::tlm_generic_payload {
  transaction(tlm::tlm_command c, std::uint64_t at, void* data, unsigned bytes) {
    set_command(c);
    set_address(at);
    set_data_ptr(static_cast<unsigned char*>(data));
    set_data_length(bytes);
    set_streaming_width(bytes);
  }
};

/// Runs a test body in a thread, with a socket on the memory and one on the interrupt window.
struct probe : sc_core::sc_module {
  tlm_utils::simple_initiator_socket<probe> memory{"memory"};
  tlm_utils::simple_initiator_socket<probe> interrupts{"interrupts"};
  std::function<void(probe&)> body;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> invalidated;
  bool done = false;

  explicit probe(const sc_core::sc_module_name& n) : sc_module{n} {
    VMXSYS_SC_HAS_PROCESS(probe);
    memory.register_invalidate_direct_mem_ptr(this, &probe::invalidate);
    SC_THREAD(run);
  }
  void invalidate(sc_dt::uint64 a, sc_dt::uint64 b) { invalidated.emplace_back(a, b); }
  void run() {
    if (body) body(*this);
    done = true;
  }
  static transaction payload(tlm::tlm_command c, std::uint64_t at, void* data, unsigned bytes) {
    return {c, at, data, bytes};
  }
  std::uint64_t read(std::uint64_t at, unsigned bytes = 8) {
    std::uint64_t v = 0;
    auto p = payload(tlm::TLM_READ_COMMAND, at, &v, bytes);
    sc_time delay;
    memory->b_transport(p, delay);
    EXPECT_TRUE(p.is_response_ok());
    return v;
  }
  void write(std::uint64_t at, std::uint64_t v, unsigned bytes = 8, sc_time delay = {}) {
    auto p = payload(tlm::TLM_WRITE_COMMAND, at, &v, bytes);
    memory->b_transport(p, delay);
    EXPECT_TRUE(p.is_response_ok());
  }
  tlm::tlm_response_status msi(std::uint64_t at, std::uint32_t data, unsigned bytes = 4) {
    auto p = payload(tlm::TLM_WRITE_COMMAND, at, &data, bytes);
    sc_time delay;
    interrupts->b_transport(p, delay);
    return p.get_response_status();
  }
};

struct arrivals final : fact_observer {
  struct one {
    std::uint64_t cpu, at, vector, mode;
    friend bool operator==(const one&, const one&) = default;
  };
  std::vector<one> all;
  void observe(const fact_view& f) override {
    if (const auto* a = f.as<ipi_arrived_fact>())
      all.push_back({f.header().id.source, f.header().at.count(), a->vector, a->mode});
  }
};

program spin_on(word& w, std::uint64_t& seen_at) {
  co_await isa::spin_while(w, spin_predicate::while_equal(0), storm_bell);
  seen_at = (co_await isa::this_cpu()).now().count();
  for (;;) co_await isa::compute(cycles{1'000'000'000});
}
program idle_program() {
  for (;;) co_await isa::compute(cycles{1'000'000'000});
}

struct rig : boot_if {
  timeline_module timeline;
  memory_target memory{"memory", timeline};
  interrupt_port port{"port", timeline};
  probe outside{"probe"};
  arrivals seen;
  strand on{timeline.hardware().names(), "cpu0"};
  strand& boot(logical_cpu&, physical_address) override { return on; }

  static machine_config machine_of(bool stepped) {
    machine_config c = small_machine(4, stepped);
    c.shape = {2, 2, 1};
    return c;
  }
  explicit rig(bool stepped = false) : timeline{"timeline", machine_of(stepped), one_ghz} {
    outside.memory.bind(memory.socket);
    outside.interrupts.bind(port.socket);
    timeline.hardware().facts().attach(seen);
    timeline.hardware().connect(*this);
  }
  void run(std::function<void(probe&)> body, program p = idle_program(), sc_time until = sc_time{100, sc_core::SC_US}) {
    on.start(std::move(p), storm_code);
    outside.body = std::move(body);
    timeline.run_for(until);
    EXPECT_TRUE(outside.done);
  }
};

void at(double ns) { wait(sc_time{ns, sc_core::SC_NS} - sc_core::sc_time_stamp()); }

TEST(sc_memory, base_protocol) {
  rig r;
  r.run([](probe& p) {
    p.write(0x1000, 0x1122334455667788);
    EXPECT_EQ(p.read(0x1000), 0x1122334455667788u) << "an initiator reads its own write back in the same instant";
    EXPECT_EQ(p.read(0x1002, 4), 0x33445566u);
    wait(sc_time{3, sc_core::SC_NS});
    EXPECT_EQ(p.read(0x1000), 0x1122334455667788u);

    std::uint64_t data = 0xAABBCCDDEEFF0011;
    unsigned char enables[] = {TLM_BYTE_DISABLED, TLM_BYTE_ENABLED};
    auto t = p.payload(tlm::TLM_WRITE_COMMAND, 0x1000, &data, 8);
    t.set_byte_enable_ptr(enables);
    t.set_byte_enable_length(2);
    sc_time delay;
    p.memory->b_transport(t, delay);
    EXPECT_TRUE(t.is_response_ok());
    EXPECT_EQ(p.read(0x1000), 0xAA22CC44EE660088u);

    // Streaming: four beats of two bytes at one address, the last one stays.
    auto s = p.payload(tlm::TLM_WRITE_COMMAND, 0x2000, &data, 8);
    s.set_streaming_width(2);
    p.memory->b_transport(s, delay);
    EXPECT_EQ(p.read(0x2000), 0xAABBu);
    std::uint64_t beats = 0;
    auto u = p.payload(tlm::TLM_READ_COMMAND, 0x2000, &beats, 8);
    u.set_streaming_width(2);
    p.memory->b_transport(u, delay);
    EXPECT_EQ(beats, 0xAABBAABBAABBAABBu);

    auto ignored = p.payload(tlm::TLM_IGNORE_COMMAND, 0x1000, &data, 8);
    p.memory->b_transport(ignored, delay);
    EXPECT_TRUE(ignored.is_response_ok());
    EXPECT_EQ(p.read(0x1000), 0xAA22CC44EE660088u);

    const auto status = [&](auto change) {
      auto bad = p.payload(tlm::TLM_WRITE_COMMAND, 0x1000, &data, 8);
      change(bad);
      p.memory->b_transport(bad, delay);
      return bad.get_response_status();
    };
    EXPECT_EQ(status([](auto& b) { b.set_data_length(0); }), tlm::TLM_BURST_ERROR_RESPONSE);
    EXPECT_EQ(status([](auto& b) { b.set_streaming_width(0); }), tlm::TLM_BURST_ERROR_RESPONSE);
    EXPECT_EQ(status([&](auto& b) { b.set_byte_enable_ptr(enables); }), tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
    EXPECT_EQ(status([](auto& b) { b.set_address(memory_target::whole - 7); }), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    EXPECT_EQ(status([](auto& b) { b.set_address(memory_target::whole - 8); }), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(p.read(0x1000), 0xAA22CC44EE660088u);
  });
}

TEST(sc_memory, a_write_is_a_message_of_the_next_cycle) {
  rig r;
  r.run([&r](probe& p) {
    at(1000.7);
    p.write(0x1000, 7);
    machine& m = r.timeline.hardware();
    EXPECT_EQ(m.physical().read<std::uint64_t>(0x1000), 0u) << "not before cycle 1001";
    at(1001.0);
    wait(sc_core::SC_ZERO_TIME);
    p.read(0x8000);  // the machine catches up
    EXPECT_EQ(m.physical().read<std::uint64_t>(0x1000), 7u);
    p.write(0x1000, 8, 8, sc_time{500, sc_core::SC_NS});
    EXPECT_EQ(p.read(0x1000), 7u) << "the write is still in the future";
    at(1501.0);
    p.read(0x8000);
    EXPECT_EQ(m.physical().read<std::uint64_t>(0x1000), 7u);
    at(1502.0);
    EXPECT_EQ(p.read(0x1000), 8u);
  });
}

TEST(sc_memory, a_read_with_a_delay_waits_it_out) {
  rig r;
  r.run([](probe& p) {
    std::uint64_t v = 0;
    auto t = p.payload(tlm::TLM_READ_COMMAND, 0x1000, &v, 8);
    sc_time delay{25, sc_core::SC_NS};
    p.memory->b_transport(t, delay);
    EXPECT_EQ(sc_core::sc_time_stamp(), sc_time(25, sc_core::SC_NS));
    EXPECT_EQ(delay, sc_core::SC_ZERO_TIME);
  });
}

std::uint64_t woken_at(double ns, bool stepped, double quantum_ns) {
  return in_child([=] {
           tlm::tlm_global_quantum::instance().set(sc_time{quantum_ns, sc_core::SC_NS});
           rig r{stepped};
           std::uint64_t seen = 0;
           r.run(
               [=](probe& p) {
                 at(ns);
                 p.write(0x5000, 1);
               },
               spin_on(r.timeline.hardware().physical().word_at(0x5000), seen));
           result out;
           out.facts = seen;
           out.ok = 1;
           return out;
         })
      .facts;
}

TEST(sc_memory, a_write_of_a_watched_word_wakes_its_spinner) {
  for (double ns : {1000.0, 1017.0, 1018.3, 1040.0, 1041.0, 5000.5}) {
    const std::uint64_t stepped = woken_at(ns, true, 0);
    EXPECT_GT(stepped, static_cast<std::uint64_t>(ns));
    EXPECT_LT(stepped, static_cast<std::uint64_t>(ns) + 400);
    for (double quantum : {0.0, 10.0, 1e6}) EXPECT_EQ(woken_at(ns, false, quantum), stepped) << ns << " " << quantum;
  }
}

TEST(sc_memory, debug_transport_has_no_side_effect) {
  rig r;
  std::uint64_t v = 5;
  auto t = r.outside.payload(tlm::TLM_WRITE_COMMAND, 0x3000, &v, 8);
  EXPECT_EQ(r.outside.memory->transport_dbg(t), 8u);  // a loader, before elaboration is complete
  r.run([&r](probe& p) {
    at(700.5);
    const std::uint64_t before = r.timeline.hardware().time().events();
    std::uint64_t w = 0;
    auto u = p.payload(tlm::TLM_READ_COMMAND, 0x3000, &w, 8);
    EXPECT_EQ(p.memory->transport_dbg(u), 8u);
    EXPECT_EQ(w, 5u);
    p.write(0x3000, 6);
    EXPECT_EQ(p.memory->transport_dbg(u), 8u);
    EXPECT_EQ(w, 6u) << "a write that is on its way is seen";
    EXPECT_EQ(r.timeline.hardware().time().events(), before);
    auto beyond = p.payload(tlm::TLM_READ_COMMAND, memory_target::whole - 4, &w, 8);
    EXPECT_EQ(p.memory->transport_dbg(beyond), 4u);
    auto outside = p.payload(tlm::TLM_READ_COMMAND, memory_target::whole, &w, 8);
    EXPECT_EQ(p.memory->transport_dbg(outside), 0u);
  });
}

TEST(sc_memory, direct_pointers) {
  rig r;
  machine& m = r.timeline.hardware();
  m.physical().word_at(0x7040);
  r.run([&m](probe& p) {
    std::uint64_t v = 0;
    auto w = p.payload(tlm::TLM_WRITE_COMMAND, 0x6010, &v, 8);
    tlm::tlm_dmi grant;
    ASSERT_TRUE(p.memory->get_direct_mem_ptr(w, grant));
    EXPECT_TRUE(grant.is_read_write_allowed());
    EXPECT_EQ(grant.get_start_address(), 0x6000u);
    EXPECT_EQ(grant.get_end_address(), 0x6FFFu);
    grant.get_dmi_ptr()[8] = 0x5A;
    EXPECT_EQ(p.read(0x6008), 0x5Au);

    auto watched = p.payload(tlm::TLM_WRITE_COMMAND, 0x7010, &v, 8);
    tlm::tlm_dmi refused;
    EXPECT_FALSE(p.memory->get_direct_mem_ptr(watched, refused)) << "the page holds a watched word";
    EXPECT_EQ(refused.get_start_address(), 0x7000u);
    EXPECT_EQ(refused.get_end_address(), 0x7FFFu);
    watched.set_command(tlm::TLM_READ_COMMAND);
    tlm::tlm_dmi reading;
    ASSERT_TRUE(p.memory->get_direct_mem_ptr(watched, reading));
    EXPECT_TRUE(reading.is_read_allowed());
    EXPECT_FALSE(reading.is_write_allowed());

    sc_time delay;
    w.set_dmi_allowed(false);
    p.memory->b_transport(w, delay);
    EXPECT_TRUE(w.is_dmi_allowed());
    watched.set_dmi_allowed(true);
    p.memory->b_transport(watched, delay);
    EXPECT_FALSE(watched.is_dmi_allowed());

    EXPECT_TRUE(p.invalidated.empty());
    m.physical().word_at(0x7048);  // watched already
    EXPECT_TRUE(p.invalidated.empty());
    m.physical().word_at(0x6800);
    ASSERT_EQ(p.invalidated.size(), 1u);
    EXPECT_EQ(p.invalidated[0], (std::pair<std::uint64_t, std::uint64_t>{0x6000, 0x6FFF}));
    tlm::tlm_dmi again;
    EXPECT_FALSE(p.memory->get_direct_mem_ptr(w, again));
  });
}

TEST(sc_interrupt_port, messages_reach_the_addressed_cpus_after_their_flight) {
  rig r;
  const interrupt_costs costs;
  const std::uint64_t near = costs.flight_same_socket.count();
  const std::uint64_t far = costs.flight_other_socket.count();
  r.timeline.hardware().cpu(2).local_apic().write_msr(apic::msr::svr, 0x1FF, cycles{0});
  r.run([&r](probe& p) {
    at(1000.9);
    EXPECT_EQ(p.msi(0xFEE0'1000, 0x41), tlm::TLM_OK_RESPONSE);  // CPU 1, fixed
    at(2000);
    EXPECT_EQ(r.seen.all.size(), 1u) << "an interrupt wakes a machine that sleeps longer";
    EXPECT_EQ(p.msi(0x3000, 0x4042), tlm::TLM_OK_RESPONSE);  // CPU 3, an offset into the window
    at(3000);
    EXPECT_EQ(p.msi(0xFEEF'F000, 0x43), tlm::TLM_OK_RESPONSE);  // everyone
    at(5000);
    EXPECT_EQ(p.msi(0xFEE0'600C, 0x144), tlm::TLM_OK_RESPONSE);  // logical: 1 and 2, lowest priority; 2 accepts
    at(7000);
    EXPECT_EQ(p.msi(0xFEE0'2000, 0x400), tlm::TLM_OK_RESPONSE);  // NMI
  });
  using one = arrivals::one;
  const std::vector<one> expected = {{1, 1001 + near, 0x41, 0}, {3, 2001 + far, 0x42, 0}, {0, 3001 + near, 0x43, 0},
                                     {1, 3001 + near, 0x43, 0}, {2, 3001 + far, 0x43, 0}, {3, 3001 + far, 0x43, 0},
                                     {2, 5001 + far, 0x44, 1},  {2, 7001 + far, 0, 4}};
  EXPECT_EQ(r.seen.all, expected);
}

TEST(sc_interrupt_port, errors_and_lost_messages) {
  sc_core::sc_report_handler::set_actions(message::lost_interrupt, sc_core::SC_WARNING, sc_core::SC_DO_NOTHING);
  sc_core::sc_report_handler::set_handler([](const sc_core::sc_report&, const sc_core::sc_actions&) {});
  rig r;
  r.run([](probe& p) {
    EXPECT_EQ(p.msi(0xFEE0'0000, 0x41, 2), tlm::TLM_BURST_ERROR_RESPONSE);
    EXPECT_EQ(p.msi(0xFEE0'0002, 0x41), tlm::TLM_BURST_ERROR_RESPONSE);
    EXPECT_EQ(p.msi(0xFEF0'0000, 0x41), tlm::TLM_ADDRESS_ERROR_RESPONSE);
    std::uint32_t v = 0;
    auto read = p.payload(tlm::TLM_READ_COMMAND, 0xFEE0'0000, &v, 4);
    sc_time delay;
    p.interrupts->b_transport(read, delay);
    EXPECT_EQ(read.get_response_status(), tlm::TLM_COMMAND_ERROR_RESPONSE);
    EXPECT_EQ(p.msi(0xFEE0'9000, 0x41), tlm::TLM_OK_RESPONSE);  // no such CPU
    EXPECT_EQ(p.msi(0xFEE0'0010, 0x41), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(p.msi(0xFEE0'600C, 0x144), tlm::TLM_OK_RESPONSE);   // lowest priority, and no APIC is enabled
    EXPECT_EQ(p.msi(0xFEE0'0000, 0x241), tlm::TLM_OK_RESPONSE);   // SMI
    EXPECT_EQ(p.msi(0xFEE0'0000, 0x8041), tlm::TLM_OK_RESPONSE);  // a level that de-asserts: nothing, quietly
  });
  EXPECT_TRUE(r.seen.all.empty());
  EXPECT_EQ(sc_core::sc_report_handler::get_count(message::lost_interrupt), 4);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
