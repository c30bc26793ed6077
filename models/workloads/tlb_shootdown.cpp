#include <array>
#include <memory>

#include "catalogue.hpp"
#include "detail/process.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

struct tlb_shootdown_options {
  unsigned threads = 0;
  distribution work = distribution::exponential(duration::us(10));
  distribution unmap = distribution::fixed(duration::ns(500));
};
constexpr std::array rows{row<&tlb_shootdown_options::threads>(
                              "threads", "threads", 0, 4096, "number of threads; 0 is one for each CPU of the kernel"),
                          row<&tlb_shootdown_options::work>("work", "computing in user mode between two shootdowns"),
                          row<&tlb_shootdown_options::unmap>("unmap", "part of the system call before the shootdown")};

/// Threads of one address space that now and then make a system call that changes page tables and makes the TLBs of all
/// CPUs that run one of them forget it (madvise of an allocator, ebizzy).
class tlb_shootdown final : public process {
 public:
  tlb_shootdown(kernel& on, const tlb_shootdown_options& o, const workload_environment& e)
      : process{on, o.threads, e.seed},
        work_{duration_distribution::of(o.work, e.tsc_khz)},
        unmap_{duration_distribution::of(o.unmap, e.tsc_khz)} {}

 private:
  cpu::program run(thread& self, random_stream& random) override {
    for (;;) {
      co_await isa::compute(work_.draw(random));
      co_await unmap(self, unmap_.draw(random));
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

  duration_distribution work_, unmap_;
};

}  // namespace

extern const workload_entry tlb_shootdown_entry = entry_with<workload_entry, tlb_shootdown_options, rows>(
    "tlb_shootdown", "compute, then unmap memory: every CPU with a thread of the program flushes its TLB",
    [](const void* given, kernel& on, const workload_environment& e) -> std::unique_ptr<workload> {
      return std::make_unique<tlb_shootdown>(on, options_as<tlb_shootdown_options>(given), e);
    },
    nullptr);

}  // namespace vmxsys::models
