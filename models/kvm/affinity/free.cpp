#include "vcpu_affinity.hpp"

namespace vmxsys::models {

namespace {

class free_affinity final : public vcpu_affinity {
 public:
  std::vector<unsigned> cpus_of(const vcpu_to_place&) const override { return {}; }
};

}  // namespace

extern const vcpu_affinity_entry free_affinity_entry = entry_without<vcpu_affinity_entry>(
    "free", "the host scheduler places vCPU threads anywhere",
    [](const void*) -> std::unique_ptr<vcpu_affinity> { return std::make_unique<free_affinity>(); });

}  // namespace vmxsys::models
