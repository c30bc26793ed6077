#include "sc_physical_cpu.hpp"

namespace vmxsys::cpu {

physical_cpu::physical_cpu(const sc_core::sc_module_name& name, timeline_module& timeline, unsigned number)
    : sc_module{name}, timeline_{timeline}, number_{number} {
  timeline.attach(number, *this);
}

void physical_cpu::end_of_elaboration() {
  if (boot.size() != 0) logical().connect(*boot[0]);
}

}  // namespace vmxsys::cpu
