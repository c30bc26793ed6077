#include "posted_interrupts.hpp"

#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::apic {

namespace layout = posted_interrupt_descriptor;

namespace {

using vmx::field;

std::uint64_t information_word(const physical_memory& memory, physical_address descriptor) {
  return memory.read<std::uint64_t>(descriptor + layout::information);
}

}  // namespace

descriptor_info read_descriptor_info(const physical_memory& memory, physical_address descriptor) {
  return decode_descriptor_info(information_word(memory, descriptor));
}

void write_descriptor_info(physical_memory& memory, physical_address descriptor, const descriptor_info& info) {
  memory.write(descriptor + layout::information, encode(info));
}

bool is_posted(const physical_memory& memory, physical_address descriptor, std::uint8_t vector) {
  return (memory.read<std::uint64_t>(layout::pir_word_of(descriptor, vector)) & layout::pir_bit_of(vector)) != 0;
}

bool any_posted(const physical_memory& memory, physical_address descriptor) {
  for (unsigned word = 0; word < layout::pir_words; ++word)
    if (memory.read<std::uint64_t>(layout::pir_word(descriptor, word)) != 0) return true;
  return false;
}

bool set_pir(physical_memory& memory, physical_address descriptor, std::uint8_t vector) {
  const physical_address at = layout::pir_word_of(descriptor, vector);
  const auto before = memory.read<std::uint64_t>(at);
  memory.write(at, before | layout::pir_bit_of(vector));
  return (before & layout::pir_bit_of(vector)) == 0;
}

std::optional<notification> announce(physical_memory& memory, physical_address descriptor, bool urgent) {
  const std::uint64_t word = information_word(memory, descriptor);
  const descriptor_info info = decode_descriptor_info(word);
  if (info.outstanding || (info.suppressed && !urgent)) return std::nullopt;
  memory.write(descriptor + layout::information, word | layout::on);
  return notification{info.vector, info.destination};
}

std::optional<notification> post(physical_memory& memory, physical_address descriptor, std::uint8_t vector,
                                 bool urgent) {
  set_pir(memory, descriptor, vector);
  return announce(memory, descriptor, urgent);
}

bool is_notification(const vmx::vmcs& v, std::uint8_t vector) noexcept {
  return (vmx::pin_controls(v) & vmx::pin_based::process_posted_interrupts) != 0 &&
         v.read(field::posted_interrupt_notification_vector) == vector;
}

void clear_on(physical_memory& memory, physical_address descriptor) {
  const physical_address at = descriptor + layout::information;
  memory.write(at, information_word(memory, descriptor) & ~layout::on);
}

int merge_pir(physical_memory& memory, physical_address descriptor, virtual_apic_page page) {
  int highest = virtual_apic_page::none;
  for (unsigned word = 0; word < layout::pir_words; ++word) {
    const physical_address at = layout::pir_word(descriptor, word);
    const auto posted = memory.read<std::uint64_t>(at);
    if (posted == 0) continue;
    memory.write(at, std::uint64_t{0});
    page.request_64(word, posted);
    highest = static_cast<int>(64 * word) + 63 - __builtin_clzll(posted);
  }
  return highest;
}

bool posted_processing::acknowledge(const vmx::vmcs& v, std::uint8_t vector) noexcept {
  const bool notified = is_notification(v, vector);
  next = notified ? posting_step::clear_on : posting_step::done;
  return notified;
}

void posted_processing::step(const virtual_apic& a) {
  const physical_address descriptor = a.v.read(field::posted_interrupt_descriptor_address);
  switch (next) {
    case posting_step::clear_on:
      clear_on(a.memory, descriptor);
      next = posting_step::write_eoi;
      break;
    case posting_step::write_eoi:
      next = posting_step::merge_pir;
      break;
    case posting_step::merge_pir:
      highest_posted = static_cast<std::int16_t>(merge_pir(a.memory, descriptor, a.page()));
      next = posting_step::raise_rvi;
      break;
    case posting_step::raise_rvi:
      if (highest_posted > a.state.rvi) a.state.rvi = static_cast<std::uint8_t>(highest_posted);
      next = posting_step::evaluate;
      break;
    case posting_step::evaluate:
      conclude(a, virtual_operation::posted_processing);
      next = posting_step::done;
      break;
    case posting_step::acknowledge:
    case posting_step::done:
      break;
  }
}

}  // namespace vmxsys::apic
