#include "required_control.hpp"

namespace vmxsys::vmx {

const control_info* first_missing(required_controls needed, const capabilities& caps) noexcept {
  for (const required_control& r : needed) {
    if ((caps.allowed_1(r.word) & r.bit) != 0) continue;
    unsigned number = 0;
    while ((r.bit >> number & 1) == 0) ++number;
    return find_control(r.word, number);
  }
  return nullptr;
}

}  // namespace vmxsys::vmx
