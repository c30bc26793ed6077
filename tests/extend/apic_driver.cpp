#include <array>
#include <memory>

#include <vmxsys/models/kernel/apic_drivers/catalogue.hpp>

// An APIC driver of one's own: clusters in x2APIC mode, with so many targets at a time.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  unsigned targets = 4;
};
constexpr std::array rows{row<&options::targets>("targets", "CPUs", 1, 16, "most targets of one ICR write")};

class in_batches final : public apic_driver {
 public:
  in_batches(unsigned cpus, unsigned targets) : targets_{targets}, inner_{of().make(cpus)} {}
  static selection<apic_driver_entry> of() { return apic_drivers().select("x2apic_cluster"); }

  cpu::isa::operation<void> write(std::uint32_t msr, std::uint32_t value) const override {
    return inner_->write(msr, value);
  }
  cpu::program send(unsigned cpu, std::uint8_t vector) const override { return inner_->send(cpu, vector); }
  cpu::program send(const std::vector<unsigned>& cpus, std::uint8_t vector) const override {
    std::vector<unsigned> batch;
    for (const unsigned cpu : cpus) {
      batch.push_back(cpu);
      if (batch.size() < targets_ && cpu != cpus.back()) continue;
      co_await inner_->send(batch, vector);
      batch.clear();
    }
  }
  cpu::program command(unsigned cpu, std::uint32_t low) const override { return inner_->command(cpu, low); }
  cpu::program send_to_others(std::uint8_t vector) const override { return inner_->send_to_others(vector); }

 private:
  unsigned targets_;
  std::unique_ptr<apic_driver> inner_;
};

}  // namespace

extern const apic_driver_entry in_batches_entry = entry_with<apic_driver_entry, options, rows>(
    "in_batches", "x2APIC, an ICR write for so many targets",
    [](const void* o, unsigned cpus) -> std::unique_ptr<apic_driver> {
      return std::make_unique<in_batches>(cpus, options_as<options>(o).targets);
    },
    apic::apic_mode::x2apic, 1u << 16);

}  // namespace extend
