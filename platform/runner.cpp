#include <ostream>

#include <vmxsys/platform/runner.hpp>

namespace vmxsys::platform {

// Placeholder until the machine is put together here.
int run_command(const options&, const run_config&, const output_directory*, std::ostream&, std::ostream& err) {
  err << "vmxsys: run is not built yet\n";
  return exit_invariant;
}

}  // namespace vmxsys::platform
