#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/models/kvm/affinity/vcpu_id.hpp>
#include <vmxsys/models/kvm/interrupts/interrupt_lines.hpp>
#include <vmxsys/models/kvm/interrupts/virtual_lapic.hpp>
#include <vmxsys/models/kvm/spin/ple_window.hpp>
#include <vmxsys/models/kvm/spin/spin_policy.hpp>
#include <vmxsys/models/kvm/timers/vcpu_timer.hpp>
#include <vmxsys/models/posting/posting_protocol.hpp>

#include "loaded_vmcs.hpp"

namespace vmxsys::models {

class kvm;
class virtual_machine;

/// A virtual CPU: a VMCS, a virtual local APIC with its timer, and the thread of the host that runs it. States and
/// flags are those of virt/kvm/kvm_main.c, v5.6. Exit handlers, interrupt paths, timer backends and the contexts of
/// policies use the services below; none of them sees more.
class vcpu final : public switch_notifier {
 public:
  vcpu(virtual_machine& of, unsigned index);

  virtual_machine& vm() const { return vm_; }
  kvm& hypervisor() const;
  kernel& host() const;
  unsigned index() const { return index_; }
  vcpu_id id() const;
  models::thread& thread() const { return *thread_; }
  /// The strand of the guest. Its registers are where the exited guest left them.
  cpu::strand& guest() const { return *guest_; }
  physical_address vmcs() const { return loaded_vmcs_.address(); }

  // -- its parts
  // -------------------------------------------------------------------------------------------------------
  models::loaded_vmcs& loaded_vmcs() { return loaded_vmcs_; }
  virtual_lapic& lapic() { return lapic_; }
  const virtual_lapic& lapic() const { return lapic_; }
  vcpu_timer& timer() { return timer_; }
  const vcpu_timer& timer() const { return timer_; }
  models::ple_window& window() { return window_; }
  std::uint32_t ple_window() const { return window_.value(); }
  /// Interrupts are posted to it.
  bool posts() const { return lapic_.posts(); }

  // -- its state, in KVM's words
  // ---------------------------------------------------------------------------------------
  bool preempted() const { return preempted_; }                      ///< switched out while runnable
  bool preempted_in_kernel() const { return preempted_in_kernel_; }  ///< the guest was at CPL 0 then
  /// CPL 0 when the guest was left (vmx_get_cpl: the DPL of SS). Takes no time of its own: what the read costs is part
  /// of the cost of where it is asked. False before the vCPU is made.
  bool guest_in_kernel_mode() const;
  bool ready() const { return ready_; }        ///< wants a CPU: preempted, or woken from a halt
  bool blocking() const { return blocking_; }  ///< its thread is on its wait queue
  bool in_guest_mode() const { return mode_ != vcpu_mode::outside_guest; }
  bool started() const { return state_ != mp_state::uninitialized; }
  bool start_pending() const { return start_pending_; }
  bool halted_with_interrupts() const { return state_ == mp_state::halted && halted_with_interrupts_; }
  /// Its thread has something to run for. A guest that halted with interrupts off wakes for nothing that its local APIC
  /// can bring.
  bool runnable() const;
  /// A SIPI, a hypercall that ends its halt, or an expired timer that is taken at the next entry.
  bool event_pending() const;
  bool interrupt_pending() const;
  /// With posted interrupts: the vector that an entry would deliver, or that ends a halt; 0: none
  /// (kvm_vcpu_has_events).
  std::uint8_t deliverable() const;
  /// Whether it takes this vector now; -1 stands for none.
  bool can_take(int vector) const;
  /// The last IPIs that KVM has emulated for it. Only what exits is known: nothing of those that processors deliver.
  const ipi_history& ipis() const { return ipis_; }
  /// The line that siblings read when they look at it.
  cpu::word& line() const { return *line_; }
  /// The lines that it shares with those who bring it interrupts to inject; null as long as its own CPU does that.
  interrupt_lines* lines_seen_by(const cpu::logical_cpu& sender);

