#include "spin_policy.hpp"

namespace vmxsys::models {

namespace {

/// PAUSE-loop exiting switched off (module parameter ple_gap=0).
class no_spin_policy final : public spin_policy {
 public:
  bool wants_exits() const override { return false; }
  cpu::program on_spin(spin_context& /*context*/) override { co_return; }
};

}  // namespace

extern const spin_policy_entry no_spin_policy_entry = entry_without<spin_policy_entry>(
    "none", "PAUSE-loop exiting stays off", "",
    [](const void*) -> std::unique_ptr<spin_policy> { return std::make_unique<no_spin_policy>(); });

}  // namespace vmxsys::models
