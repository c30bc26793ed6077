#include "vcpu_affinity.hpp"

namespace vmxsys::models {

namespace {

class spread_affinity final : public vcpu_affinity {
 public:
  std::vector<unsigned> cpus_of(const vcpu_to_place& v) const override { return {(v.before + v.vcpu) % v.cpus}; }
};

}  // namespace

extern const vcpu_affinity_entry spread_affinity_entry = entry_without<vcpu_affinity_entry>(
    "spread",
    "each vCPU is bound to one CPU, the next for each, and the next VM goes on where the last one ended: no siblings "
    "share a run queue while there are CPUs for them",
    [](const void*) -> std::unique_ptr<vcpu_affinity> { return std::make_unique<spread_affinity>(); });

}  // namespace vmxsys::models
