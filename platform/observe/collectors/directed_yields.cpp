#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/platform/observe/base/per_vcpu.hpp>

#include "collector.hpp"

namespace vmxsys::platform {

namespace {

struct yield_figures {
  std::uint64_t handled = 0, candidates = 0, attempts = 0, accepted = 0, same_queue = 0, other_queue = 0,
                to_sibling = 0, futile = 0, no_other_task = 0, target_running = 0;
};
using f = yield_figures;
constexpr std::array given{
    figure<&f::handled>("handled", "exits", "PAUSE exits that the spin policy handled"),
    figure<&f::candidates>("candidates", "vCPUs", "vCPUs that it looked at"),
    figure<&f::attempts>("attempts", "yields", "calls of yield_to"),
    figure<&f::accepted>("accepted", "yields", "the scheduler took the hint"),
    figure<&f::same_queue>("same_queue", "yields", "accepted, and the target was on the yielder's run queue"),
    figure<&f::other_queue>("other_queue", "yields", "accepted, and the target was on another CPU's run queue"),
    figure<&f::to_sibling>("to_sibling", "yields", "accepted, and the yielder's CPU switched to a vCPU of the same VM"),
    figure<&f::futile>("futile", "yields", "accepted, and the yielder was picked again all the same"),
    figure<&f::no_other_task>("no_other_task", "yields", "refused: both run queues hold one task (-ESRCH)"),
    figure<&f::target_running>("target_running", "yields", "refused: the target runs"),
};

/// What the spin policy does about PAUSE exits, and what becomes of its directed yields.
class directed_yields final : public collects<directed_yields, yield_figures, cpu::vm_entry_fact, cpu::vm_exit_fact,
                                              models::on_spin_fact, models::yield_to_fact, models::sched_switch_fact> {
 public:
  explicit directed_yields(const observed_machine& m) : vcpus_{m.hypervisor} {}

  void begin(cycles at) override {
    collects::begin(at);
    for (vcpu& v : vcpus_) v = {};
  }

  void on(const cpu::vm_exit_fact& x, const cpu::fact_header&) {
    if (vcpu* v = vcpus_.by_vmcs(x.vmcs)) *v = {true, x.reason == vmx::exit_reason::pause, false, false};
  }

  void on(const models::on_spin_fact& s, const cpu::fact_header&) {
    ++figures_.handled;
    figures_.candidates += s.candidates;
    figures_.attempts += s.attempts;
  }

  void on(const models::yield_to_fact& y, const cpu::fact_header&) {
    using outcome = models::yield_to_outcome;
    switch (static_cast<outcome>(y.outcome)) {
      case outcome::yielded:
        ++figures_.accepted;
        ++(y.cpu == y.target_cpu ? figures_.same_queue : figures_.other_queue);
        if (vcpu* v = vcpus_.by_pid(y.pid)) v->accepted = true;
        break;
      case outcome::nobody_to_switch:
        ++figures_.no_other_task;
        break;
      case outcome::target_running:
        ++figures_.target_running;
        break;
      default:
        break;
    }
  }

  void on(const models::sched_switch_fact& s, const cpu::fact_header&) {
    constexpr std::uint16_t host = 0;
    vcpu* v = s.kernel == host ? vcpus_.by_pid(s.prev_pid) : nullptr;
    if (v == nullptr || !v->exited || v->switched) return;
    v->switched = true;
    const vcpu* next = vcpus_.by_pid(s.next_pid);
    if (v->accepted && next != nullptr && vcpus_.vm_of(*next) == vcpus_.vm_of(*v)) ++figures_.to_sibling;
  }

  void on(const cpu::vm_entry_fact& e, const cpu::fact_header&) {
    vcpu* v = vcpus_.by_vmcs(e.vmcs);
    if (v == nullptr || !v->exited) return;
    if (v->pause && v->accepted && !v->switched) ++figures_.futile;
    v->exited = false;
  }

 private:
  struct vcpu {
    // The exit being handled.
    bool exited = false;
    bool pause = false;
    bool accepted = false;  // a yield of its thread
    bool switched = false;  // its thread, out
  };

  per_vcpu<vcpu> vcpus_;
};

}  // namespace

extern const collector_entry directed_yields_entry = entry_without<collector_entry>(
    "directed_yields", "what the hypervisor does about PAUSE exits, and what becomes of its directed yields",
    statistic_list{given},
    [](const void*, const observed_machine& m) -> std::unique_ptr<collector> {
      return std::make_unique<directed_yields>(m);
    },
    true);

}  // namespace vmxsys::platform
