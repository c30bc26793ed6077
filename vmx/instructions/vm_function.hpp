#pragma once
#include <cstdint>

#include "instruction.hpp"

namespace vmxsys::vmx {

/// VMFUNC, at any CPL and in any mode of a guest; SDM Vol. 3C §28.5.6. #UD outside non-root operation, without "enable
/// VM functions" and for EAX of 64 and more. Function 0 is EPTP switching: entry ECX (0 .. 511) of the EPTP list
/// becomes the EPTP of the current VMCS, and ECX goes to the EPTP-index field where the processor has one; a function
/// that is not enabled and an entry that VM entry would reject or that changes the page-walk length give exit
/// reason 59. Nothing is flushed: translations are tagged with the EPTP they were made under. No
/// outcome changes RFLAGS.
vmx_outcome vmfunc(const vmx_unit& unit, const execution_mode& mode, std::uint32_t eax, std::uint32_t ecx);

}  // namespace vmxsys::vmx
