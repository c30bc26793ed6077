#include <gtest/gtest.h>
#include <tlm_utils/simple_initiator_socket.h>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/cpu/systemc/sc_memory.hpp>
#include <vmxsys/cpu/systemc/sc_remapping_unit.hpp>

#include "rig.hpp"
#include "sc_storm.hpp"

namespace vmxsys::cpu::testing {
namespace {

using apic::remapping_step;
using sc_core::sc_time;
namespace pid = apic::posted_interrupt_descriptor;

constexpr physical_address table_at = 0x9'0000;
constexpr physical_address descriptor = 0xA'0000;

std::vector<std::string> warnings;

class device : public sc_core::sc_module {
 public:
  tlm_utils::simple_initiator_socket<device> messages{"messages"};
  tlm_utils::simple_initiator_socket<device> memory{"memory"};
  std::function<void(device&)> body;

  explicit device(const sc_core::sc_module_name& n) : sc_module{n} {
    VMXSYS_SC_HAS_PROCESS(device);
    SC_THREAD(run);
  }
  void send(const apic::msi& m, std::optional<apic::requester_id> who = {}, sc_time delay = {}) {
    std::uint32_t data = m.data;
    tlm::tlm_generic_payload t;
    requester_extension from{who.value_or(0)};
    if (who) t.set_extension(&from);
    fill(t, m.address, &data, 4);
    messages->b_transport(t, delay);
    EXPECT_TRUE(t.is_response_ok());
    t.clear_extension(&from);
  }
  void store(physical_address at, std::uint64_t value) {
    tlm::tlm_generic_payload t;
    fill(t, at, &value, 8);
    sc_time delay;
    memory->b_transport(t, delay);
    EXPECT_TRUE(t.is_response_ok());
  }

 private:
  void run() { body(*this); }
  static void fill(tlm::tlm_generic_payload& t, std::uint64_t at, void* data, unsigned bytes) {
    t.set_command(tlm::TLM_WRITE_COMMAND);
    t.set_address(at);
    t.set_data_ptr(static_cast<unsigned char*>(data));
    t.set_data_length(bytes);
    t.set_streaming_width(bytes);
  }
};

void at(double ns) { wait(sc_time{ns, sc_core::SC_NS} - sc_core::sc_time_stamp()); }

struct bench {
  rig r;
  timeline_module timeline{"timeline", r.hw, 1'000'000};
  apic::remapping_table table = make_table();
  remapping_unit unit{"unit", timeline, table, 0x0100};
  memory_target memory{"memory", timeline};
  device outside{"device"};

