#include "detail/process.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

class tlb_shootdown final : public process {
 public:
  tlb_shootdown(kernel& on, const tlb_shootdown_parameters& parameters, std::uint64_t seed)
      : process{on, parameters.threads, seed}, parameters_{parameters} {}
  const char* name() const noexcept override { return "tlb_shootdown"; }

 private:
  cpu::program run(thread& self, random_stream& random) override {
    for (;;) {
      co_await isa::compute(parameters_.work.draw(random));
      co_await unmap(self, parameters_.unmap.draw(random));
      co_await finish_unit(self);
    }
  }

  cpu::program unmap(thread& self, cycles page_tables) {
    auto here = co_await isa::in(system_call);
    co_await enter_kernel();
    co_await isa::compute(page_tables);
    co_await on_.flush_tlb(self.address_space);
    co_await leave_kernel();
  }

  tlb_shootdown_parameters parameters_;
};

}  // namespace

std::unique_ptr<workload> add_tlb_shootdown(kernel& on, const tlb_shootdown_parameters& parameters,
                                            std::uint64_t seed) {
  return std::make_unique<tlb_shootdown>(on, parameters, seed);
}

}  // namespace vmxsys::models
