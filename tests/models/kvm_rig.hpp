#pragma once
#include <gtest/gtest.h>
#include <map>
#include <optional>

#include <vmxsys/models/kvm/kvm.hpp>

#include "kernel_rig.hpp"

// A bare machine with a host kernel, KVM, and virtual machines whose kernels run lambdas. Whatever a test looks at, the
// checker looks at every entry and exit of every run.
namespace vmxsys::models::testing {

// What tests of one virtual machine expect most often.
inline expected_fact exit_of(unsigned vcpu, vmx::exit_reason why, unsigned vm = 0) {
  return fact<kvm_exit_fact>(&kvm_exit_fact::vm, vm, &kvm_exit_fact::vcpu, vcpu, &kvm_exit_fact::reason, why);
}
inline expected_fact entry_of(unsigned vcpu, unsigned vm = 0) {
  return fact<kvm_entry_fact>(&kvm_entry_fact::vm, vm, &kvm_entry_fact::vcpu, vcpu);
}
inline expected_fact injection_of(unsigned vcpu, std::uint8_t vector, unsigned vm = 0) {
  return fact<inject_fact>(&inject_fact::vm, vm, &inject_fact::vcpu, vcpu, &inject_fact::vector, vector);
}

/// What must hold at each entry and exit.
class transition_checker final : public cpu::fact_observer {
 public:
  explicit transition_checker(kvm& of) : of_{of} {}

  void observe(const cpu::fact_view& view) override {
    if (const auto* f = view.as<kvm_entry_fact>())
      entry(*f, view.header().at);
    else if (const auto* x = view.as<kvm_exit_fact>())
      exit(*x, view.header().at);
    else if (const auto* h = view.as<cpu::vm_entry_fact>())
      entered(*h);
    else if (const auto* g = view.as<cpu::vm_exit_fact>())
      exited(*g, view.header().at);
    else if (const auto* i = view.as<inject_fact>())
      injected(*i);
    else if (const auto* s = view.as<sched_switch_fact>())
      switched(*s);
  }
  std::uint64_t entries() const { return entries_; }

 private:
  struct state {
    enum { outside, announced, inside, left } where = outside;
    unsigned cpu = 0;
    std::optional<std::uint8_t> waiting;  // chosen for injection and not yet entered with
    cycles at{0};
  };
  state& of(unsigned vm, unsigned vcpu) { return states_[{vm, vcpu}]; }
  models::vcpu& real(unsigned vm, unsigned v) { return of_.vms()[vm]->cpu(v); }
  state* by_vmcs(std::uint64_t vmcs) {
    for (auto& vm : of_.vms())
      for (unsigned i = 0; i < vm->vcpus(); ++i)
        if (vm->cpu(i).vmcs() == vmcs) return &of(vm->number(), i);
    return nullptr;
  }

