#include <array>
#include <memory>

#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/platform/observe/collectors/collector.hpp>

// A collector of one's own: how long threads of the host keep a CPU.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::platform;

namespace {

struct options {
  duration brief = duration::us(10);
};
constexpr std::array rows{
    row<&options::brief>("brief", duration{}, duration::ms(100), "a time on a CPU that is shorter is a brief one")};

struct figures {
  time_tally stays;
  std::uint64_t brief = 0;
};
constexpr std::array given{
    figure<&figures::stays>("time", "from the switch to a thread to the switch away from it"),
    figure<&figures::brief>("brief", "stays", "those that were brief"),
};

class cpu_stays final : public collects<cpu_stays, figures, models::sched_switch_fact> {
 public:
  cpu_stays(const options& o, const observed_machine& m)
      : brief_{o.brief.to_cycles(m.host.config().tsc_khz)}, since_(m.host.cpus()) {}

  void on(const models::sched_switch_fact& f, const cpu::fact_header& h) {
    if (f.kernel != 0) return;  // a guest's
    if (f.prev_pid != 0) {
      const cycles stay = h.at - since_[f.cpu];
      figures_.stays.add(stay);
      if (stay < brief_) ++figures_.brief;
    }
    since_[f.cpu] = h.at;
  }

 private:
  cycles brief_;
  std::vector<cycles> since_;  // by CPU of the host
};

}  // namespace

extern const collector_entry cpu_stays_entry = entry_with<collector_entry, options, rows>(
    "cpu_stays", "how long threads of the host keep a CPU", statistic_list{given},
    [](const void* o, const observed_machine& m) -> std::unique_ptr<collector> {
      return std::make_unique<cpu_stays>(options_as<options>(o), m);
    });

}  // namespace extend
