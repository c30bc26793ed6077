#pragma once
#include <cstdint>

#include "instruction.hpp"

namespace vmxsys::vmx {

/// What INVEPT and INVVPID ask a translation cache to forget. SDM Vol. 3C §31.4.3.1. A cache may forget more.
enum class invalidation_kind : std::uint8_t {
  none,
  ept_single_context,             ///< guest-physical and combined mappings of bits 51:12 of `eptp`, every VPID
  ept_all_contexts,               ///< those of every EPTP
  vpid_individual_address,        ///< linear and combined mappings of `linear_address` under `vpid`
  vpid_single_context,            ///< all of `vpid`
  vpid_all_contexts,              ///< of every VPID but 0000H
  vpid_single_retaining_globals,  ///< all of `vpid` but global translations
};

struct invalidation {
  invalidation_kind kind = invalidation_kind::none;
  std::uint64_t eptp = 0;
  std::uint16_t vpid = 0;
  std::uint64_t linear_address = 0;
};

/// The memory operand of INVEPT and INVVPID.
struct invalidation_descriptor {
  std::uint64_t low = 0;   ///< INVEPT: the EPTP. INVVPID: the VPID, bits 63:16 are 0
  std::uint64_t high = 0;  ///< INVEPT: reserved. INVVPID: the linear address
};

/// `what.kind` is `none` unless the instruction succeeds.
struct invalidation_outcome : vmx_outcome {
  invalidation what;
};

/// INVEPT, type 1 (single-context) or 2 (all contexts). #UD on processors whose IA32_VMX_EPT_VPID_CAP has no INVEPT,
/// error 28 for a type it does not report and, with type 1, for an EPTP that VM entry would reject. SDM Vol. 3C §33.3.
/// How the type and the fault of the descriptor rank: `instruction_choices`.
invalidation_outcome invept(const vmx_unit& unit, const execution_mode& mode, std::uint64_t type,
                            const invalidation_descriptor& descriptor, operand_fault fault = operand_fault::none);

/// INVVPID, type 0 (individual address), 1 (single context), 2 (all contexts) or 3 (single context, retaining globals).
/// #UD and error 28 as for INVEPT; 28 also for bits 63:16 of the descriptor, VPID 0000H (but for type 2) and an address
/// that is not canonical (type 0; LAM does not apply). SDM Vol. 3C §33.3.
invalidation_outcome invvpid(const vmx_unit& unit, const execution_mode& mode, std::uint64_t type,
                             const invalidation_descriptor& descriptor, operand_fault fault = operand_fault::none);

}  // namespace vmxsys::vmx
