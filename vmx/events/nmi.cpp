#include "nmi.hpp"

#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

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

}  // namespace vmxsys::vmx
