#include "halt_policy.hpp"

namespace vmxsys::models {

namespace {

/// The vCPU's thread sleeps at once (halt_poll_ns=0).
class trap final : public halt_policy {
 public:
  cpu::program on_halt(halt_context& context) override { return context.block(); }
};

}  // namespace

extern const halt_policy_entry trap_entry = entry_without<halt_policy_entry>(
    "trap", "HLT exits, and the vCPU's thread sleeps until there is something to run for",
    [](const void*) -> std::unique_ptr<halt_policy> { return std::make_unique<trap>(); });

}  // namespace vmxsys::models
