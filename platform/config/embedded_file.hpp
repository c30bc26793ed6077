#pragma once
#include <cstddef>
#include <string_view>

namespace vmxsys::platform {

/// A text file compiled into the library: `key` is its name without extension. Written by cmake/VMXSysEmbed.cmake.
struct embedded_file {
  std::string_view key;
  std::string_view text;
};

/// The shipped configurations that studies start from.
extern const embedded_file embedded_studies[];
extern const std::size_t embedded_studies_count;

}  // namespace vmxsys::platform
