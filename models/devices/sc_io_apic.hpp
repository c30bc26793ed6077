#pragma once
#include <tlm_utils/simple_initiator_socket.h>
#include <tlm_utils/simple_target_socket.h>

#include <vmxsys/cpu/systemc/sc_arrivals.hpp>
#include <vmxsys/cpu/systemc/sc_requester.hpp>

#include "io_apic.hpp"

namespace vmxsys::models {

/// Where an I/O APIC stands.
struct io_apic_place {
  physical_address base = 0xFEC00000;
  apic::requester_id requester = 0;  ///< of its messages, for an interrupt-remapping unit
};

/// An I/O APIC of a machine: registers behind a target socket, lines as signals, messages out of an initiator socket,
/// which is bound to an `interrupt_port`, a `remapping_unit`, or an interconnect in front of them.
///
/// It lives in the machine's time. What reaches it at kernel time T - a line, a register write - acts at cycle
/// floor(T)+1, phase `message`; an EOI broadcast acts at the cycle at which the machine delivers it. In one cycle lines
/// come first, then writes, then EOIs, each in the order in which they came (lines of one delta cycle: lowest pin
/// first). A message leaves at the kernel time of its cycle. So neither the order of processes nor the quantum has an
/// influence.
///
/// A register read at T shows the effect of everything so far, with what has come in this cycle, too. Debug
/// transactions read likewise without letting the machine catch up, and do not write. Errors beyond those of every
/// register target: TLM_BURST_ERROR_RESPONSE for a size or alignment that the registers do not have.
class io_apic_module : public sc_core::sc_module, private io_apic_sink, private cpu::eoi_listener {
 public:
  static constexpr std::uint64_t size = 0x1000;

  tlm_utils::simple_target_socket_optional<io_apic_module> socket{"socket"};
  /// Four-byte writes with a `requester_extension`. The target may wait; messages then queue. May be left unbound.
  tlm_utils::simple_initiator_socket_optional<io_apic_module> messages{"messages"};
  /// One per pin, true is high. Any of them may be left unbound; such a line is low, and `drive` reaches it.
  sc_core::sc_vector<sc_core::sc_port<sc_core::sc_signal_in_if<bool>, 1, sc_core::SC_ZERO_OR_MORE_BOUND>> lines;

  io_apic_module(const sc_core::sc_module_name& name, cpu::timeline_module& timeline, const io_apic_config& config = {},
                 const io_apic_place& place = {});
  io_apic_module(const io_apic_module&) = delete;
  io_apic_module& operator=(const io_apic_module&) = delete;
  ~io_apic_module() override;

  const char* kind() const override { return "vmxsys::models::io_apic_module"; }

  /// A line without a signal.
  void drive(unsigned pin, bool high, const sc_core::sc_time& delay = sc_core::SC_ZERO_TIME);
  /// As the machine has executed it.
  const io_apic& state() const { return chip_; }

 private:
  struct input {
    enum kind : std::uint8_t { line, write, eoi } what;
    unsigned where;  // pin or offset
    unsigned bytes;
    std::uint32_t value;
  };
  struct nowhere final : io_apic_sink {  // for looking only
    bool send(const apic::msi&, unsigned) override { return true; }
  };
  static void apply(io_apic& to, const input& i);

  void end_of_elaboration() override;
  void sample();
  void carry();
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  unsigned transport_dbg(tlm::tlm_generic_payload& transaction);
  io_apic as_seen_now();
  bool send(const apic::msi& message, unsigned pin) override;
  void eoi(std::uint8_t vector, unsigned cpu, cycles now) override;

  cpu::timeline_module& timeline_;
  io_apic_place place_;
  io_apic chip_;
  nowhere nowhere_;
  cpu::arrivals<input> in_;
  cpu::departures<apic::msi> out_{"message_wake"};
  std::vector<bool> sampled_;
  sc_core::sc_event_or_list line_changes_;
  tlm::tlm_generic_payload payload_;
  cpu::requester_extension requester_;
  unsigned char data_[4] = {};
};

}  // namespace vmxsys::models
