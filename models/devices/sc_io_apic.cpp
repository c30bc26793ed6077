#include "sc_io_apic.hpp"

#include <vmxsys/cpu/systemc/sc_register_access.hpp>

namespace vmxsys::models {

using sc_core::sc_time;

io_apic_module::io_apic_module(const sc_core::sc_module_name& name, cpu::timeline_module& timeline,
                               const io_apic_config& config, const io_apic_place& place)
    : sc_module{name},
      lines{"lines", config.pins},
      timeline_{timeline},
      place_{place},
      chip_{*this, config},
      in_{timeline, [this](const input& i, cycles) { apply(chip_, i); }},
      sampled_(config.pins),
      requester_{place.requester} {
  VMXSYS_SC_HAS_PROCESS(io_apic_module);
  socket.register_b_transport(this, &io_apic_module::b_transport);
  socket.register_transport_dbg(this, &io_apic_module::transport_dbg);
  timeline_.hardware().attach(*this);
  payload_.set_extension(&requester_);
  SC_METHOD(sample);
  SC_THREAD(carry);
}

// The payload would delete its extension.
io_apic_module::~io_apic_module() { payload_.clear_extension(&requester_); }

void io_apic_module::end_of_elaboration() {
  for (auto& line : lines)
    if (line.size() != 0) line_changes_ |= line->value_changed_event();
}

void io_apic_module::apply(io_apic& to, const input& i) {
  switch (i.what) {
    case input::line:
      to.set_line(i.where, i.value != 0);
      break;
    case input::write:
      to.write(i.where, i.bytes, i.value);
      break;
    case input::eoi:
      to.end_of_interrupt(static_cast<std::uint8_t>(i.value));
      break;
  }
}

// -- lines ------------------------------------------------------------------------------------------------------------

void io_apic_module::sample() {
  for (unsigned pin = 0; pin < lines.size(); ++pin) {
    if (lines[pin].size() == 0 || lines[pin]->read() == sampled_[pin]) continue;
    sampled_[pin] = !sampled_[pin];
    drive(pin, sampled_[pin]);
  }
  if (line_changes_.size() != 0) next_trigger(line_changes_);
}

void io_apic_module::drive(unsigned pin, bool high, const sc_time& delay) {
  in_.push({input::line, pin, 0, high}, delay, input::line);
}

void io_apic_module::eoi(std::uint8_t vector, unsigned, cycles now) {
  in_.push_at({input::eoi, 0, 0, vector}, now, input::eoi);
}

// -- messages ---------------------------------------------------------------------------------------------------------

bool io_apic_module::send(const apic::msi& message, unsigned) {
  if (messages.size() != 0)
    out_.push(message, timeline_.hardware().time().now(), timeline_.hardware().time(), timeline_.clock());
  return true;
}

void io_apic_module::carry() {
  for (;;) {
    const apic::msi message = out_.take();
    for (unsigned i = 0; i < 4; ++i) data_[i] = static_cast<unsigned char>(message.data >> 8 * i);
    payload_.set_command(tlm::TLM_WRITE_COMMAND);
    payload_.set_address(message.address);
    payload_.set_data_ptr(data_);
    payload_.set_data_length(4);
    payload_.set_streaming_width(4);
    payload_.set_byte_enable_ptr(nullptr);
    payload_.set_byte_enable_length(0);
    payload_.set_dmi_allowed(false);
    payload_.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
    sc_time delay;
    messages->b_transport(payload_, delay);
  }
}

// -- registers --------------------------------------------------------------------------------------------------------

io_apic io_apic_module::as_seen_now() {
  io_apic seen{chip_, nowhere_};
  in_.for_each_until(timeline_.here() + cycles{1}, [&](const input& i, cycles) { apply(seen, i); });
  return seen;
}

void io_apic_module::b_transport(tlm::tlm_generic_payload& transaction, sc_time& delay) {
  const auto access = cpu::register_access_of(transaction, place_.base, size);
  if (!access) return;
  const auto offset = static_cast<unsigned>(access->offset);
  if (!chip_.read(offset, access->bytes)) {
    transaction.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
  } else if (access->write) {
    in_.push({input::write, offset, access->bytes, static_cast<std::uint32_t>(access->value)}, delay, input::write);
  } else {
    if (delay != sc_core::SC_ZERO_TIME) {
      wait(delay);
      delay = sc_core::SC_ZERO_TIME;
    }
    timeline_.catch_up();
    cpu::set_data(transaction, *as_seen_now().read(offset, access->bytes));
  }
}

unsigned io_apic_module::transport_dbg(tlm::tlm_generic_payload& transaction) {
  const auto access = cpu::register_access_of(transaction, place_.base, size);
  if (!access || access->write) return 0;
  const auto value = as_seen_now().read(static_cast<unsigned>(access->offset), access->bytes);
  if (!value) return 0;
  cpu::set_data(transaction, *value);
  return access->bytes;
}

}  // namespace vmxsys::models
