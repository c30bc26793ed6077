#include <vmxsys/vmx/nmi.hpp>
#include <vmxsys/vmx/non_root.hpp>

namespace vmxsys::vmx {

const nmi_rule& nmi_rule_of(const vmcs& v) noexcept {
  const std::uint64_t pin = pin_controls(v);
  if ((pin & pin_based::nmi_exiting) == 0) return nmi_table[0];
  return nmi_table[(pin & pin_based::virtual_nmis) != 0 ? 2 : 1];
}

bool nmi_open(const vmcs& v, const guest_blocking& blocking, bool sti_blocks_nmi) noexcept {
  guest_blocking held = blocking;
  if (nmi_rule_of(v).bit_3_is_virtual) held.interruptibility &= ~interruptibility::nmi;
  return held.nmi_window_open(sti_blocks_nmi);
}

void report_nmi_unblocking(exit_info& exit) noexcept {
  constexpr std::uint64_t qualification_bit = 1u << 12;
  constexpr unsigned double_fault = 8;
  if ((exit.idt_vectoring_information & event_bits::valid) != 0) return;
  switch (exit.reason) {
    case exit_reason::exception_or_nmi: {
      const event_information event = decode_event(exit.interruption_information);
      if (event.valid && event.type == event_type::hardware_exception && event.vector != double_fault)
        exit.interruption_information |= event_bits::nmi_unblocking;
      break;
    }
    case exit_reason::ept_violation:
    case exit_reason::page_modification_log_full:
    case exit_reason::spp_event:
      exit.qualification |= qualification_bit;
      break;
    default:
      break;
  }
}

}  // namespace vmxsys::vmx
