#include "sc_local_apic.hpp"

#include <vmxsys/cpu/core/logical_cpu.hpp>

#include "sc_register_access.hpp"

namespace vmxsys::cpu {

namespace {

logical_cpu& cpu_of(timeline_module& timeline, unsigned number, const char* name) {
  machine& m = timeline.hardware();
  if (number >= m.cpus()) {
    SC_REPORT_ERROR(message::binding, (std::string{name} + ": there is no CPU " + std::to_string(number)).c_str());
    number = 0;
  }
  return m.cpu(number);
}

}  // namespace

local_apic::local_apic(const sc_core::sc_module_name& name, timeline_module& timeline, unsigned number)
    : sc_module{name},
      timeline_{timeline},
      cpu_{cpu_of(timeline, number, this->name())},
      in_{timeline, [this](const store& s, cycles now) { cpu_.write_apic_page(s.offset, s.bytes, s.value, now); }} {
  socket.register_b_transport(this, &local_apic::b_transport);
  socket.register_transport_dbg(this, &local_apic::transport_dbg);
}

// On a copy, so that looking changes nothing.
apic::register_outcome local_apic::look(std::uint32_t offset, unsigned bytes) const {
  const cycles here = timeline_.here();
  apic::local_apic now = cpu_.local_apic();
  in_.for_each_until(here + cycles{1},
                     [&](const store& s, cycles) { now.write_page(s.offset, s.bytes, s.value, here); });
  return now.read_page(offset, bytes, here);
}

void local_apic::b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
  const auto access = register_access_of(transaction, cpu_.local_apic().apic_base_address(), apic::page::size);
  if (!access) return;
  if (!access->write && delay != sc_core::SC_ZERO_TIME) {
    wait(delay);
    delay = sc_core::SC_ZERO_TIME;
  }
  timeline_.catch_up();
  const auto offset = static_cast<std::uint32_t>(access->offset);
  const apic::register_outcome outcome = look(offset, access->bytes);
  if (outcome.unclaimed)
    transaction.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
  else if (outcome.undefined && (access->bytes != 4 || offset % 16 != 0))
    transaction.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
  else if (access->write)
    in_.push({offset, access->bytes, access->value}, delay);
  else
    set_data(transaction, outcome.value);
}

unsigned local_apic::transport_dbg(tlm::tlm_generic_payload& transaction) {
  const auto access = register_access_of(transaction, cpu_.local_apic().apic_base_address(), apic::page::size);
  if (!access || access->write) return 0;
  const apic::register_outcome outcome = look(static_cast<std::uint32_t>(access->offset), access->bytes);
  if (outcome.unclaimed || outcome.undefined) return 0;
  set_data(transaction, outcome.value);
  return access->bytes;
}

}  // namespace vmxsys::cpu
