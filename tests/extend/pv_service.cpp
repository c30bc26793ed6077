#include <array>
#include <memory>

#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/models/kvm/pv/pv_service.hpp>

// A PV service of one's own: the guest asks its host for the time, so many times.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::models;

namespace {

struct options {
  unsigned calls = 10;
};
constexpr std::array rows{row<&options::calls>("calls", "hypercalls", 0, 1'000'000, "how often the guest asks")};

constexpr std::uint64_t what_time_is_it = 1000;  // KVM's own numbers are small

class host_time final : public pv_service {
 public:
  explicit host_time(unsigned calls) : calls_{calls} {}

  void set_up_guest(kernel& guest) override {
    guest.add_thread(
        "host_time", [this](thread&) { return ask(); }, code::start_kernel);
  }
  bool answers(std::uint64_t number) const override { return number == what_time_is_it; }
  cpu::task<std::uint64_t> on_hypercall(pv_context& context, const hypercall&) override {
    co_return context.now().count();
  }

 private:
  cpu::program ask() {
    for (unsigned i = 0; i < calls_; ++i) co_await cpu::isa::vmcall(what_time_is_it);
  }

  unsigned calls_;
};

}  // namespace

extern const pv_service_entry host_time_entry = entry_with<pv_service_entry, options, rows>(
    "host_time", "a hypercall that tells the host's TSC", [](const void* o) -> std::unique_ptr<pv_service> {
      return std::make_unique<host_time>(options_as<options>(o).calls);
    });

}  // namespace extend
