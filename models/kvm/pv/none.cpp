#include "pv_service.hpp"

namespace vmxsys::models {

namespace {

/// No hypercall is known.
class no_service final : public pv_service {
 public:
  bool answers(std::uint64_t) const override { return false; }
  cpu::task<std::uint64_t> on_hypercall(pv_context&, const hypercall&) override { co_return 0; }
};

}  // namespace

extern const pv_service_entry no_pv_service_entry = entry_without<pv_service_entry>(
    "none", "each hypercall is answered with -KVM_ENOSYS",
    [](const void*) -> std::unique_ptr<pv_service> { return std::make_unique<no_service>(); });

}  // namespace vmxsys::models
