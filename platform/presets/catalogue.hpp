#pragma once
#include <vmxsys/vmx/base/catalogue.hpp>

namespace vmxsys::platform {

/// A microarchitecture by name (machine.preset). Its options are its costs: machine.costs.
struct preset_entry : entry {
  /// A JSON object as the files of platform/presets/ hold, whole or with a "base". Name and description are the
  /// entry's.
  const char* text;
};

/// The presets that ship, each out of its file; the first is what a machine is unless told otherwise.
catalogue<preset_entry> presets();

}  // namespace vmxsys::platform
