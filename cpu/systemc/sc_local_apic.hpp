#pragma once
#include <cstdint>
#include <tlm_utils/simple_target_socket.h>

#include <vmxsys/apic/local/local_apic.hpp>

#include "sc_arrivals.hpp"

namespace vmxsys::cpu {

/// The xAPIC register page of one CPU as a TLM target, for debuggers and for platforms that want to reach it from
/// outside. In hardware only the CPU itself can; its own accesses (`isa::mmio_read`, `isa::mmio_write`) need no module.
///
/// - A read at kernel time T shows the registers at cycle floor(T), with the writes of this module so far, and has no
///   side effect.
/// - A write at T (+ delay) takes effect at cycle floor(T + delay)+1, in phase `message`, as if the CPU had written: it
///   may send an IPI, end an interrupt, arm the timer.
/// - Debug transactions read without letting the machine catch up, and do not write.
///
/// Besides the errors of every register target: TLM_ADDRESS_ERROR_RESPONSE while the page does not answer (the local
/// APIC is not in xAPIC mode), TLM_BURST_ERROR_RESPONSE for accesses that are not four bytes at a multiple of 16.
/// Addresses are physical, at the page that IA32_APIC_BASE names, or offsets into the page.
class local_apic : public sc_core::sc_module {
 public:
  tlm_utils::simple_target_socket_optional<local_apic> socket{"socket"};

  /// Of CPU `number` of the machine of `timeline`. SC_ERROR if there is none.
  local_apic(const sc_core::sc_module_name& name, timeline_module& timeline, unsigned number);
  local_apic(const local_apic&) = delete;
  local_apic& operator=(const local_apic&) = delete;

  const char* kind() const override { return "vmxsys::cpu::local_apic"; }

 private:
  struct store {
    std::uint32_t offset;
    unsigned bytes;
    std::uint64_t value;
  };
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  unsigned transport_dbg(tlm::tlm_generic_payload& transaction);
  apic::register_outcome look(std::uint32_t offset, unsigned bytes) const;

  timeline_module& timeline_;
  logical_cpu& cpu_;
  arrivals<store> in_;
};

}  // namespace vmxsys::cpu
