#include <array>
#include <memory>
#include <ostream>

#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/platform/observe/trace/trace_sink.hpp>

// A trace format of one's own: VM exits as comma-separated values.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::platform;

namespace {

struct options {
  unsigned every = 1;
};
constexpr std::array rows{row<&options::every>("every", "exits", 1, 1'000'000, "writes one exit out of so many")};

class exit_csv final : public trace_sink {
 public:
  exit_csv(unsigned every, const trace_environment& e) : every_{every}, host_{e.machine.host}, to_{e.to} {
    to_ << "ns,vm,vcpu,reason\n";
  }

  void observe(const cpu::fact_view& fact) override {
    const auto* f = fact.as<models::kvm_exit_fact>();
    if (f == nullptr || seen_++ % every_ != 0) return;
    to_ << host_.to_ns(fact.header().at) << ',' << f->vm << ',' << f->vcpu << ',' << vmx::name_of(f->reason) << '\n';
  }

 private:
  std::uint64_t every_;
  std::uint64_t seen_ = 0;
  models::kernel& host_;
  std::ostream& to_;
};

}  // namespace

extern const trace_format_entry exit_csv_entry = entry_with<trace_format_entry, options, rows>(
    "exit_csv", "VM exits as comma-separated values",
    [](const void* o, const trace_environment& e) -> std::unique_ptr<trace_sink> {
      return std::make_unique<exit_csv>(options_as<options>(o).every, e);
    });

}  // namespace extend
