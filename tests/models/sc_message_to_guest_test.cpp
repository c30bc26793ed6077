// A device that this library knows nothing of raises message-signalled interrupts; they reach a guest through an exit
// and injection, or posted, without one. How many exits each way costs is counted.
#include <gtest/gtest.h>
#include <tlm_utils/simple_initiator_socket.h>

#include <vmxsys/cpu/systemc/sc_interrupt_port.hpp>
#include <vmxsys/cpu/systemc/sc_memory.hpp>
#include <vmxsys/cpu/systemc/sc_remapping_unit.hpp>

#include "cpu/guest_apic_rig.hpp"
#include "cpu/sc_storm.hpp"

namespace vmxsys::cpu::testing {
namespace {

using sc_core::sc_time;
using vmx::exit_reason;
using vmx::field;

constexpr std::uint8_t host_vector = 0x61;
constexpr std::uint8_t guest_vector = 0x41;
constexpr apic::requester_id device_id = 0x0208;
constexpr physical_address table_at = 0x9'0000;
constexpr unsigned messages = 6;

/// Writes one double word, now and then; at odd times and with annotated delays.
class somebody_elses_device : public sc_core::sc_module {
 public:
  tlm_utils::simple_initiator_socket<somebody_elses_device> upstream{"upstream"};

  somebody_elses_device(const sc_core::sc_module_name& n, const apic::msi& m, bool says_who)
      : sc_module{n}, message_{m}, says_who_{says_who} {
    VMXSYS_SC_HAS_PROCESS(somebody_elses_device);
    SC_THREAD(run);
  }