  // -- where it runs
  // ---------------------------------------------------------------------------------------------------
  /// The CPU of the host that its thread runs on, or 0.
  unsigned host_cpu() const;
  cpu::program sched_out(models::thread& self) override;
  cpu::program sched_in(models::thread& self) override;

  // -- services to others: from any CPU of the host
  // --------------------------------------------------------------------
  /// kvm_vcpu_kick: out of its sleep, or out of the guest.
  cpu::program kick();
  /// Wakes its thread if that sleeps; true if it did.
  cpu::task<bool> wake();
  /// It has sent a fixed IPI to a sibling, or got one.
  void note_ipi_to(unsigned sibling, cycles at);
  void note_ipi_from(unsigned sibling, cycles at);
  /// Ends its halt, or its next one (KVM_HC_KICK_CPU); the caller kicks it.
  void unhalt() { unhalted_ = true; }
  /// A SIPI tells it to start.
  void start();
  void set_mode(vcpu_mode mode) { mode_ = mode; }

  // -- services to handlers, on its own thread
  // -------------------------------------------------------------------------
  /// RIP past the instruction, and no more interrupt shadow (kvm_skip_emulated_instruction).
  cpu::program skip_instruction(std::uint32_t length);
  /// The guest has executed HLT.
  void halt(bool with_interrupts);
  /// Sleeps on its wait queue for `time` at most; an interrupt ends it early.
  cpu::program sleep(cycles time);
  /// What must be in the VMCS before the entry (vcpu_enter_guest); interrupts are off.
  cpu::program prepare_entry();
  /// The fact, the tracepoint, and the last that the timer backend does; interrupts are off.
  cpu::program announce_entry();
  /// After an exit.
  void guest_left() { guest_ = thread_->strand.passenger(); }
  /// Something has to be done first, on `cpu`, which is this one.
  bool must_not_enter(unsigned cpu) const;
  /// Sleeps until there is something to run for; interrupts are off.
  cpu::program wait();
  /// Its thread is going to sleep unless something comes.
  void prepare_to_wait();

  // -- while the machine is built
  // --------------------------------------------------------------------------------------
  void make_thread(std::vector<unsigned> affinity);
  /// The bootstrap processor runs from the start.
  void power_on() { state_ = mp_state::runnable; }

 private:
  enum class mp_state : std::uint8_t { uninitialized, runnable, halted };

  /// Ends a sleep.
  class sleep_timer final : public timer_event {
   public:
    explicit sleep_timer(vcpu& of) : of_{of} {}
    cpu::program expire() override;

   private:
    vcpu& of_;
  };

  cpu::program run();
  cpu::program create();
  cpu::program enter_guest();
  cpu::task<bool> get_ready();
  bool prepared_too_early() const;
  cpu::program inject();
  cpu::program block();
  cpu::program wait_for_event();

  virtual_machine& vm_;
  unsigned index_;
  models::thread* thread_ = nullptr;
  cpu::strand* guest_ = nullptr;
  virtual_lapic lapic_;
  models::loaded_vmcs loaded_vmcs_;
  cpu::word* line_;
  std::unique_ptr<interrupt_lines> lines_;  // since the first interrupt from another CPU
  vcpu_timer timer_;
  std::unique_ptr<sleep_timer> sleep_timer_;  // since its first sleep
  models::ple_window window_;
  ipi_history ipis_;

  mp_state state_ = mp_state::uninitialized;
  vcpu_mode mode_ = vcpu_mode::outside_guest;
  bool start_pending_ = false;           // a SIPI arrived
  bool unhalted_ = false;                // a sibling ended its halt by a hypercall
  bool halted_with_interrupts_ = false;  // RFLAGS.IF at the HLT
  bool preempted_ = false;
  bool ready_ = false;
  bool preempted_in_kernel_ = false;
  bool blocking_ = false;
};

}  // namespace vmxsys::models
