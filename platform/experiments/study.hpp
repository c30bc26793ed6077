#pragma once
#include <iosfwd>
#include <vector>

#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/platform/run/output_file.hpp>
#include <vmxsys/vmx/base/parameter.hpp>

namespace vmxsys::platform {

/// Every study with its description, for `vmxsys list studies` and to find the nearest name.
std::vector<choice> study_choices();

/// `vmxsys study NAME`: `what.argument` is one of study_choices(). Overrides have not been applied yet: use
/// override_config() on each of the study's configurations. Returns an exit_status.
int study_command(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err);

}  // namespace vmxsys::platform
