#include "loaded_vmcs.hpp"

#include <vmxsys/vmx/vmcs/control.hpp>

namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

loaded_vmcs::loaded_vmcs(current_vmcs_table& current)
    : current_{current}, address_{current.host.memory().take(4096, 4096)} {}

cpu::program loaded_vmcs::create(const vmx::minimal_vmcs_options& options) {
  cpu::machine& hw = current_.host.hardware();
  const vmx::capabilities& caps = hw.config().capabilities;
  hw.physical().write<std::uint32_t>(address_, caps.revision());
  co_await isa::vmclear(address_);
  co_await load_on(current_.host.index_of(co_await isa::this_cpu()));
  for (const auto& [f, value] : vmx::minimal_vmcs_fields(caps, options)) {
    co_await isa::vmwrite(f, value);
    if (f == field::primary_processor_based_controls) primary_controls_ = static_cast<std::uint32_t>(value);
  }
}

cpu::program loaded_vmcs::load_on(unsigned cpu) {
  if (on_ >= 0 && on_ != static_cast<int>(cpu)) {
    const auto from = static_cast<unsigned>(on_);
    co_await isa::sti();  // the other CPU may be calling this one
    co_await current_.host.call_on(from, [this, from]() -> cpu::program {
      if (on_ != static_cast<int>(from)) co_return;
      co_await isa::vmclear(address_);
      if (current_.by_cpu[from] == address_) current_.by_cpu[from] = 0;
      on_ = -1;
    });
    co_await isa::cli();
    launched_ = false;
  }
  if (current_.by_cpu[cpu] != address_) {
    co_await isa::vmptrld(address_);
    current_.by_cpu[cpu] = address_;
  }
  if (on_ != static_cast<int>(cpu)) {
    on_ = static_cast<int>(cpu);
    const cpu::logical_cpu& c = co_await isa::this_cpu();
    co_await isa::vmwrite(field::host_gs_base, c.gs_base());
    co_await isa::vmwrite(field::host_idtr_base, c.idtr_base());
  }
}

cpu::vm_entry_instruction loaded_vmcs::entry() {
  if (launched_) return isa::vmresume();
  launched_ = true;
  return isa::vmlaunch();
}

cpu::program loaded_vmcs::set_window_exiting(bool on) {
  window_exiting_ = on;
  co_await isa::vmwrite(field::primary_processor_based_controls,
                        on ? primary_controls_ | vmx::primary::interrupt_window_exiting : primary_controls_);
}

}  // namespace vmxsys::models