 private:
  void run() {
    requester_extension who{device_id};
    tlm::tlm_generic_payload t;
    if (says_who_) t.set_extension(&who);
    for (unsigned i = 0; i < messages; ++i) {
      wait(sc_time{30'100.3 + i * 9'000.7, sc_core::SC_NS} - sc_core::sc_time_stamp());
      std::uint32_t data = message_.data;
      t.set_command(tlm::TLM_WRITE_COMMAND);
      t.set_address(message_.address);
      t.set_data_ptr(reinterpret_cast<unsigned char*>(&data));
      t.set_data_length(4);
      t.set_streaming_width(4);
      sc_time delay{i % 2 == 0 ? 0 : 3.4, sc_core::SC_NS};
      upstream->b_transport(t, delay);
      EXPECT_EQ(t.get_response_status(), tlm::TLM_OK_RESPONSE);
    }
    t.clear_extension(&who);
  }
  apic::msi message_;
  bool says_who_;
};

enum class way { unremapped, remapped, posted };

/// What can be asked of a run in a child process.
struct counts {
  std::uint64_t reached, external, eoi_writes, all, host_interrupts, posting_steps;
};

apic::remapping_table table() {
  apic::remapping_table t;
  t.address = table_at;
  return t;
}
apic::remapping_entry entry(way w) {
  apic::remapping_entry e;
  e.present = true;
  e.validation = apic::source_validation::requester;
  e.source = device_id;
  e.posted = w == way::posted;
  e.vector = e.posted ? guest_vector : host_vector;
  e.descriptor = guest_apic_rig::descriptor;
  return e;
}

/// The hypervisor that has no hardware for it: an exit brings the interrupt to the host, an entry to the guest, and the
/// guest's EOI is an exit, too.
void start_injecting_hypervisor(vmx_rig& r, std::uint64_t& reached) {
  r.handler = [&r, &reached](logical_cpu& cpu, std::uint8_t vector) {
    EXPECT_EQ(vector, guest_vector);
    EXPECT_EQ(cpu.current_operation(), vmx_operation::non_root);
    ++reached;
    return rig::acknowledge();
  };
  r.run_guest([]() -> program { co_await rig::sleep(); });
  r.run_host([&r]() -> program {
    co_await rig::enable_apic();
    vmx::exit_info exit = co_await isa::vmlaunch();
    for (;;) {
      if (exit.reason == exit_reason::external_interrupt) {
        EXPECT_EQ(exit.interruption_information & 0xFF, host_vector);
        co_await isa::wrmsr(apic::msr::eoi, 0);
        co_await isa::vmwrite(field::vm_entry_interruption_information, 0x80000000 | guest_vector);
      } else {
        EXPECT_EQ(exit.reason, exit_reason::wrmsr);
        const std::uint64_t rip = co_await isa::vmread(field::guest_rip);
        co_await isa::vmwrite(field::guest_rip, rip + exit.instruction_length);
      }
      exit = co_await isa::vmresume();
    }
  });
}

result run(way w, double quantum_ns, bool stepped, counts* out = nullptr) {
  tlm::tlm_global_quantum::instance().set(sc_time{quantum_ns, sc_core::SC_NS});
  std::uint64_t reached = 0;
  std::unique_ptr<vmx_rig> r;
  if (w == way::posted) {
    auto guest = std::make_unique<guest_apic_rig>(guest_apic_config(1, stepped));
    guest->run_guest([]() -> program { co_await rig::sleep(); });
    guest->start();
    r = std::move(guest);
  } else {
    r = std::make_unique<vmx_rig>(bare_config(1, stepped));
    start_injecting_hypervisor(*r, reached);
  }
  apic::write_entry(r->hw.physical(), table(), 5, entry(w));

  timeline_module timeline{"timeline", r->hw, 1'000'000};
  interrupt_port port{"port", timeline};
  remapping_unit unit{"unit", timeline, table()};
  somebody_elses_device device{
      "device", w == way::unremapped ? apic::msi{apic::msi_window, host_vector} : apic::remappable_msi(5),
      w != way::unremapped};
  if (w == way::unremapped)
    device.upstream.bind(port.socket);
  else
    device.upstream.bind(unit.socket);
  timeline.run_for(sc_time{100, sc_core::SC_US});
  r->hw.check_accounting();

  EXPECT_EQ(unit.faults(), 0u);
  EXPECT_EQ(unit.count(apic::remapping_step::remaps), w == way::remapped ? messages : 0u);
  EXPECT_EQ(unit.count(apic::remapping_step::posts), w == way::posted ? messages : 0u);
  EXPECT_EQ(unit.notifications(), w == way::posted ? messages : 0u);
  counts c{};
  if (w == way::posted) {
    const auto& guest = static_cast<guest_apic_rig&>(*r);
    for (const auto& seen : guest.in_guest) EXPECT_EQ(seen.vector, guest_vector);
    reached = guest.in_guest.size();
    c.host_interrupts = guest.in_host.size();
  }
  c.reached = reached;
  for (const auto& e : r->exits()) {
    ++c.all;
    c.external += e->reason == exit_reason::external_interrupt;
    c.eoi_writes += e->reason == exit_reason::wrmsr;
  }
  c.posting_steps = r->log.of<posting_step_fact>().size();
  if (out != nullptr) *out = c;
  result answer;
  answer.hash = r->hash.value();
  answer.facts = r->log.size();
  answer.looks = reached;
  answer.ok = 1;
  return answer;
}

TEST(sc_message_to_guest, through_an_exit_and_injection) {
  counts c;
  run(way::unremapped, 0, false, &c);
  EXPECT_EQ(c.reached, messages);
  EXPECT_EQ(c.external, messages) << "one for each message";
  EXPECT_EQ(c.eoi_writes, messages) << "and one for each EOI of the guest";
  EXPECT_EQ(c.all, 2 * messages);
}

TEST(sc_message_to_guest, remapped_through_an_exit_and_injection) {
  counts c;
  run(way::remapped, 0, false, &c);
  EXPECT_EQ(c.reached, messages);
  EXPECT_EQ(c.external, messages);
  EXPECT_EQ(c.eoi_writes, messages);
  EXPECT_EQ(c.all, 2 * messages);
}

TEST(sc_message_to_guest, posted_without_an_exit) {
  counts c;
  run(way::posted, 0, false, &c);
  EXPECT_EQ(c.reached, messages);
  EXPECT_EQ(c.all, 0u) << "neither the interrupt nor its EOI";
  EXPECT_EQ(c.host_interrupts, 0u);
  EXPECT_EQ(c.posting_steps, 6 * messages);
}

TEST(sc_message_to_guest, the_quantum_changes_no_fact) {
  for (const way w : {way::unremapped, way::remapped, way::posted}) {
    const result expected = in_child([=] { return run(w, 0, true); });
    EXPECT_EQ(expected.ok, 1u);
    EXPECT_EQ(expected.looks, messages);
    EXPECT_GT(expected.facts, 50u);
    for (const double quantum : {0.0, 1'000.0, 1e6})
      EXPECT_EQ(in_child([=] { return run(w, quantum, false); }), expected) << static_cast<int>(w) << " " << quantum;
  }
}

}  // namespace
}  // namespace vmxsys::cpu::testing
