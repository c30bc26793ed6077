#pragma once
#include <memory>
#include <vector>

#include <vmxsys/models/kernel/code.hpp>
#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/models/workloads/random_stream.hpp>
#include <vmxsys/models/workloads/workload.hpp>

namespace vmxsys::models {

/// A workload of threads that share an address space and all do the same: `run`, each with random numbers of its own.
class process : public workload {
 public:
  /// `threads` 0: one for each CPU, bound to it.
  process(kernel& on, unsigned threads, std::uint64_t seed);

 protected:
  virtual cpu::program run(thread& self, random_stream& random) = 0;

  /// States that the thread has done one unit of its work.
  cpu::program finish_unit(const thread& self);
  /// Into and out of a system call, which the caller spends in `system_call`. A thread may lose its CPU on the way out.
  static cpu::isa::operation<void> enter_kernel() { return cpu::isa::compute(cycles{120}); }
  cpu::program leave_kernel();
  static constexpr auto system_call = code::kernel_text("do_syscall_64", 0x21000, cpu::bucket::kernel);

  kernel& on_;

 private:
  std::vector<std::unique_ptr<random_stream>> random_;
};

}  // namespace vmxsys::models
