#include <array>
#include <memory>
#include <stdexcept>

#include "catalogue.hpp"
#include "detail/process.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

struct cpu_bound_options {
  unsigned threads = 0;
  duration chunk = duration::ms(1);
};
constexpr std::array rows{
    row<&cpu_bound_options::threads>("threads", "threads", 0, 4096,
                                     "number of threads; 0 is one for each CPU of the kernel"),
    row<&cpu_bound_options::chunk>("chunk", duration::ns(1), duration::s(3600), "unit of work that is counted as done")
        .at_least_one_cycle()};

class cpu_bound final : public process {
 public:
  cpu_bound(kernel& on, const cpu_bound_options& o, const workload_environment& e)
      : process{on, o.threads, 0}, chunk_{o.chunk.to_cycles(e.tsc_khz)} {
    if (chunk_ == cycles{0}) throw std::invalid_argument("the workload cpu_bound needs a chunk that takes time");
  }

 private:
  cpu::program run(thread& self, random_stream&) override {
    for (;;) {
      co_await isa::compute(chunk_);
      co_await finish_unit(self);
    }
  }

  cycles chunk_;
};

}  // namespace

extern const workload_entry cpu_bound_entry = entry_with<workload_entry, cpu_bound_options, rows>(
    "cpu_bound", "compute in user mode without end (swaptions)",
    [](const void* given, kernel& on, const workload_environment& e) -> std::unique_ptr<workload> {
      return std::make_unique<cpu_bound>(on, options_as<cpu_bound_options>(given), e);
    },
    nullptr);

}  // namespace vmxsys::models
