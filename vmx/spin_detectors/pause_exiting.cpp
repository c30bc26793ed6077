#include "pause_exiting.hpp"

#include <memory>

#include "catalogue.hpp"

namespace vmxsys::vmx {

extern const spin_detector_entry pause_exiting_entry = entry_without<spin_detector_entry>(
    "pause_exiting", "every PAUSE exits, at any CPL",
    [](const void* /*options*/) -> std::unique_ptr<spin_detector> { return std::make_unique<pause_exiting>(); }, false);

}  // namespace vmxsys::vmx
