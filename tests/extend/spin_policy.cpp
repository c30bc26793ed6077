#include <array>
#include <memory>

#include <vmxsys/models/kvm/spin/spin_policy.hpp>

// A spin policy of one's own: a spinner tries its next siblings, one after the other.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  unsigned siblings = 1;
};
constexpr std::array rows{row<&options::siblings>("siblings", "vCPUs", 1, 64, "how many it yields to in one exit")};

class next_siblings final : public spin_policy {
 public:
  explicit next_siblings(unsigned siblings) : siblings_{siblings} {}

  cpu::program on_spin(spin_context& context) override {
    const unsigned all = context.vcpus();
    for (unsigned i = 1; i <= siblings_ && i < all; ++i) co_await context.yield_to((context.me() + i) % all);
  }

 private:
  unsigned siblings_;
};

}  // namespace

extern const spin_policy_entry next_siblings_entry = entry_with<spin_policy_entry, options, rows>(
    "next_siblings", "yields to the vCPUs that follow, whatever they do", "",
    [](const void* o) -> std::unique_ptr<spin_policy> {
      return std::make_unique<next_siblings>(options_as<options>(o).siblings);
    });

}  // namespace extend
