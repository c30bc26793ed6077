#include "entry_context.hpp"

#include <vmxsys/vmx/vmcs/pdpte.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

namespace vmxsys::vmx {

namespace {

constexpr std::uint64_t bus_lock_detect = 1u << 2;  // IA32_DEBUGCTL

std::uint64_t with(std::uint64_t digest, std::uint64_t value) {
  digest = (digest ^ value) * 0x9E37'79B9'7F4A'7C15;
  return digest ^ digest >> 29;
}

std::uint64_t digest_of(std::uint64_t digest, const entry_options& o, const entry_features& f) {
  const std::uint64_t flags = (o.cp_has_error_code ? 1u : 0u) | (o.sti_blocks_nmi_injection ? 2u : 0u) |
                              (o.address_space_size_is_control ? 4u : 0u) | (o.bus_lock_in_pending_debug ? 8u : 0u) |
                              (f.rtm ? 16u : 0u) | (f.sgx ? 32u : 0u);
  for (const std::uint64_t value :
       {flags, o.sti_nmi_qualification, f.perf_global_ctrl, f.debugctl, f.rtit_ctl, f.lbr_ctl, f.spec_ctrl})
    digest = with(digest, value);
  return digest & ~std::uint64_t{0xFF};
}

}  // namespace

entry_features entry_features_of(const capabilities& caps) noexcept {
  entry_features f;
  if (caps.supports(control_word::secondary, 30)) f.debugctl |= bus_lock_detect;
  f.sgx = caps.supports(control_word::secondary, 15);
  return f;
}

entry_context::entry_context(const capabilities& caps, const physical_memory& memory, const entry_options& options,
                             const entry_features& features) noexcept
    : caps_{&caps},
      memory_{&memory},
      options_{options},
      features_{features},
      digest_{digest_of(vmx::digest_of(caps), options, features)} {}

void entry_context::look_at(const processor_state& host) noexcept {
  constexpr std::uint64_t trace_enable = 1;
  long_mode_ = (host.efer & efer_bits::lma) != 0;
  tracing_ = (host.rtit_ctl & trace_enable) != 0;
  set_paging(vmx::pae_paging(host), host.cr3);
}

}  // namespace vmxsys::vmx
