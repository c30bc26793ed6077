#include "detail/interruptible.hpp"

namespace vmxsys::cpu {

/// Tells detectors what the part of a guest's block that ends now has retired.
void interruptible::report_work(cycles now) {
  if (!spin_.detectors().interests().work) return;
  const instruction& i = *core_.active->in_flight();
  const std::uint64_t done = i.a - (until_ - now).count();
  const auto profile = work_profile::unpack(i.b);
  spin_.detectors().on_work({now, core_.active->location().cpl, profile.instructions(done), profile.unique_stores(done),
                             profile.backward_branches(done)});
}

void interruptible::leave(cycles now) {
  switch (core_.activity) {
    case cpu_activity::computing:
      if (core_.in_guest) report_work(now);
      core_.active->in_flight()->a = (until_ - now).count();
      break;
    case cpu_activity::spinning:
      spin_.leave(now);
      break;
    case cpu_activity::waiting:
      wait_.abandon();
      break;
    default:
      break;
  }
  core_.time.disarm(core_.step);
  core_.activity = cpu_activity::executing;
}

}  // namespace vmxsys::cpu
