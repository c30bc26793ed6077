#include <algorithm>
#include <array>
#include <memory>

#include <vmxsys/models/kvm/timers/timer_advance.hpp>

// A timer advance of one's own: it goes up and down in equal steps.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  std::uint32_t step = 100;
};
constexpr std::array rows{row<&options::step>("step", "ns", 1, 100'000, "added after a late entry, taken off else")};

class stepwise final : public timer_advance {
 public:
  explicit stepwise(std::uint32_t step) : timer_advance{step}, step_{step} {}

  void adjust(std::int64_t delta, std::uint64_t /*tsc_khz*/) override {
    constexpr std::uint32_t most = 1'000'000;
    ns_ = delta > 0 ? std::min(ns_ + step_, most) : std::max(ns_, 2 * step_) - step_;  // 0 would end it for good
  }

 private:
  std::uint32_t step_;
};

}  // namespace

extern const timer_advance_entry stepwise_entry = entry_with<timer_advance_entry, options, rows>(
    "stepwise", "timers expire early by a time that goes up and down in steps",
    [](const void* o, std::uint64_t /*tsc_khz*/) -> std::unique_ptr<timer_advance> {
      return std::make_unique<stepwise>(options_as<options>(o).step);
    });

}  // namespace extend