  void entry(const kvm_entry_fact& f, cycles at) {
    ++entries_;
    state& s = of(f.vm, f.vcpu);
    models::vcpu& v = real(f.vm, f.vcpu);
    EXPECT_TRUE(s.where == state::outside) << "kvm_entry after kvm_entry at " << at.count();
    EXPECT_EQ(f.pid, v.thread().pid);
    EXPECT_TRUE(v.thread().extended_state_loaded) << at.count();
    EXPECT_TRUE(v.thread().on_cpu);
    EXPECT_FALSE(v.preempted());
    EXPECT_FALSE(v.blocking());
    s.where = state::announced;
    s.cpu = f.cpu;
  }
  void entered(const cpu::vm_entry_fact& f) {
    state* s = by_vmcs(f.vmcs);
    if (s == nullptr) return;
    EXPECT_TRUE(s->where == state::announced) << "an entry without kvm_entry";
    s->where = state::inside;
    const bool valid = (f.interruption_information >> 31 & 1) != 0;
    EXPECT_EQ(valid, s->waiting.has_value());
    if (valid && s->waiting) EXPECT_EQ(f.interruption_information & 0xFF, *s->waiting);
    s->waiting.reset();
  }
  void exited(const cpu::vm_exit_fact& f, cycles at) {
    state* s = by_vmcs(f.vmcs);
    if (s == nullptr) return;
    EXPECT_TRUE(s->where == state::inside);
    s->where = state::left;
    s->at = at;
  }
  void exit(const kvm_exit_fact& f, cycles at) {
    state& s = of(f.vm, f.vcpu);
    EXPECT_TRUE(s.where == state::left) << "kvm_exit without an exit at " << at.count();
    EXPECT_EQ(s.at, at) << "software sees the exit when the hardware has finished it";
    EXPECT_EQ(s.cpu, f.cpu);
    EXPECT_EQ(f.pid, real(f.vm, f.vcpu).thread().pid);
    s.where = state::outside;
  }
  void injected(const inject_fact& f) {
    state& s = of(f.vm, f.vcpu);
    EXPECT_FALSE(s.waiting.has_value()) << "vector " << unsigned{f.vector} << " replaces " << unsigned{*s.waiting};
    s.waiting = f.vector;
    // SDM Vol. 3C §27.3.1.5: neither with IF = 0 nor in a shadow.
    const models::vcpu& v = real(f.vm, f.vcpu);
    const vmx::vmcs& fields = *of_.host().hardware().active_vmcs().find(v.vmcs());
    EXPECT_NE(fields.read(vmx::field::guest_rflags) & vmx::rflags_bits::interrupt_flag, 0u);
    EXPECT_EQ(fields.read(vmx::field::guest_interruptibility_state) &
                  (vmx::interruptibility::sti | vmx::interruptibility::mov_ss),
              0u);
  }
  void switched(const sched_switch_fact& f) {
    if (f.kernel != of_.host().id()) return;
    for (auto& t : of_.host().threads())
      if (t->pid != f.prev_pid) EXPECT_TRUE(t->on_cpu || !t->extended_state_loaded) << t->name();
  }

  kvm& of_;
  std::map<std::pair<unsigned, unsigned>, state> states_;
  std::uint64_t entries_ = 0;
};

struct kvm_setup {
  unsigned cpus = 1;
  std::string policy = "ipi_receivers";
  std::uint32_t ple_gap = 128;
  ple_window_parameters window{};
  scheduler_maker host_scheduler = fair();
  std::function<void(kernel_config&)> change_host = {};
  bool stepped = false;
  std::function<void(kvm_config&)> change_kvm = {};
  std::function<void(cpu::machine_config&)> change_hardware = {};
};

struct vm_setup {
  unsigned vcpus = 1;
  std::vector<std::vector<unsigned>> on = {};  ///< CPUs of each vCPU thread; none: free
  unsigned hz = 250;
  std::function<void(kernel_config&)> change_guest = {};
};

class kvm_rig {
 public:
  using body = std::function<cpu::program(thread&)>;

  kvm_rig(const kvm_setup& setup, const std::vector<vm_setup>& vms) : hw{hardware_of(setup)} {
    hw.facts().attach(log);
    hw.facts().attach(hash);
    kernel_config c = kernel_settings(setup.cpus, [this, make = setup.host_scheduler](unsigned n) {
      auto watched = std::make_unique<spying_scheduler>(make(n));
      spy = watched.get();
      return watched;
    });
    if (setup.change_host) setup.change_host(c);
    host_ = std::make_unique<kernel>(hw, std::move(c));
    kvm_config k;
    k.spin_policy = spin_policies().select(setup.policy);
    k.ple_gap = setup.ple_gap;
    k.ple_window = setup.window;
    if (setup.change_kvm) setup.change_kvm(k);
    kvm_ = std::make_unique<kvm>(*host_, std::move(k));
    for (std::size_t i = 0; i < vms.size(); ++i) {
      kernel_config g = kernel_settings(vms[i].vcpus, fair());
      g.name = "vm" + std::to_string(i);
      g.hz = vms[i].hz;
      g.memory_base = 0x4000'0000 + i * 0x1000'0000;
      if (vms[i].change_guest) vms[i].change_guest(g);
      guests_.push_back(std::make_unique<kernel>(hw, std::move(g)));
      kernel& guest = *guests_.back();
      guest.boot_cpuids = 4;
      virtual_machine_config v;
      v.name = guest.config().name;
      v.vcpus = vms[i].vcpus;
      v.apic = guest.apic_mode();
      v.boot = [&guest](unsigned index) -> cpu::strand& { return guest.boot_cpu(index); };
      v.affinity = vms[i].on;
      kvm_->add(std::move(v));
    }
    checker_.emplace(*kvm_);
    hw.facts().attach(*checker_);
    hw.connect(*host_);
  }

