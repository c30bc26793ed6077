#include <optional>
#include <utility>

#include <vmxsys/models/kvm/detail/exit_handlers.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>

// A PAUSE exit: the window grows, and the spin policy decides.
namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

/// What the spin policy may see and do, for one exit of one vCPU.
class vcpu_spin_context final : public spin_context {
 public:
  /// `handler` is what the handler itself costs.
  vcpu_spin_context(vcpu& me, cycles handler)
      : me_{me}, vm_{me.vm()}, kernel_mode_{me.guest_in_kernel_mode()}, owed_{handler} {}

  unsigned vcpus() const override { return vm_.vcpus(); }
  unsigned me() const override { return me_.index(); }
  bool kernel_mode() const override { return kernel_mode_; }
  unsigned vm() const override { return vm_.number(); }
  cycles now() const override { return me_.host().hardware().time().now(); }
  spin_vm_state& state() override { return *vm_.spin_state(); }
  ipi_history ipis(unsigned i) const override { return candidate(i).ipis(); }
  unsigned host_cpu(unsigned i) const override { return candidate(i).thread().entity->cpu; }
  std::optional<vcpu_id> running_on(unsigned host_cpu) const override {
    if (host_cpu >= me_.host().cpus())
      throw cpu::invariant_error("spin policy '" + std::string{vm_.hypervisor().config().spin_policy.name()} +
                                     "' names CPU " + std::to_string(host_cpu) + ", and the host has " +
                                     std::to_string(me_.host().cpus()) + " (numbered from 0)",
                                 now());
    return id_of(me_.host().current(host_cpu));
  }
  std::optional<vcpu_id> vcpu_of(const sched_entity& entity) const override {
    return id_of(*static_cast<const thread*>(entity.owner));
  }

  cpu::task<spin_candidate> check(unsigned i) override {
    vcpu& v = candidate(i);
    ++candidates_;
    owed_ += vm_.hypervisor().costs().candidate;
    co_await isa::load(v.line());
    spin_candidate c;
    c.running_in_guest = v.in_guest_mode();
    c.preempted = v.preempted();
    c.ready = v.ready();
    c.preempted_in_kernel = v.preempted_in_kernel();
    c.blocking = v.blocking();
    c.runnable = v.runnable();
    c.pending_posted_interrupt = v.posts() && v.lapic().interrupt_posted();
    co_return c;
  }

  cpu::task<int> yield_to(unsigned i) override {
    vcpu& target = candidate(i);
    ++attempts_;
    owed_ += vm_.hypervisor().costs().yield_target;
    co_await settle();
    const vcpu_yield_rules rules = vm_.hypervisor().policy().yield_rules();
    if (rules.rejects_guest_mode && target.in_guest_mode()) co_return 0;
    const int result = co_await me_.host().yield_to(target.thread(), true, {.esrch_test = rules.esrch_test});
    if (result > 0) accepted_ = i + 1;
    co_return result;
  }

  cpu::program yield() override {
    co_await settle();
    co_await me_.host().yield();
  }

  cpu::program sleep(duration time) override {
    owed_ += vm_.hypervisor().costs().sleep_on_spin;
    co_await settle();
    co_await me_.sleep(time.to_cycles(me_.host().config().tsc_khz));
  }

  /// Spends what the handler and looking at candidates cost besides their lines.
  isa::conditional<isa::operation<void>> settle() {
    const cycles owed = std::exchange(owed_, cycles{0});
    return isa::when(owed != cycles{0}, isa::compute(owed));
  }

  on_spin_fact fact() const {
    return {me_.id().vm, me_.id().vcpu, candidates_, attempts_, static_cast<std::uint16_t>(accepted_)};
  }

 private:
  static std::optional<vcpu_id> id_of(const thread& t) {
    const auto* v = dynamic_cast<const vcpu*>(t.notifier);
    return v == nullptr ? std::nullopt : std::optional{v->id()};
  }
  /// An index that a policy gives must be that of a vCPU: policies come from outside, too.
  vcpu& candidate(unsigned i) const {
    if (i >= vm_.vcpus())
      throw cpu::invariant_error("spin policy '" + std::string{vm_.hypervisor().config().spin_policy.name()} +
                                     "' names vCPU " + std::to_string(i) + ", and '" + vm_.name() + "' has " +
                                     std::to_string(vm_.vcpus()) + " (numbered from 0)",
                                 now());
    return vm_.cpu(i);
  }

  vcpu& me_;
  virtual_machine& vm_;
  bool kernel_mode_;
  cycles owed_;
  std::uint16_t candidates_ = 0;
  std::uint16_t attempts_ = 0;
  unsigned accepted_ = 0;
};

}  // namespace

// The window grows before the handler runs and is written before the next entry (vmx.c, handle_pause). The mode of the
// PAUSE is that of the guest at the exit, as svm.c passes it (pause_interception: svm_get_cpl() == 0, a field of the
// VMCB in memory). vmx.c passes true without a look, because PAUSE-loop exiting counts at CPL 0 only; that is the same
// answer for the same cost.
cpu::program handle_pause(vcpu& v) {
  auto here = co_await isa::in(code::handle_pause);
  kvm& k = v.hypervisor();
  const ple_window_change change = v.window().on_pause_exit();
  if (change.changed())
    k.host().record(v.host_cpu(), ple_window_fact{v.id().vm, v.id().vcpu, change.before, change.after});
  vcpu_spin_context context{v, k.costs().handle_pause + k.costs().on_spin};
  {
    auto inner = co_await isa::in(code::kvm_vcpu_on_spin);
    co_await k.policy().on_spin(context);
    co_await context.settle();
  }
  k.host().record(v.host_cpu(), context.fact());
  co_await v.skip_instruction(2);
}

}  // namespace vmxsys::models
