#include <ostream>

#include <vmxsys/platform/study.hpp>

namespace vmxsys::platform {

std::vector<choice> study_choices() { return {}; }

// Placeholder until the first study stands here.
int study_command(const options&, const output_directory*, std::ostream&, std::ostream& err) {
  err << "vmxsys: study is not built yet\n";
  return exit_invariant;
}

}  // namespace vmxsys::platform
