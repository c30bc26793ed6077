#pragma once
#include <filesystem>
#include <stdexcept>

#include "catalogues.hpp"

namespace vmxsys::platform {

/// A file that gives no entries: not there, not a shared object, made for another version, or its names are taken.
class shared_object_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Adds the entries of a shared object, which stays loaded as long as `to` or a copy of it lives. The file defines them
/// with VMXSYS_ENTRIES and is built against the same version of this library.
void add_entries_of(const std::filesystem::path& file, catalogues& to);

}  // namespace vmxsys::platform

/// In a shared object: what it adds.
///
///   VMXSYS_ENTRIES(names) { names.schedulers.add(my_scheduler); }
#define VMXSYS_ENTRIES(names)                                                        \
  extern "C" const char* vmxsys_entries_version() { return VMXSYS_ENTRIES_VERSION; } \
  extern "C" void vmxsys_entries_v1(::vmxsys::platform::catalogues& names)
#define VMXSYS_ENTRIES_VERSION "1"
