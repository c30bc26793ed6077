#pragma once
#include <memory>

#include <vmxsys/vmx/base/cycles.hpp>

#include "simulation.hpp"

namespace vmxsys::platform {

/// What moves a simulation through time. Both kinds give the same facts.
class driver {
 public:
  virtual ~driver() = default;
  /// Runs every event before `end`; the machine's present is `end` afterwards. `end` must not lie in the past.
  virtual void run_until(cycles end) = 0;
  virtual const char* name() const noexcept = 0;
};

/// The machine's own timeline, without SystemC.
std::unique_ptr<driver> make_bare_driver(simulation& of);

/// Under a SystemC kernel: the machine is a module, elaborated here, so once a process. Null if the library was built
/// without SystemC. Runs ahead by a quantum of 1 ms, which changes no result, unless the program has set one.
std::unique_ptr<driver> make_systemc_driver(simulation& of);

/// SystemC where there is one, else bare.
std::unique_ptr<driver> make_driver(simulation& of);

}  // namespace vmxsys::platform
