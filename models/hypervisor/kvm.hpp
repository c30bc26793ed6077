#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <vmxsys/apic/local_apic.hpp>
#include <vmxsys/models/kernel/kernel.hpp>

#include "kvm_costs.hpp"
#include "kvm_facts.hpp"
#include "ple_window.hpp"
#include "spin_policy.hpp"
#include "timer_advance.hpp"
#include "timer_backend.hpp"

namespace vmxsys::models {

class kvm;
class virtual_machine;

struct kvm_config {
  std::string spin_policy = "ipi_receivers";  ///< a name of spin_policies()
  spin_policy_maker make_policy;              ///< when set, makes the policy instead of the name
  std::uint32_t ple_gap = 128;                ///< TSC cycles; 0 turns PAUSE-loop exiting off
  ple_window_parameters ple_window;           ///< window, grow, shrink, max
  std::string timer_backend = "preemption_timer";  ///< a name of timer_backends()
  timer_advance_rules timer_advance;               ///< in TSC-deadline mode
  kvm_costs costs;
};

/// Where the guest of a VM starts: the strand that boots virtual CPU `index`.
using guest_boot = std::function<cpu::strand&(unsigned index)>;

/// A virtual CPU: a VMCS, a virtual local APIC (the same rules as the real one), and the thread of the host that runs
/// it. States and flags are those of virt/kvm/kvm_main.c, v5.6.
class vcpu final : public switch_notifier {
 public:
  vcpu(virtual_machine& of, unsigned index);

  virtual_machine& vm() { return vm_; }
  unsigned index() const { return index_; }
  models::thread& thread() { return *thread_; }
  std::uint32_t ple_window() const { return window_.value(); }
  apic::local_apic& virtual_apic() { return apic_; }
  physical_address vmcs() const { return vmcs_; }
  // What a spin handler sees of it, in KVM's words.
  bool preempted() const { return preempted_; }
  bool preempted_in_kernel() const { return preempted_in_kernel_; }
  bool ready() const { return ready_; }
  bool blocking() const { return blocking_; }
  bool in_guest_mode() const { return mode_ != run_mode::outside_guest; }
  std::uint32_t timer_advance_ns() const { return advance_ ? advance_->nanoseconds() : 0; }

  cpu::program sched_out(models::thread& self) override;
  cpu::program sched_in(models::thread& self) override;

  // -- for timer backends (kvm_timer.cpp) -----------------------------------------------------------------------------
  /// When its local APIC timer expires next.
  cycles timer_deadline() const { return apic_.next_timer_event(); }
  /// How much earlier it is let expire.
  cycles timer_lead() const;
  /// A timer of the host; it calls the backend when it expires.
  timer_event& software_timer() { return software_timer_; }
  /// The virtual timer expires if its deadline, less the lead and what a backend counts too coarsely, is reached.
  cpu::program timer_expired(cycles early = cycles{0});
  /// The same in the handler of the software timer, and gets the vCPU to notice.
  cpu::program software_timer_expired();
  /// Loads the VMX-preemption timer with the deadline.
  cpu::program load_preemption_timer();

 private:
  friend class kvm;
  friend class on_spin_context;
  friend class virtual_machine;

  enum class mp_state : std::uint8_t { uninitialized, runnable, halted };
  enum class run_mode : std::uint8_t { outside_guest, in_guest, exiting };

  class lapic_timer final : public timer_event {
   public:
    explicit lapic_timer(vcpu& of) : of_{of} {}
    cpu::program expire() override;

   private:
    vcpu& of_;
  };
  /// Ends the sleep of a handler that sleeps.
  class sleep_timer final : public timer_event {
   public:
    explicit sleep_timer(vcpu& of) : of_{of} {}
    cpu::program expire() override;

   private:
    vcpu& of_;
  };

  // kvm_run.cpp
  cpu::program run();
  cpu::program create();
  cpu::program enter_guest();
  cpu::task<bool> get_ready();
  cpu::vm_entry_instruction entry_instruction();
  cpu::program prepare_entry();
  cpu::program inject();
  cpu::program skip_instruction(std::uint32_t length);
  cpu::program load_on(unsigned cpu);
  cpu::program handle_exit(const vmx::exit_info& exit);
  cpu::program block();
  bool runnable() const;
  // kvm_handlers.cpp
  cpu::program handle_external_interrupt(const vmx::exit_info& exit);
  cpu::program handle_pause();
  cpu::program handle_msr(bool write);
  cpu::program handle_cpuid();
  cpu::program handle_hypercall();
  cpu::program handle_hlt();
  // kvm_timer.cpp
  cpu::program handle_preemption_timer();
  cpu::program wait_for_deadline();
  cpu::program send_interrupts(const apic::interrupt_command& command);
  cpu::program kick();
  ple_window_fact window_fact(const ple_window_change& change) const;
  /// The CPU of the host that its thread runs on, or 0.
  unsigned host_cpu() const;

