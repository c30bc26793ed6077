#pragma once
#include <iosfwd>

#include <vmxsys/platform/machine/config.hpp>
#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/platform/run/output_file.hpp>

namespace vmxsys::platform {

/// `vmxsys run FILE`: the configuration is loaded, overridden and free of faults with the names of `names`;
/// `directory`, if any, is there and writable, and gets effective.json and stats.json at the end. Results go to `out`
/// (one JSON document with --json), progress to `err`. Returns an exit_status; may throw file_error, and
/// std::logic_error for a broken invariant.
int run_command(const options& what, const run_config& config, const catalogues& names,
                const output_directory* directory, std::ostream& out, std::ostream& err);

}  // namespace vmxsys::platform
