#pragma once
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "transfer_rule.hpp"

namespace vmxsys::vmx {

/// Loads the host state as every VM exit and every failed entry does; SDM Vol. 3C §30.5. CR0.ET, CD, NW, its reserved
/// bits and the CR0 and CR4 bits that VMX operation fixes stay as they are; the fields do not count. Afterwards the
/// processor is active at CPL 0 with RFLAGS = 2, so with interrupts disabled, nothing blocked or pending; blocking by
/// NMI is untouched (`exit_blocks_nmi`). DR6, CR2, and MSRs without a control stay the guest's. Not here: PDPTEs
/// (`host_pdptes_in_memory`), invalidating translations.
void load_host_state(const vmcs& v, processor_state& p, const capabilities& caps) noexcept;

/// The rows it carries out, in order. Contiguous; `host_loading_table_size` rows.
const transfer_rule* host_loading_table() noexcept;
std::size_t host_loading_table_size() noexcept;
/// Fields it would read now.
unsigned host_fields_loaded(const vmcs& v) noexcept;

/// An exit directly due to an NMI blocks further NMIs in the host; every other one leaves that as it was. §30.5.5.
bool exit_blocks_nmi(const exit_info& exit) noexcept;

/// A guest in IA-32e mode cannot exit to a 32-bit host: VMX abort 6. Asked before the host state is loaded. §30.5.
bool leaves_ia_32e_mode(const vmcs& v, const processor_state& p) noexcept;

/// The host uses PAE paging, whose PDPTEs are loaded from memory (`load_pdptes`); an illegal one is VMX abort 2. Asked
/// of the state after `load_host_state`. §30.5.4.
bool host_pdptes_in_memory(const processor_state& p) noexcept;

}  // namespace vmxsys::vmx
