#include "study.hpp"

#include <ostream>

#include <vmxsys/platform/run/workers.hpp>

#include "detail/study_detectors.hpp"
#include "detail/study_ipi_ladder.hpp"
#include "detail/study_ple_storm.hpp"
#include "detail/study_timer_ladder.hpp"

namespace vmxsys::platform {

namespace {

struct study {
  const char* name;
  const char* description;
  int (*run)(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err);
};

constexpr study studies[] = {
    {"ple_storm", "excessive PAUSE-loop exiting under KVM's spin policies (KVM Forum 2021, VEE '21)", study_ple_storm},
    {"detectors", "every spin detector watching the same runs, scored wait by wait against the truth", study_detectors},
    {"ipi_ladder",
     "interrupts between CPUs on bare metal and through each generation of APIC virtualization (NSDI '19)",
     study_ipi_ladder},
    {"timer_ladder", "a kernel's TSC-deadline timer on bare metal and with every backend of a hypervisor",
     study_timer_ladder},
};

}  // namespace

std::vector<choice> study_choices() {
  std::vector<choice> choices;
  for (const study& s : studies) choices.push_back({s.name, s.description});
  return choices;
}

int study_command(const options& what, const output_directory* directory, std::ostream& out, std::ostream& err) {
  try {
    for (const study& s : studies)
      if (what.argument == s.name) return s.run(what, directory, out, err);
  } catch (const worker_error& e) {
    err << "vmxsys: " << e.what() << '\n';
    return e.status();
  }
  return exit_usage;
}

}  // namespace vmxsys::platform
