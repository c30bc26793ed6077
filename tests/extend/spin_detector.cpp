#include <array>
#include <memory>

#include <vmxsys/vmx/spin_detectors/catalogue.hpp>

// A spin detector of one's own: it counts PAUSEs and knows nothing of loops.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::vmx;

namespace {

struct options {
  std::uint64_t pauses = 1000;
};
constexpr std::array rows{
    row<&options::pauses>("pauses", "PAUSEs", 1, 1'000'000, "the last PAUSE of so many since the VM entry exits")};

class pause_budget final : public spin_detector {
 public:
  explicit pause_budget(std::uint64_t pauses) : pauses_{pauses} {}

  void on_entry(cycles /*now*/, const spin_parameters& p) override {
    parameters_ = p;
    seen_ = 0;
  }
  spin_verdict on_pause(const pause_event& /*pause*/) override {
    if (parameters_.pause_exiting) return spin_verdict::exit;
    return parameters_.ple_enabled && ++seen_ >= pauses_ ? spin_verdict::exit : spin_verdict::execute;
  }
  // Fast mode asks these two instead of on_pause for each PAUSE of a loop.
  spin_prediction predict(const pause_event& /*first*/, cycles /*period*/) const override {
    if (parameters_.pause_exiting) return spin_prediction::at(0);
    return parameters_.ple_enabled ? spin_prediction::at(pauses_ - seen_ - 1) : spin_prediction::never();
  }
  void advance(const pause_event& /*first*/, cycles /*period*/, std::uint64_t k) override {
    if (parameters_.ple_enabled) seen_ += k;
  }
  unsigned state_bits() const noexcept override { return 20; }

 private:
  std::uint64_t pauses_;
  std::uint64_t seen_ = 0;  // executed since the entry, less than pauses_
  spin_parameters parameters_;
};

}  // namespace

extern const spin_detector_entry pause_budget_entry = entry_with<spin_detector_entry, options, rows>(
    "pause_budget", "a number of PAUSEs for each VM entry, and the last one exits",
    [](const void* o) -> std::unique_ptr<spin_detector> {
      return std::make_unique<pause_budget>(options_as<options>(o).pauses);
    },
    true);

}  // namespace extend
