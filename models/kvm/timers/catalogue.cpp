#include "timer_backend.hpp"

namespace vmxsys::models {

#define ENTRIES(entry) \
  entry(preemption_timer_entry) entry(hrtimer_entry) entry(posted_timer_entry) entry(apic_timer_virtualization_entry)
VMXSYS_CATALOGUE(timer_backends, timer_backend_entry, "timer backend", ENTRIES)

cpu::program timer_backend::init_vmcs(vcpu&) const { co_return; }
cpu::program timer_backend::configured(vcpu&) const { co_return; }
cpu::program timer_backend::restart(vcpu&) const { co_return; }

}  // namespace vmxsys::models
