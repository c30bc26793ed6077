#pragma once
#include <memory>

#include <vmxsys/vmx/base/catalogue.hpp>

#include "spin_detector.hpp"

namespace vmxsys::vmx {

struct spin_detector_entry : entry {
  std::unique_ptr<spin_detector> (*make)(const void* options);
  bool ple_control;  ///< acts only under the secondary control "PAUSE-loop exiting"
};

/// The spin detectors a logical processor may have. What they see, and what fools them: vmx/README.md.
catalogue<spin_detector_entry> spin_detectors();

}  // namespace vmxsys::vmx
