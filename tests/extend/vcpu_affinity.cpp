#include <array>
#include <memory>

#include <vmxsys/models/kvm/affinity/vcpu_affinity.hpp>

// A vCPU affinity of one's own: every so many CPUs a vCPU.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  unsigned step = 2;
};
constexpr std::array rows{row<&options::step>("step", "CPUs", 0, 1024, "from a vCPU's CPU to the next one's")};

class strided final : public vcpu_affinity {
 public:
  explicit strided(unsigned step) : step_{step} {}
  std::vector<unsigned> cpus_of(const vcpu_to_place& v) const override {
    return {(v.before + v.vcpu) * step_ % v.cpus};
  }

 private:
  unsigned step_;
};

}  // namespace

extern const vcpu_affinity_entry strided_entry = entry_with<vcpu_affinity_entry, options, rows>(
    "strided", "each vCPU is bound to one CPU, so many after the last one's",
    [](const void* o) -> std::unique_ptr<vcpu_affinity> {
      return std::make_unique<strided>(options_as<options>(o).step);
    });

}  // namespace extend
