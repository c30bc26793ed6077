#include "vcpu_affinity.hpp"

namespace vmxsys::models {

namespace {

class stacked_affinity final : public vcpu_affinity {
 public:
  std::vector<unsigned> cpus_of(const vcpu_to_place& v) const override { return {(v.before + v.vcpu) / 2 % v.cpus}; }
};

}  // namespace

extern const vcpu_affinity_entry stacked_affinity_entry = entry_without<vcpu_affinity_entry>(
    "stacked", "vCPUs 2k and 2k+1 of a VM are bound to one CPU, the VMs one after the other",
    [](const void*) -> std::unique_ptr<vcpu_affinity> { return std::make_unique<stacked_affinity>(); });

}  // namespace vmxsys::models
