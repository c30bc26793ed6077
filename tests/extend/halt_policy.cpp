#include <array>
#include <memory>

#include <vmxsys/models/kvm/halt/halt_policy.hpp>

// A halt policy of one's own: it looks for work for a while before the vCPU's thread sleeps.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  std::uint32_t poll = 100'000;
};
constexpr std::array rows{
    row<&options::poll>("poll", "cycles", 0, 1'000'000'000, "how long it looks before it sleeps")};

class poll_first final : public halt_policy {
 public:
  explicit poll_first(cycles poll) : poll_{poll} {}

  cpu::program on_halt(halt_context& context) override {
    const bool found = co_await context.poll(context.now() + poll_);
    if (!found) co_await context.block();
  }

 private:
  cycles poll_;
};

}  // namespace

extern const halt_policy_entry poll_first_entry = entry_with<halt_policy_entry, options, rows>(
    "poll_first", "polls for a fixed time, then sleeps", [](const void* o) -> std::unique_ptr<halt_policy> {
      return std::make_unique<poll_first>(cycles{options_as<options>(o).poll});
    });

}  // namespace extend
