#include "detail/injected_path.hpp"

#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

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

namespace {

// __apic_accept_irq
cpu::program inject(vcpu& target, std::uint8_t vector, bool level_triggered) {
  if (!target.lapic().registers().software_enabled()) co_return;
  auto here = co_await isa::in(code::apic_accept_irq);
  co_await isa::compute(target.hypervisor().costs().apic_accept);
  interrupt_lines* lines = target.lines_seen_by(co_await isa::this_cpu());
  if (lines != nullptr) co_await lines->set_irr(vector);
  target.lapic().registers().accept(vector, level_triggered);
  co_await target.kick();
}

}  // namespace

cpu::program injected_path::accept(vcpu& target, std::uint8_t vector) const { return inject(target, vector, false); }

cpu::program injected_path::accept_level_triggered(vcpu& target, std::uint8_t vector) const {
  return inject(target, vector, true);
}

extern const interrupt_path_entry injected_path_entry = entry_without<interrupt_path_entry>(
    "injected", "every access to the local APIC exits; interrupts are injected at VM entry", vmx::required_controls{},
    false, false, [](const void*) -> std::unique_ptr<interrupt_path> { return std::make_unique<injected_path>(); });

}  // namespace vmxsys::models
