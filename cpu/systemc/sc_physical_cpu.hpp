#pragma once
#include <tlm_utils/simple_initiator_socket.h>

#include <vmxsys/cpu/core/logical_cpu.hpp>

#include "sc_timeline_module.hpp"

namespace vmxsys::cpu {

/// Software as something a port can be bound to.
class sc_boot_if : public virtual sc_core::sc_interface, public boot_if {};

/// Makes a `sc_boot_if` of any `boot_if`, which must outlive it.
class boot_adapter final : public sc_boot_if {
 public:
  explicit boot_adapter(boot_if& software) : software_{software} {}
  strand& boot(logical_cpu& on, physical_address entry) override { return software_.boot(on, entry); }

 private:
  boot_if& software_;
};

/// The module of one logical processor. It owns no state: the CPU is the machine's, this gives it a name in the module
/// hierarchy, a port for its software and a socket for what it reads and writes outside the machine.
///
/// A CPU without a module runs as well; it then needs its software through `machine::connect`.
class physical_cpu : public sc_core::sc_module, private bus_master {
 public:
  /// Where `isa::mmio_read` and `isa::mmio_write` go: LT transactions of 1, 2, 4 or 8 bytes. The target may wait and
  /// may annotate a delay. May be left unbound, then reads give all ones; so does TLM_ADDRESS_ERROR_RESPONSE.
  tlm_utils::simple_initiator_socket_optional<physical_cpu> bus{"bus"};
  /// Where its software comes from, at reset or at SIPI. May be left unbound.
  sc_core::sc_port<sc_boot_if, 1, sc_core::SC_ZERO_OR_MORE_BOUND> boot{"boot"};

  /// CPU `number` of the machine of `timeline`. SC_ERROR if there is none, or if it has a module.
  physical_cpu(const sc_core::sc_module_name& name, timeline_module& timeline, unsigned number);
  physical_cpu(const physical_cpu&) = delete;
  physical_cpu& operator=(const physical_cpu&) = delete;

  const char* kind() const override { return "vmxsys::cpu::physical_cpu"; }

  unsigned number() const { return number_; }
  logical_cpu& logical() { return timeline_.hardware().cpu(number_); }

  /// For sc_vector: one module per CPU, `sc_vector<physical_cpu> cpus{"cpu", n, physical_cpu::of(timeline)}`.
  static auto of(timeline_module& timeline) {
    return [&timeline](const char* name, std::size_t i) {
      return new physical_cpu{name, timeline, static_cast<unsigned>(i)};
    };
  }

 private:
  void end_of_elaboration() override;
  bool connected() const override { return bus.size() != 0; }
  void transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) override {
    bus->b_transport(transaction, delay);
  }

  timeline_module& timeline_;
  unsigned number_;
};

}  // namespace vmxsys::cpu
