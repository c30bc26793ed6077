#include "detail/interruptible.hpp"

namespace vmxsys::cpu {

bool interruptible::begin_compute(instruction& i, bool boundary, cycles now) {
  if (i.a == 0) {
    core_.complete(i);
    return false;
  }
  core_.book(now);
  core_.activity = cpu_activity::computing;
  until_ = now + cycles{i.a};
  core_.time.arm(core_.step, boundary && i.a > 1 ? now + cycles{1} : until_, phase::read);
  return true;
}

void interruptible::end_compute(cycles now) {
  report_work(now);
  instruction& i = *core_.active->in_flight();
  i.a = 0;
  core_.complete(i);
}

/// Tells detectors what the part of a block that ends now has retired.
void interruptible::report_work(cycles now) {
  if (!core_.in_guest || !spin_.detectors().interests().work) return;
  const instruction& i = *core_.active->in_flight();
  const std::uint64_t done = i.a - (until_ - now).count();
  const auto profile = work_profile::unpack(i.b);
  spin_.detectors().on_work({now, core_.active->location().cpl, profile.instructions(done), profile.unique_stores(done),
                             profile.backward_branches(done)});
}

void interruptible::leave(cycles now) {
  switch (core_.activity) {
    case cpu_activity::computing:
      report_work(now);
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
