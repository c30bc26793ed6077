#include <map>
#include <string>
#include <vector>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/platform/observe/base/per_vcpu.hpp>

#include "collector.hpp"

namespace vmxsys::platform {

namespace {

struct exits_options {
  std::uint64_t long_streak = 100;
};
constexpr std::array options_rows{row<&exits_options::long_streak>(
    "long_streak", "exits", 1, 1'000'000'000, "an exit streak of more exits than this is a long one")};

struct exits_of_reason {
  time_tally host, all;
};
struct exits_figures {
  std::map<vmx::exit_reason, exits_of_reason> reasons;
  std::uint64_t pauses = 0;
  std::map<std::string, std::uint64_t> pauses_of_vm;
  std::uint64_t longest_streak = 0;
  std::uint64_t longest_vm = 0, longest_vcpu = 0, longest_began = 0;
  std::uint64_t long_streaks = 0;
  std::uint64_t in_long_streaks = 0;
  std::uint64_t long_streak = 0;
};
using f = exits_figures;
constexpr std::array given{
    figure<&f::reasons, &exits_of_reason::all, &time_tally::count>(
        "<reason>.count", "exits", "VM exits of one reason that a VM entry of the same vCPU followed"),
    figure<&f::reasons, &exits_of_reason::all>("<reason>.time", "from the guest's last cycle to its next"),
    figure<&f::reasons, &exits_of_reason::host>(
        "<reason>.host_time", "host time as a tracer sees it: from kvm_exit to the thread's next kvm_entry"),
    figure<&f::pauses>("pauses", "exits", "PAUSE exits that the hypervisor began to handle"),
    figure<&f::pauses_of_vm>("vm.<vm>.pauses", "exits", "the same of one VM"),
    figure<&f::longest_streak>("longest_streak", "exits", "consecutive exits of one vCPU, all PAUSE at one RIP"),
    figure<&f::longest_vm>("longest_streak_vm", "number", "the VM that it is of"),
    figure<&f::longest_vcpu>("longest_streak_vcpu", "number", "the vCPU that it is of"),
    figure<&f::longest_began>("longest_streak_began", "cycle", "when it began"),
    figure<&f::long_streak>("long_streak", "exits", "a streak of more exits than this is a long one"),
    figure<&f::long_streaks>("long_streaks", "streaks", "long exit streaks"),
    figure<&f::in_long_streaks>("in_long_streaks", "exits", "exits of long exit streaks"),
};

/// VM exits by reason, and exit streaks. An exit counts if it begins and is followed by an entry in the measured
/// interval.
class exits final : public collects<exits, exits_figures, cpu::vm_entry_fact, cpu::vm_exit_fact, models::kvm_exit_fact,
                                    models::kvm_entry_fact> {
 public:
  exits(const exits_options& o, const observed_machine& m)
      : options_{o}, machine_{m}, vcpus_{m.hypervisor}, pauses_of_vm_(m.guests.size()) {}

  void begin(cycles at) override {
    collects::begin(at);
    pauses_of_vm_.assign(pauses_of_vm_.size(), 0);
    for (vcpu& v : vcpus_) v = {};
  }

  void on(const cpu::vm_exit_fact& x, const cpu::fact_header& h) {
    vcpu* v = vcpus_.by_vmcs(x.vmcs);
    if (v == nullptr) return;
    v->exited = true;
    v->reason = x.reason;
    v->began = x.began;
    v->visible = h.at;
  }

  void on(const models::kvm_exit_fact& x, const cpu::fact_header& h) {
    vcpu& v = vcpus_.at(x.vm, x.vcpu);
    if (x.reason != vmx::exit_reason::pause) return end_streak(v);
    ++figures_.pauses;
    ++pauses_of_vm_[x.vm];
    if (v.streak == 0 || v.streak_rip != x.rip) {
      end_streak(v);
      v.streak_rip = x.rip;
      v.streak_began = h.at;
    }
    if (++v.streak <= figures_.longest_streak) return;
    figures_.longest_streak = v.streak;
    figures_.longest_vm = x.vm;
    figures_.longest_vcpu = x.vcpu;
    figures_.longest_began = v.streak_began.count();
  }

  void on(const models::kvm_entry_fact& e, const cpu::fact_header& h) {
    const vcpu& v = vcpus_.at(e.vm, e.vcpu);
    if (v.exited) figures_.reasons[v.reason].host.add(h.at - v.visible);
  }

  void on(const cpu::vm_entry_fact& e, const cpu::fact_header& h) {
    vcpu* v = vcpus_.by_vmcs(e.vmcs);
    if (v == nullptr || !v->exited) return;
    figures_.reasons[v->reason].all.add(h.at - v->began);
    v->exited = false;
  }

  void finish(cycles) override {
    for (vcpu& v : vcpus_) end_streak(v);
    figures_.long_streak = options_.long_streak;
    for (std::size_t vm = 0; vm < pauses_of_vm_.size(); ++vm)
      figures_.pauses_of_vm[machine_.guests[vm]->config().name] = pauses_of_vm_[vm];
  }

 private:
  struct vcpu {
    // The exit being handled.
    bool exited = false;
    vmx::exit_reason reason{};
    cycles began;
    cycles visible;  // to software
    // The streak under way.
    std::uint64_t streak = 0;
    std::uint64_t streak_rip = 0;
    cycles streak_began;
  };

  void end_streak(vcpu& v) {
    if (v.streak > options_.long_streak) {
      ++figures_.long_streaks;
      figures_.in_long_streaks += v.streak;
    }
    v.streak = 0;
  }

  exits_options options_;
  observed_machine machine_;
  per_vcpu<vcpu> vcpus_;
  std::vector<std::uint64_t> pauses_of_vm_;
};

}  // namespace

extern const collector_entry exits_entry = entry_with<collector_entry, exits_options, options_rows>(
    "exits", "VM exits by reason with the time that they take, and exit streaks", statistic_list{given},
    [](const void* o, const observed_machine& m) -> std::unique_ptr<collector> {
      return std::make_unique<exits>(options_as<exits_options>(o), m);
    },
    true);

}  // namespace vmxsys::platform
