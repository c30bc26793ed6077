#include <vmxsys/vmx/events/exception.hpp>

#include "detail/entry_checks.hpp"

// SDM Vol. 3C §29.2.1.2 and §29.2.1.3: the VM-exit and VM-entry controls, event injection among them.
namespace vmxsys::vmx::entry_checks {

namespace {

constexpr const char* exits = "SDM Vol. 3C §29.2.1.2";
constexpr const char* entries = "SDM Vol. 3C §29.2.1.3";

// 16 bytes per entry. The sum does not wrap: an address has at most 52 bits, a count 32.
template <field Count, field Address>
bool msr_list_ok(V v, C c) {
  const u64 count = v.read(Count);
  if (count == 0) return true;
  const u64 address = v.read(Address);
  const u64 last = address + 16 * count - 1;
  return (address & 15) == 0 && in_width(address, c) && in_width(last, c);
}

// ---- event injection -----------------------------------------------------------------------------------------------

bool is_software(event_type type) {
  return type == event_type::software_interrupt || type == event_type::privileged_software_exception ||
         type == event_type::software_exception;
}

bool type_ok(V v, C c) {
  if (!injects(v)) return true;
  const event_information e = injected(v);
  if (e.type != event_type::other_event) return static_cast<unsigned>(e.type) != 1;
  const bool mtf = e.vector == 0 && c.caps().supports(control_word::primary, 27);
  const bool fred = (e.vector == 1 || e.vector == 2) && c.caps().supports(control_word::vm_entry, 23);
  return mtf || fred;
}

bool vector_ok(V v, C) {
  if (!injects(v)) return true;
  const event_information e = injected(v);
  if (e.type == event_type::nmi) return e.vector == 2;
  return e.type != event_type::hardware_exception || e.vector <= 31;
}

// The architecture counts #CP in; injection does where the processor says so.
bool injected_with_error_code(unsigned vector, C c) {
  return vector == exception_vector::control_protection ? c.options().cp_has_error_code : has_error_code(vector);
}

bool error_code_bit_ok(V v, C c) {
  if (!injects(v)) return true;
  const event_information e = injected(v);
  const bool protected_mode = !unrestricted(v) || v.any(field::guest_cr0, cr0_pe);
  if (e.type != event_type::hardware_exception || !protected_mode) return !e.error_code;
  const bool any_vector = (c.caps().basic >> 56 & 1) != 0;
  return any_vector || e.error_code == injected_with_error_code(e.vector, c);
}

bool reserved_bits_ok(V v, C c) {
  if (!injects(v)) return true;
  std::uint32_t reserved = event_bits::entry_reserved;
  const bool nested_exists = (c.caps().basic >> 58 & 1) != 0 && injected(v).type == event_type::hardware_exception;
  if (!nested_exists) reserved |= event_bits::nested;
  return (event_word_of(v) & reserved) == 0;
}

bool error_code_ok(V v, C) {
  return !injects(v) || !injected(v).error_code || v.read(field::vm_entry_exception_error_code) >> 16 == 0;
}

bool instruction_length_ok(V v, C c) {
  if (!injects(v) || !is_software(injected(v).type)) return true;
  const u64 length = v.read(field::vm_entry_instruction_length);
  const bool zero_ok = (c.caps().misc >> 30 & 1) != 0;
  return length <= 15 && (length != 0 || zero_ok);
}

constexpr entry_check rows[] = {
    control("VM-exit controls: reserved bits", exits, once, reads<exit_word>,
            [](V v, C c) { return legal(v, c, control_word::vm_exit); }),
    control("secondary VM-exit controls: reserved bits", exits, once, reads<exit_word, exit_2_word>,
            [](V v, C c) {
              return !exit_on(v, vm_exit_control::activate_secondary_controls) || legal(v, c, control_word::vm_exit_2);
            }),
    control("saving the preemption timer needs the timer", exits, once, reads<pin_word, exit_word>,
            [](V v, C) {
              return pin_on(v, pin_based::activate_vmx_preemption_timer) ||
                     !exit_on(v, vm_exit_control::save_vmx_preemption_timer_value);
            }),
    control("VM-exit MSR-store list", exits, once,
            reads<field::vm_exit_msr_store_count, field::vm_exit_msr_store_address>,
            msr_list_ok<field::vm_exit_msr_store_count, field::vm_exit_msr_store_address>),
    control("VM-exit MSR-load list", exits, once, reads<field::vm_exit_msr_load_count, field::vm_exit_msr_load_address>,
            msr_list_ok<field::vm_exit_msr_load_count, field::vm_exit_msr_load_address>),

    control("VM-entry controls: reserved bits", entries, once, reads<entry_controls_word>,
            [](V v, C c) { return legal(v, c, control_word::vm_entry); }),
    control("entry to SMM is made from SMM", entries, once, reads<entry_controls_word>,
            [](V v, C c) { return c.in_smm() || !entry_on(v, vm_entry_control::entry_to_smm); }),
    control("dual-monitor treatment is deactivated from SMM", entries, once, reads<entry_controls_word>,
            [](V v, C c) { return c.in_smm() || !entry_on(v, vm_entry_control::deactivate_dual_monitor_treatment); }),
    control("entry to SMM excludes deactivating dual-monitor treatment", entries, once, reads<entry_controls_word>,
            [](V v, C) {
              return !entry_on(v, vm_entry_control::entry_to_smm) ||
                     !entry_on(v, vm_entry_control::deactivate_dual_monitor_treatment);
            }),
    control("VM-entry MSR-load list", entries, once,
            reads<field::vm_entry_msr_load_count, field::vm_entry_msr_load_address>,
            msr_list_ok<field::vm_entry_msr_load_count, field::vm_entry_msr_load_address>),
    control("injection: type", entries, if_injecting, reads<event_word>, type_ok),
    control("injection: vector", entries, if_injecting, reads<event_word>, vector_ok),
    control("injection: deliver-error-code bit", entries, if_injecting,
            reads<event_word, primary_word, secondary_word, field::guest_cr0>, error_code_bit_ok),
    control("injection: reserved bits", entries, if_injecting, reads<event_word>, reserved_bits_ok),
    control("injection: error code", entries, if_injecting, reads<event_word, field::vm_entry_exception_error_code>,
            error_code_ok),
    control("injection: instruction length", entries, if_injecting,
            reads<event_word, field::vm_entry_instruction_length>, instruction_length_ok),
};

}  // namespace

const entry_check_group exit_and_entry_controls = group<rows>("VM-exit and VM-entry controls");

}  // namespace vmxsys::vmx::entry_checks