  ~kvm_rig() {
    for (auto& guest : guests_) guest->abandon_threads();
    host_->abandon_threads();
  }

  kernel& host() { return *host_; }
  models::kvm& hypervisor() { return *kvm_; }
  kernel& guest(unsigned vm = 0) { return *guests_[vm]; }
  models::vcpu& vcpu(unsigned i, unsigned vm = 0) { return kvm_->vms()[vm]->cpu(i); }
  const vmx::vmcs* vmcs(unsigned i, unsigned vm = 0) { return hw.active_vmcs().find(vcpu(i, vm).vmcs()); }

  /// A thread of a guest, bound to virtual CPUs.
  thread& add(std::string name, std::vector<unsigned> on, body what, const cpu::code_location& where = user_text,
              unsigned vm = 0) {
    return guest(vm).add_thread(std::move(name), std::move(what), where, std::move(on));
  }
  thread& hog(unsigned vcpu, const cpu::code_location& where = user_text, unsigned vm = 0) {
    return add(
        "hog", {vcpu}, [](thread&) { return compute_for_ever(); }, where, vm);
  }
  thread& add_to_host(std::string name, std::vector<unsigned> on, body what,
                      const cpu::code_location& where = user_text) {
    return host().add_thread(std::move(name), std::move(what), where, std::move(on));
  }

  void run_until(cycles end) {
    hw.run_until(end);
    hw.check_accounting();
    EXPECT_EQ(hw.active_vmcs().violations(), 0u);
  }
  cycles now() { return hw.time().now(); }
  std::uint64_t entries() const { return checker_->entries(); }

  using when = std::pair<cycles, cycles>;
  static constexpr when always{cycles{0}, cycles::never()};
  std::vector<recorded<kvm_exit_fact>> exits(std::optional<vmx::exit_reason> why, unsigned v, unsigned vm = 0,
                                             when between = always) const {
    std::vector<recorded<kvm_exit_fact>> found;
    for (const auto& x : log.of<kvm_exit_fact>())
      if (x->vm == vm && x->vcpu == v && (!why || x->reason == *why) && x.at() >= between.first &&
          x.at() < between.second)
        found.push_back(x);
    return found;
  }
  std::vector<cycles> injections(std::uint8_t vec, unsigned v, unsigned vm = 0, when between = always) const {
    std::vector<cycles> found;
    for (const auto& i : log.of<inject_fact>())
      if (i->vm == vm && i->vcpu == v && i->vector == vec && i.at() >= between.first && i.at() < between.second)
        found.push_back(i.at());
    return found;
  }
  /// Of one kind, between two cycles.
  template <class F>
  std::vector<recorded<F>> facts(when between = always) const {
    std::vector<recorded<F>> found;
    for (const auto& f : log.of<F>())
      if (f.at() >= between.first && f.at() < between.second) found.push_back(f);
    return found;
  }

  fact_log log;
  cpu::fact_hash hash;
  cpu::machine hw;
  spying_scheduler* spy = nullptr;

 private:
  static cpu::machine_config hardware_of(const kvm_setup& setup) {
    cpu::machine_config c = bare_hardware(setup.cpus, setup.stepped);
    if (setup.change_hardware) setup.change_hardware(c);
    return c;
  }
  std::unique_ptr<kernel> host_;
  std::unique_ptr<models::kvm> kvm_;
  std::vector<std::unique_ptr<kernel>> guests_;
  std::optional<transition_checker> checker_;
};

}  // namespace vmxsys::models::testing
