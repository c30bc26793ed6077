#pragma once
// Defaults < included files < the file < overrides. Nothing a file contains stops the program: every fault of every
// layer is collected.
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config.hpp"

namespace vmxsys::platform {

struct loaded_config {
  run_config config;
  std::vector<config_error> errors;
  /// What is legal and probably not meant (collect_warnings). It does not keep the configuration from running.
  std::vector<config_error> warnings;
  /// A file could not be read, as opposed to holding something wrong: exit status 3 instead of 2.
  bool file_missing = false;
  /// Every file read, in the order of layering.
  std::vector<std::filesystem::path> files;

  bool ok() const noexcept { return errors.empty(); }
  /// One line per fault.
  std::string report() const;
  /// One line per warning, each beginning with "warning: ".
  std::string warning_report() const;
};

/// Limits that keep a hostile or broken file from costing more than a moment.
struct config_limits {
  std::uint64_t file_bytes = 1 << 20;
  std::size_t include_depth = 16;
  std::size_t files = 64;
};

/// Reads `file`, what it includes (relative to the file that includes), and applies `overrides` ("path=value") in
/// order.
loaded_config load_config(const std::filesystem::path& file, std::span<const std::string> overrides = {},
                          const config_limits& limits = {}, const catalogues& from = catalogues::shipped());

/// The same from text; `origin` names it in messages, includes are relative to `directory`.
loaded_config load_config_text(std::string_view text, std::span<const std::string> overrides = {},
                               const std::string& origin = "", const std::filesystem::path& directory = ".",
                               const config_limits& limits = {}, const catalogues& from = catalogues::shipped());

/// Applies overrides to a configuration made in code (a study's), and checks the whole.
loaded_config override_config(const run_config& config, std::span<const std::string> overrides,
                              const catalogues& from = catalogues::shipped());

}  // namespace vmxsys::platform
