#include "detail/local_apic_unit.hpp"

#include <vmxsys/cpu/facts/cpu_facts.hpp>

namespace vmxsys::cpu {

bool local_apic_unit::read(std::uint32_t number, std::uint64_t tsc, std::uint64_t& value, cycles now) {
  if (!apic::local_apic::handles(number)) return msrs_.read(number, tsc, value);
  const apic::register_outcome outcome = core_.local_apic.read_msr(number, now);
  value = outcome.value;
  return !outcome.fault;
}

bool local_apic_unit::write(std::uint32_t number, std::uint64_t value, cycles now) {
  if (!apic::local_apic::handles(number)) {
    if (number == msr::gs_base) core_.gs_base = value;
    return msrs_.write(number, value);
  }
  const bool before = core_.local_apic.mode() == apic::apic_mode::x2apic;
  const apic::register_outcome outcome = core_.local_apic.write_msr(number, value, now);
  if (outcome.fault) return false;
  const bool after = core_.local_apic.mode() == apic::apic_mode::x2apic;
  if (before != after) core_.fabric.note_apic_mode(after);
  note(outcome, now);
  return true;
}

bool local_apic_unit::read_msr(std::uint32_t number, std::uint64_t& value) {
  return read(number, core_.time.now().count(), value, core_.time.now());
}
bool local_apic_unit::write_msr(std::uint32_t number, std::uint64_t value) {
  return write(number, value, core_.time.now());
}

/// What a write of a register sets in motion.
void local_apic_unit::note(const apic::register_outcome& outcome, cycles now) {
  if (outcome.ipi) send_ipi(*outcome.ipi, core_.cause, now);
  if (outcome.eoi) broadcast(*outcome.eoi, now);
  if (outcome.timer_rearmed) arm_timer(now);
}

void local_apic_unit::access_page(instruction& i, cycles now) {
  const auto offset = static_cast<std::uint32_t>(i.a & 0xFFF);
  if (i.code == opcode::mmio_read)
    i.result = core_.local_apic.read_page(offset, i.size, now).value;
  else
    write_page(offset, i.size, i.b, now);
}

void local_apic_unit::write_page(std::uint32_t offset, unsigned bytes, std::uint64_t value, cycles now) {
  note(core_.local_apic.write_page(offset, bytes, value, now), now);
}

void local_apic_unit::send_ipi(const apic::interrupt_command& c, fact_id cause, cycles now) {
  const fact_id sent = core_.record(
      now,
      ipi_sent_fact{c.destination, c.vector, static_cast<std::uint8_t>(c.mode), static_cast<std::uint8_t>(c.group)},
      cause);
  core_.fabric.send(c, core_.number, now, sent);
}

void local_apic_unit::notify(const apic::notification& n, fact_id cause, cycles now) {
  apic::local_apic& own = core_.local_apic;
  if (own.mode() == apic::apic_mode::disabled) return;
  const apic::interrupt_command command = apic::command_of(n, own.mode() == apic::apic_mode::x2apic);
  if (apic::judge(command) == apic::ipi_verdict::send)
    send_ipi(command, cause, now);
  else
    own.report_error(apic::esr::send_illegal_vector);
}

void local_apic_unit::end_of_interrupt(cycles now) {
  if (const auto eoi = core_.local_apic.end_of_interrupt()) broadcast(*eoi, now);
}

void local_apic_unit::broadcast(const apic::eoi_broadcast& eoi, cycles now) {
  core_.record(now, eoi_broadcast_fact{eoi.vector}, core_.cause);
  core_.fabric.broadcast_eoi(eoi.vector, core_.number, now);
}

void local_apic_unit::arm_timer(cycles now) {
  const cycles next = core_.local_apic.next_timer_event();
  if (next == cycles::never())
    core_.time.disarm(timer_slot_);
  else
    core_.time.arm(timer_slot_, max(next, now + cycles{1}), phase::timer);
}

void local_apic_unit::timer_due(cycles now) {
  core_.cause = core_.record(now, timer_fired_fact{0});
  core_.local_apic.timer_fire(now);
  arm_timer(now);
}

}  // namespace vmxsys::cpu
