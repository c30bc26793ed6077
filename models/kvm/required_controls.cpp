#include "required_controls.hpp"

#include <bit>

namespace vmxsys::models {

const vmx::control_info* first_missing(std::span<const required_control> needed, const vmx::capabilities& caps) {
  for (const required_control& r : needed)
    if ((caps.allowed_1(r.word) & r.bit) == 0)
      return vmx::find_control(r.word, static_cast<unsigned>(std::countr_zero(r.bit)));
  return nullptr;
}

}  // namespace vmxsys::models
