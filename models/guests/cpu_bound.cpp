#include <stdexcept>

#include "process.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

class cpu_bound final : public process {
 public:
  cpu_bound(kernel& on, const cpu_bound_parameters& parameters)
      : process{on, parameters.threads, 0}, chunk_{parameters.chunk} {
    if (chunk_ == cycles{0}) throw std::invalid_argument("the workload cpu_bound needs a chunk that takes time");
  }
  const char* name() const noexcept override { return "cpu_bound"; }

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

std::unique_ptr<workload> add_cpu_bound(kernel& on, const cpu_bound_parameters& parameters) {
  return std::make_unique<cpu_bound>(on, parameters);
}

}  // namespace vmxsys::models
