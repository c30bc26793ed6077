#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <vmxsys/apic/interrupt_remapping.hpp>
#include <vmxsys/apic/local_apic.hpp>
#include <vmxsys/models/kernel/kernel.hpp>

#include "interrupt_path.hpp"
#include "kvm_costs.hpp"
#include "kvm_facts.hpp"
#include "ple_window.hpp"
#include "posted_vcpu.hpp"
#include "posting_protocol.hpp"
#include "spin_policy.hpp"
#include "timer_advance.hpp"
#include "timer_backend.hpp"

namespace vmxsys::models {

class kvm;
class virtual_machine;

struct kvm_config {
  std::string spin_policy = default_spin_policy;   ///< a name of spin_policies()
  spin_policy_maker make_policy;                   ///< when set, makes the policy instead of the name
  std::uint32_t ple_gap = vmx::default_ple_gap;    ///< TSC cycles; 0 turns PAUSE-loop exiting off
  ple_window_parameters ple_window;                ///< window, grow, shrink, max
  std::string interrupt_path = "injected";         ///< a name of interrupt_paths()
  std::string timer_backend = "preemption_timer";  ///< a name of timer_backends()
  timer_advance_rules timer_advance;               ///< in TSC-deadline mode
  unsigned housekeeping_cpu = 0;                   ///< where the timer backend `posted` has its timers
  /// Exits by a fixed unicast IPI, a TSC deadline or the preemption timer go back into the guest with interrupts off,
  /// without the usual way out (handle_fastpath_set_msr_irqoff, handle_fastpath_preemption_timer; as v6.12). Only where
  /// interrupts are posted.
  bool fast_paths = false;
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
  /// Interrupts are posted to it.
  bool posts() const { return virtual_apic_ && virtual_apic_->info != nullptr; }
  std::uint32_t timer_advance_ns() const { return advance_ ? advance_->nanoseconds() : 0; }

  cpu::program sched_out(models::thread& self) override;
  cpu::program sched_in(models::thread& self) override;

  // -- for timer backends (kvm_timer.cpp) -----------------------------------------------------------------------------
  /// When its local APIC timer expires next.
  cycles timer_deadline() const { return apic_.next_timer_event(); }
  /// It runs, no timer of the host is armed for it, and no expiry waits to be taken: a periodic one, after an expiry.
  bool timer_waits_for_nobody() const {
    return timer_deadline() != cycles::never() && !software_timer_.armed() &&
           !(virtual_apic_ && virtual_apic_->timer_pending);
  }
  /// How much earlier it is let expire by a timer of the host, which only knows an advance for TSC deadlines.
  cycles timer_lead() const;
  /// The same by the VMX-preemption timer, in each mode (vmx_set_hv_timer).
  cycles preemption_timer_lead() const;
  /// A timer of the host; it calls the backend when it expires.
  timer_event& software_timer() { return software_timer_; }
  const timer_event& software_timer() const { return software_timer_; }
  /// The CPU of the host that its thread runs on, or 0.
  unsigned host_cpu() const;
  /// The virtual timer expires if its deadline, less the lead, is reached. `early` is the lead of the VMX-preemption
  /// timer and what that counts too coarsely; 0 if it was not that.
  /// `on_time`: no entry is left that could wait for the deadline, so this does.
  cpu::program timer_expired(cycles early = cycles{0}, bool on_time = false);
  /// The same in the handler of the software timer, and gets the vCPU to notice.
  cpu::program software_timer_expired();
  /// Loads the VMX-preemption timer with the deadline.
  cpu::program load_preemption_timer();
  /// A software timer has expired while the vCPU is not to be interrupted by posting: it looks at its next entry.
  cpu::program note_timer();
  /// The vector of the LVT timer, 0 if it is masked.
  std::uint8_t timer_vector();

 private:
  friend class kvm;
  friend class on_spin_context;
  friend class virtual_machine;
  friend class injected_path;
  friend class direct_path;
  friend class posted_path;

  enum class mp_state : std::uint8_t { uninitialized, runnable, halted };
  using run_mode = vcpu_mode;

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

  void make_virtual_apic();
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
  bool prepared_too_early() const;
  bool guest_in_kernel_mode() const;
  cpu::program announce_entry();
  cpu::program handle_exit(const vmx::exit_info& exit);
  cpu::program announce_exit(const vmx::exit_info& exit);
  cpu::program block();
  cpu::program wait_for_event();
  bool runnable() const;
  bool event_pending() const;
  bool interrupt_pending() const;
  // kvm_handlers.cpp
  cpu::program handle_external_interrupt(const vmx::exit_info& exit);
  cpu::program handle_pause();
  cpu::program handle_msr(bool write);
  cpu::program handle_cr(const vmx::exit_info& exit);
  cpu::program handle_cpuid();
  cpu::program handle_hypercall();
  cpu::program handle_hlt();
  // kvm_timer.cpp
  cpu::program handle_preemption_timer();
  cpu::program wait_for_deadline();
  cpu::program settle_deadline();
  cpu::program act_on(const apic::register_outcome& outcome);
  cpu::program send_interrupts(const apic::interrupt_command& command);
  vcpu* choose_by_vector(const apic::interrupt_command& command) const;
  cpu::program kick();
  // kvm_apic.cpp
  cpu::program handle_apic_access(const vmx::exit_info& exit);
  cpu::program handle_apic_write(const vmx::exit_info& exit);
  cpu::program handle_virtualized_eoi(const vmx::exit_info& exit);
  bool eoi_exits_changed() const;
  cpu::program load_eoi_exits();
  cpu::program update_tpr_threshold();
  std::uint8_t wanted_tpr_threshold() const;
  apic::register_outcome read_register(std::uint32_t msr);
  void show_registers();
  void show_register(std::uint32_t msr);
  // kvm_posting.cpp
  cpu::program enter_posted();
  cpu::task<bool> fast_path();
  cpu::program enter_from_posting();
  cpu::program serve_requests();
  cpu::program wait_for_posting();
  cpu::program load_posting();
  cpu::program put_posting(bool preempted);
  cpu::program deliver_accepted();
  std::uint8_t deliverable() const;
  bool can_take(int vector) const;
  bool interrupt_posted() const;
  ple_window_fact window_fact(const ple_window_change& change) const;

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
  bool window_exiting_ = false;                   // "interrupt-window exiting" is set in the VMCS
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
  std::unique_ptr<timer_advance> advance_;             // none: deadlines are met as they are
  std::unique_ptr<virtual_apic_memory> virtual_apic_;  // none: the processor knows nothing of the local APIC
};

struct virtual_machine_config {
  std::string name;
  unsigned vcpus = 1;
  guest_boot boot;
  apic::apic_mode apic = apic::apic_mode::x2apic;  ///< in which the guest finds its local APICs
  std::vector<std::vector<unsigned>> affinity;     ///< of the vCPU threads, by index; empty: free
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
  apic::apic_mode apic_mode() const { return config_.apic; }
  const virtual_machine_config& config() const { return config_; }

