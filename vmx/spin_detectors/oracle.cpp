#include "oracle.hpp"

#include <memory>

#include "catalogue.hpp"

namespace vmxsys::vmx {

extern const spin_detector_entry oracle_entry = entry_without<spin_detector_entry>(
    "oracle", "a control, not hardware: exits exactly while the awaited strand runs nowhere",
    [](const void* /*options*/) -> std::unique_ptr<spin_detector> { return std::make_unique<oracle>(); }, true);

}  // namespace vmxsys::vmx
