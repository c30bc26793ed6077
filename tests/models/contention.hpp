#pragma once
#include <memory>
#include <vector>

#include "kvm_rig.hpp"

// Guests whose vCPUs fight for a lock: the load under which they leave by PAUSE exits.
namespace vmxsys::models::testing {

/// Two or more vCPUs fight for one lock of their guest's kernel.
struct contention {
  std::unique_ptr<spinlock> lock;
  std::vector<std::uint64_t> rounds;

  contention(kvm_rig& r, unsigned vcpus, cycles work, cycles hold, unsigned vm = 0)
      : lock{spinlocks().select("queued").make(r.guest(vm).locks(), lock_user::kernel)}, rounds(vcpus) {
    for (unsigned i = 0; i < vcpus; ++i)
      r.add(
          "worker", {i},
          [this, i, work, hold](thread&) -> cpu::program {
            for (;;) {
              co_await isa::compute(work);
              auto here = co_await isa::in(kernel_text);
              co_await lock->acquire();
              co_await isa::compute(hold);
              co_await lock->release();
              ++rounds[i];
            }
          },
          user_text, vm);
  }
};

struct storm {
  kvm_rig r;
  contention c;
  storm(const kvm_setup& setup, const std::vector<vm_setup>& vms, cycles work = 20 * us, cycles hold = 60 * us)
      : r{setup, vms}, c{r, vms[0].vcpus, work, hold} {
    for (std::size_t vm = 1; vm < vms.size(); ++vm)
      for (unsigned i = 0; i < vms[vm].vcpus; ++i) r.hog(i, user_text, static_cast<unsigned>(vm));
  }
};

inline const std::vector<vm_setup> stacked_pair{{.vcpus = 4, .on = {{0}, {0}, {1}, {1}}},
                                                {.vcpus = 2, .on = {{0}, {1}}}};
inline const std::vector<vm_setup> spread_pair{{.vcpus = 2, .on = {{0}, {1}}}, {.vcpus = 2, .on = {{0}, {1}}}};

}  // namespace vmxsys::models::testing