  /// Gives the VM an interrupt of a device, while the machine is built. The answer is the entry of an
  /// interrupt-remapping table that makes the device's messages arrive as `vector` at virtual CPU `vcpu`: in posted
  /// format if interrupts are posted and `bypass` asks for it (vmx_pi_update_irte); else the message interrupts CPU
  /// `host_cpu` of the host, whose handler passes it on (irqfd_wakeup). The requester is the caller's to fill in.
  /// std::out_of_range for a virtual CPU that is not there, std::length_error when the host has no vector left.
  apic::remapping_entry connect_device_interrupt(unsigned vcpu, std::uint8_t vector, bool bypass = true,
                                                 unsigned host_cpu = 0);

  /// A level-triggered interrupt of a virtual I/O APIC, from a program of the host; `on_eoi` hears of its end. Where
  /// interrupts are posted the vector is in the EOI-exit bitmaps from then on: each vCPU loads them before its next
  /// entry, and this one is made to enter anew (KVM_REQ_LOAD_EOI_EXITMAP). std::out_of_range for a virtual CPU that is
  /// not there.
  cpu::program raise_level_triggered(unsigned vcpu, std::uint8_t vector);

  /// Hears of EOIs of level-triggered interrupts: a virtual I/O APIC. Runs on the vCPU's thread, and may raise anew.
  std::function<cpu::program(unsigned vcpu, std::uint8_t vector)> on_eoi;

 private:
  friend class kvm;
  friend class vcpu;
  friend class direct_path;
  friend class posted_path;
  friend class on_spin_context;
  kvm& kvm_;
  unsigned number_;
  virtual_machine_config config_;
  unsigned last_boosted_ = 0;
  unsigned started_ = 1;                      // vCPUs that run or have been told to
  physical_address msr_bitmap_ = 0;           // of its own; 0: everything exits
  physical_address pid_table_ = 0;            // posted-interrupt descriptors by APIC ID
  bool devices_post_ = false;                 // into its descriptors
  std::array<std::uint64_t, 4> eoi_exits_{};  // vectors that have been raised level-triggered
  std::uint32_t eoi_exits_version_ = 0;
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
  const models::interrupt_path& path() const { return *path_; }
  const std::vector<std::unique_ptr<virtual_machine>>& vms() const { return vms_; }
  bool pause_loop_exiting() const { return config_.ple_gap != 0 && policy_->wants_exits(); }

 private:
  friend class vcpu;
  friend class virtual_machine;
  friend class direct_path;
  friend class posted_path;
  /// vCPUs that are blocked and were on this CPU last: the wake-up vector's list.
  struct waiters {
    std::unique_ptr<spinlock> lock;
    std::vector<std::uint16_t> vcpus;
  };
  /// What a vector of the host's means that a device of a VM has.
  struct device_interrupt {
    vcpu* target;
    std::uint8_t vector;
  };
  static constexpr std::uint8_t first_device_vector = 0x30;
  static constexpr std::size_t device_vectors = 0x80;
  cpu::program enable_on(unsigned cpu);
  cpu::program host_interrupt(unsigned cpu, std::uint8_t vector);
  /// Carries out steps of the posting protocol until the machine has finished.
  template <class Machine>
  cpu::program run(Machine& machine) {
    while (!machine.finished()) {
      const std::uint64_t result = co_await perform(machine.next());
      machine.done(result);
    }
  }
  cpu::task<std::uint64_t> perform(posting_action action);

  kernel& host_;
  kvm_config config_;
  std::unique_ptr<models::spin_policy> policy_;
  std::unique_ptr<models::interrupt_path> path_;
  std::unique_ptr<models::timer_backend> timers_;
  std::vector<std::unique_ptr<virtual_machine>> vms_;
  std::vector<physical_address> vmxon_regions_;  // by CPU
  std::vector<physical_address> current_vmcs_;   // by CPU
  physical_address msr_bitmap_ = 0;
  std::vector<vcpu*> numbered_;         // vCPUs of all VMs, as the posting protocol names them
  std::vector<std::uint16_t> running_;  // by CPU: the vCPU that is loaded, or no_vcpu; empty if nothing is posted
  std::vector<waiters> waiting_;        // by CPU
  std::vector<device_interrupt> device_interrupts_;  // by vector of the host, from first_device_vector
  std::vector<vcpu*> dedicated_;                     // by CPU, on the direct path: the vCPU that alone runs there
};

}  // namespace vmxsys::models
