#include "no_spin_detector.hpp"

#include <memory>

#include "catalogue.hpp"

namespace vmxsys::vmx {

extern const spin_detector_entry no_spin_detector_entry = entry_without<spin_detector_entry>(
    "none", "no spin detection; only the control \"PAUSE exiting\" is obeyed",
    [](const void* /*options*/) -> std::unique_ptr<spin_detector> { return std::make_unique<no_spin_detector>(); },
    false);

}  // namespace vmxsys::vmx