  virtual_machine& vm_;
  unsigned index_;
  models::thread* thread_ = nullptr;
  cpu::strand* guest_ = nullptr;  // its registers are where the exited guest left them
  apic::local_apic apic_;
  physical_address vmcs_;
  cpu::word* line_;  // what siblings look at: one line per vCPU
  lapic_timer software_timer_{*this};
  sleep_timer sleep_timer_{*this};

  mp_state state_ = mp_state::uninitialized;
  run_mode mode_ = run_mode::outside_guest;
  bool start_pending_ = false;           // a SIPI arrived
  bool halted_with_interrupts_ = false;  // RFLAGS.IF at the HLT
  bool launched_ = false;
  bool window_exiting_ = false;                 // "interrupt-window exiting" is set in the VMCS
  preemption_timer_load preemption_timer_{true};  // the VMCS is made with the longest value
  bool preempted_ = false;
  bool ready_ = false;
  bool preempted_in_kernel_ = false;
  bool blocking_ = false;
  bool in_spin_loop_ = false;
  bool dy_eligible_ = false;
  int loaded_on_ = -1;  // the CPU on which the VMCS is active
  models::ple_window window_;
  std::uint32_t primary_controls_ = 0;
  std::unique_ptr<timer_advance> advance_;  // none: deadlines are met as they are
};

struct virtual_machine_config {
  std::string name;
  unsigned vcpus = 1;
  guest_boot boot;
  std::vector<std::vector<unsigned>> affinity;  ///< of the vCPU threads, by index; empty: free
};

class virtual_machine {
 public:
  virtual_machine(kvm& of, unsigned number, virtual_machine_config config);

  kvm& hypervisor() { return kvm_; }
  unsigned number() const { return number_; }
  const std::string& name() const { return config_.name; }
  vcpu& cpu(unsigned i) { return *vcpus_[i]; }
  unsigned vcpus() const { return static_cast<unsigned>(vcpus_.size()); }
  unsigned last_boosted() const { return last_boosted_; }

 private:
  friend class kvm;
  friend class vcpu;
  friend class on_spin_context;
  kvm& kvm_;
  unsigned number_;
  virtual_machine_config config_;
  unsigned last_boosted_ = 0;
  std::vector<std::unique_ptr<vcpu>> vcpus_;
};

/// The KVM hypervisor inside a host kernel: vCPU threads, exit handlers, virtual local APICs, the PLE window and a spin
/// policy. Algorithms as in Linux v5.6 (arch/x86/kvm/{x86,lapic}.c, arch/x86/kvm/vmx/vmx.c, virt/kvm/kvm_main.c).
class kvm {
 public:
  kvm(kernel& host, kvm_config config);
  ~kvm();

  /// Creates a VM and its vCPU threads; before the machine runs.
  virtual_machine& add(virtual_machine_config config);

  kernel& host() { return host_; }
  const kvm_config& config() const { return config_; }
  const kvm_costs& costs() const { return config_.costs; }
  models::spin_policy& policy() { return *policy_; }
  const models::timer_backend& timers() const { return *timers_; }
  const std::vector<std::unique_ptr<virtual_machine>>& vms() const { return vms_; }
  bool pause_loop_exiting() const { return config_.ple_gap != 0 && policy_->wants_exits(); }

 private:
  friend class vcpu;
  cpu::program enable_on(unsigned cpu);

  kernel& host_;
  kvm_config config_;
  std::unique_ptr<models::spin_policy> policy_;
  std::unique_ptr<models::timer_backend> timers_;
  std::vector<std::unique_ptr<virtual_machine>> vms_;
  std::vector<physical_address> vmxon_regions_;  // by CPU
  std::vector<physical_address> current_vmcs_;   // by CPU
  physical_address msr_bitmap_ = 0;
};

}  // namespace vmxsys::models
