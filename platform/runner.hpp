#pragma once
#include <iosfwd>

#include <vmxsys/platform/config.hpp>
#include <vmxsys/platform/options.hpp>
#include <vmxsys/platform/output_file.hpp>

namespace vmxsys::platform {

/// `vmxsys run FILE`: the configuration is loaded, overridden and free of faults; `directory`, if any, is there and
/// writable, and gets effective.json and stats.json at the end. Results go to `out` (one JSON document with --json),
/// progress to `err`; those of an interrupted run are of what was measured until then and say so. Returns an
/// exit_status; may throw file_error, and std::logic_error for a broken invariant.
int run_command(const options& what, const run_config& config, const output_directory* directory, std::ostream& out,
                std::ostream& err);

}  // namespace vmxsys::platform
