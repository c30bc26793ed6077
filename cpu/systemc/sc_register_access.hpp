#pragma once
#include <cstdint>
#include <optional>

#include "sc_portability.hpp"

namespace vmxsys::cpu {

/// One access to a target that holds registers, not memory.
struct register_access {
  std::uint64_t offset;  ///< from the target's first byte
  unsigned bytes;        ///< 1 .. 8
  bool write;
  std::uint64_t value;  ///< of a write
};

/// Answers the base protocol for such a target of `size` bytes, which lies at `base`; addresses are physical, or
/// offsets as an interconnect may pass them on. Sets the response and gives the access to carry out, if there is one:
///
/// - TLM_IGNORE_COMMAND with otherwise legal attributes: TLM_OK_RESPONSE, nothing to do.
/// - No data pointer: TLM_GENERIC_ERROR_RESPONSE. Byte enables: TLM_BYTE_ENABLE_ERROR_RESPONSE. No bytes, more than
///   eight, or a streaming width below the length: TLM_BURST_ERROR_RESPONSE. Not wholly inside:
///   TLM_ADDRESS_ERROR_RESPONSE.
/// - Otherwise TLM_OK_RESPONSE, which the target may change.
///
/// DMI is never allowed.
std::optional<register_access> register_access_of(tlm::tlm_generic_payload& transaction, std::uint64_t base,
                                                  std::uint64_t size);

/// Puts what a read gave into the transaction's data.
void set_data(tlm::tlm_generic_payload& transaction, std::uint64_t value);

}  // namespace vmxsys::cpu