  static apic::remapping_table make_table() {
    apic::remapping_table t;
    t.address = table_at;
    return t;
  }
  explicit bench(unsigned cpus = 2, bool stepped = false) : r{bare_config(cpus, stepped)} {
    outside.messages.bind(unit.socket);
    outside.memory.bind(memory.socket);
    warnings.clear();
    sc_core::sc_report_handler::set_handler([](const sc_core::sc_report& report, const sc_core::sc_actions&) {
      warnings.push_back(std::string{report.get_msg_type()} + " " + report.get_msg());
    });
    for (unsigned i = 1; i < cpus; ++i)
      r.run(i, []() -> program {
        co_await rig::accept_interrupts();
        co_await rig::sleep();
      });
  }
  void put(std::uint32_t index, const apic::remapping_entry& e) { apic::write_entry(r.hw.physical(), table, index, e); }
  void run(std::function<void(device&)> body, double us = 100) {
    outside.body = std::move(body);
    timeline.run_for(sc_time{us, sc_core::SC_US});
  }
};

apic::remapping_entry to_cpu(unsigned cpu, std::uint8_t vector) {
  apic::remapping_entry e;
  e.present = true;
  e.vector = vector;
  e.destination = cpu;
  return e;
}
apic::remapping_entry to_descriptor(std::uint8_t vector) {
  apic::remapping_entry e;
  e.present = true;
  e.posted = true;
  e.vector = vector;
  e.descriptor = descriptor;
  return e;
}

TEST(sc_remapping_unit, remaps) {
  bench b;
  b.put(3, to_cpu(1, 0x45));
  b.run([](device& d) {
    at(5'000.5);
    d.send(apic::remappable_msi(3));
    at(6'000);
    d.send(apic::remappable_msi(1, 2), {}, sc_time{20, sc_core::SC_NS});
  });
  const std::uint64_t flight = interrupt_costs{}.flight_same_socket.count();
  const auto arrived = b.r.log.of<ipi_arrived_fact>();
  ASSERT_GE(arrived.size(), 2u);
  EXPECT_EQ(arrived[arrived.size() - 2].at().count(), 5'001 + flight);
  EXPECT_EQ(arrived.back().at().count(), 6'021 + flight);
  EXPECT_EQ(arrived.back()->vector, 0x45);
  EXPECT_EQ(b.unit.count(remapping_step::remaps), 2u);
  EXPECT_TRUE(warnings.empty());
  // What arrives has the decision as its cause.
  EXPECT_NE(arrived.back().header.cause.index, 0u);
}

TEST(sc_remapping_unit, faults_are_counted_reported_and_may_be_asked_for) {
  bench b;
  apic::remapping_entry hidden = to_cpu(1, 0x45);
  hidden.present = false;
  hidden.fault_processing_disabled = true;
  b.put(4, hidden);
  b.run([&b](device& d) {
    at(5'000);
    EXPECT_FALSE(b.unit.last_fault());
    d.send(apic::remappable_msi(7));
    d.send({apic::msi_window | 0x1000, 0x45});
    at(6'000);
    d.send(apic::remappable_msi(4), 0x1234);
  });
  EXPECT_EQ(b.unit.faults(), 3u);
  EXPECT_EQ(b.unit.count(remapping_step::not_present), 2u);
  EXPECT_EQ(b.unit.count(remapping_step::compatibility_blocked), 1u);
  ASSERT_EQ(warnings.size(), 2u) << "one is hidden";
  EXPECT_EQ(warnings[0].find(message::remapping_fault), 0u);
  EXPECT_NE(
      warnings[0].find("unit: the message 00000000H written to FEE000F0H by 01:00.0 is a fault, reason 22H (entry "
                       "not present), entry 7, cycle 5001"),
      std::string::npos)
      << warnings[0];
  EXPECT_NE(warnings[1].find("reason 25H"), std::string::npos);
  ASSERT_TRUE(b.unit.last_fault());
  EXPECT_EQ(b.unit.last_fault()->requester, 0x1234);
  EXPECT_EQ(b.unit.last_fault()->index, 4u);
  EXPECT_EQ(b.unit.last_fault()->at, cycles{6'001});
}

TEST(sc_remapping_unit, nobody_there) {
  bench b;
  b.put(0, to_cpu(9, 0x45));
  apic::remapping_table open = b.table;
  open.x2apic = false;
  open.compatibility = true;
  b.run([&](device& d) {
    d.send(apic::remappable_msi(0));
    at(1'000);
    b.unit.set_table(open);
    d.send({apic::msi_window | 0x9000, 0x45});
    d.send({apic::msi_window | 0x1000, 0x345});
    d.send({apic::msi_window | 0x1000, 0x8046});
    d.send({apic::msi_window | 0x1000, 0x46});
  });
  EXPECT_EQ(b.unit.faults(), 0u);
  EXPECT_EQ(b.unit.count(remapping_step::compatibility), 4u);
  ASSERT_EQ(warnings.size(), 3u) << "a level that de-asserts is nothing to warn of";
  for (const auto& w : warnings) EXPECT_EQ(w.find(message::lost_interrupt), 0u) << w;
}

TEST(sc_remapping_unit, the_requester_is_the_transactions_or_the_units) {
  bench b;
  apic::remapping_entry e = to_cpu(1, 0x45);
  e.validation = apic::source_validation::requester;
  e.source = 0x0100;
  b.put(0, e);
  e.source = 0x0208;
  b.put(1, e);
  b.run([](device& d) {
    d.send(apic::remappable_msi(0));
    d.send(apic::remappable_msi(1));
    d.send(apic::remappable_msi(0), 0x0208);
    d.send(apic::remappable_msi(1), 0x0208);
  });
  EXPECT_EQ(b.unit.count(remapping_step::remaps), 2u);
  EXPECT_EQ(b.unit.count(remapping_step::wrong_source), 2u);
}

TEST(sc_remapping_unit, an_entry_written_through_memory_counts_for_the_next_message) {
  bench b;
  b.put(0, to_cpu(1, 0x45));
  b.run([&b](device& d) {
    at(2'000);
    d.send(apic::remappable_msi(0));
    at(3'000);
    d.store(b.table.entry_at(0), apic::encode(to_cpu(1, 0x46)).low);
    at(3'001);
    d.send(apic::remappable_msi(0));
  });
  const auto arrived = b.r.log.of<ipi_arrived_fact>();
  EXPECT_EQ(arrived[arrived.size() - 2]->vector, 0x45);
  EXPECT_EQ(arrived.back()->vector, 0x46);
}

TEST(sc_remapping_unit, posts_and_notifies_by_the_rules_of_suppression_and_urgency) {
  bench b;
  b.put(0, to_descriptor(0x51));
  apic::remapping_entry urgent = to_descriptor(0x52);
  urgent.urgent = true;
  b.put(1, urgent);
  apic::write_descriptor_info(b.r.hw.physical(), descriptor, {false, true, 0xF2, 1});
  b.run([&b](device& d) {
    memory& m = b.r.hw.physical();
    at(2'000);
    d.send(apic::remappable_msi(0));
    EXPECT_FALSE(apic::is_posted(m, descriptor, 0x51)) << "not before the next cycle";
    at(2'002);
    wait(sc_core::SC_ZERO_TIME);
    EXPECT_TRUE(apic::is_posted(m, descriptor, 0x51));
    EXPECT_FALSE(apic::read_descriptor_info(m, descriptor).outstanding) << "suppressed";
    d.send(apic::remappable_msi(1));
    at(2'010);
    EXPECT_TRUE(apic::read_descriptor_info(m, descriptor).outstanding);
    d.send(apic::remappable_msi(1));
    at(2'020);
  });
  EXPECT_EQ(b.unit.count(remapping_step::posts), 3u);
  EXPECT_EQ(b.unit.notifications(), 1u) << "one is outstanding";
  EXPECT_EQ(b.r.log.of<ipi_arrived_fact>().back()->vector, 0xF2);
}

program spin_on(word& w, std::uint64_t& seen_at) {
  co_await isa::spin_while(w, spin_predicate::while_equal(0), storm_bell);
  seen_at = (co_await isa::this_cpu()).now().count();
  co_await rig::sleep();
}

std::uint64_t woken(bool stepped, double quantum_ns) {
  return in_child([=] {
           tlm::tlm_global_quantum::instance().set(sc_time{quantum_ns, sc_core::SC_NS});
           bench b{1, stepped};
           std::uint64_t seen = 0;
           word& w = b.r.hw.physical().word_at(pid::pir_word_of(descriptor, 0x51));
           b.r.run(0, [&]() { return spin_on(w, seen); });
           b.put(0, to_descriptor(0x51));
           b.run([](device& d) {
             at(3'333.3);
             d.send(apic::remappable_msi(0));
           });
           result out;
           out.facts = seen;
           out.ok = 1;
           return out;
         })
      .facts;
}

TEST(sc_remapping_unit, who_spins_on_a_descriptor_sees_the_post) {
  const std::uint64_t expected = woken(true, 0);
  EXPECT_GT(expected, 3'334u);
  EXPECT_LT(expected, 4'000u);
  for (const double quantum : {0.0, 100.0, 1e6}) EXPECT_EQ(woken(false, quantum), expected) << quantum;
}

}  // namespace
}  // namespace vmxsys::cpu::testing
