#include "detail/injected_path.hpp"

#include <vmxsys/models/kvm/vcpu.hpp>

#include "detail/xapic_controls.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

void injected_path::select_controls(vmx::minimal_vmcs_options& options, apic::apic_mode mode) const {
  if (mode == apic::apic_mode::xapic) {
    select_xapic_controls(options);
  } else {  // without a TPR shadow CR8 would be the host's
    options.primary |= vmx::primary::cr8_load_exiting | vmx::primary::cr8_store_exiting;
  }
}

cpu::program injected_path::init_vmcs(vcpu& v) const {
  if (!v.lapic().has_page()) co_return;
  co_await isa::vmwrite(field::virtual_apic_address, v.lapic().memory().page.address());
  co_await isa::vmwrite(field::tpr_threshold, 0);
  co_await isa::vmwrite(field::apic_access_address, apic_access_page);
}

cpu::program injected_path::accept(vcpu& target, std::uint8_t vector) const {
  target.lapic().registers().accept(vector);
  co_await target.kick();
}

cpu::program injected_path::accept_level_triggered(vcpu& target, std::uint8_t vector) const {
  target.lapic().registers().accept(vector, true);
  co_await target.kick();
}

extern const interrupt_path_entry injected_path_entry = entry_without<interrupt_path_entry>(
    "injected", "every access to the local APIC exits; interrupts are injected at VM entry", vmx::required_controls{},
    false, false, [](const void*) -> std::unique_ptr<interrupt_path> { return std::make_unique<injected_path>(); });

}  // namespace vmxsys::models
