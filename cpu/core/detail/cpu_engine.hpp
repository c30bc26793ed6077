#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/apic/virtualization/x2apic_access.hpp>
#include <vmxsys/cpu/core/inbox.hpp>
#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/core/msr_file.hpp>
#include <vmxsys/cpu/core/spin_detectors.hpp>
#include <vmxsys/cpu/core/transition_costs.hpp>
#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/instructions/instruction.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>
#include <vmxsys/vmx/transition/vm_entry.hpp>
#include <vmxsys/vmx/transition/vm_exit.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

namespace vmxsys::cpu {

struct system_instruction;
struct guest_access_instruction;

/// The engine of a logical CPU: moves the instruction stream from boundary to boundary, and lets the parts do the rest.
class cpu_engine final : public logical_cpu,
                         private line_watcher,
                         private spin_subject_watcher,
                         private vmx::msr_interface {
 public:
  cpu_engine(machine& in, unsigned number);
  ~cpu_engine() override;

  vmx::spin_detector& detector() override { return detectors_.acting(); }
  void drive_lint(unsigned pin, bool high) override;
  void raise_local(std::uint32_t lvt_msr) override;
  void post(const inbox::entry& message) override;
  void write_apic_page(std::uint32_t offset, unsigned bytes, std::uint64_t value, cycles now) override;
  void bus_answer(std::uint64_t tag, std::uint64_t value, cycles at) override;
  void connect(boot_if& software) override;
  void materialise(cycles now) override;
  void close_accounting(cycles now) override;

 private:
  // Slots of the timeline.
  static void on_step(void* self, cycles now) { static_cast<cpu_engine*>(self)->step(now); }
  static void on_inbox(void* self, cycles now) { static_cast<cpu_engine*>(self)->take_messages(now); }
  static void on_subject_change(void* self, cycles now) { static_cast<cpu_engine*>(self)->materialise(now); }
  static void on_apic_timer(void* self, cycles now) { static_cast<cpu_engine*>(self)->apic_timer_due(now); }
  static void on_guest_timers(void* self, cycles now) { static_cast<cpu_engine*>(self)->guest_timers_due(now); }

  // The engine (logical_cpu.cpp).
  void step(cycles now);
  void proceed(cycles now);
  bool begin(instruction& i, cycles now);
  bool execute(instruction& i, cycles now);
  bool begin_bus_access(instruction& i, cycles now);
  void finish(instruction& i, cycles now);
  void finish_memory(memory_instruction& i, cycles now);
  void leave_activity(cycles now);
  void switch_strand(isa::switch_operation& op, cycles now);
  void compute(instruction& i, cycles now);
  void end_compute(cycles now);
  void report_work(cycles now);

  // Events (cpu_events.cpp).
  void take_messages(cycles now);
  void accept(const apic::interrupt_message& message, cycles now);
  void accept_local(const std::optional<apic::interrupt_message>& message, cycles now);
  void apic_timer_due(cycles now);
  void guest_timers_due(cycles now);
  void arm_guest_timers(cycles now);
  void arm_apic_timer(cycles now);
  void disturb(cycles now);
  bool recognise(cycles now) {
    if (core_.in_guest) return recognise_in_guest(now);
    if (core_.local_apic.highest_request() >= 0 || nmi_pending_) return recognise_in_root(now);
    core_.shadowed = std::exchange(core_.shadow, false);
    return false;
  }
  bool recognise_in_root(cycles now);
  bool recognise_in_guest(cycles now);
  vmx::boundary_event due_in_guest(bool shadow) const;
  bool take_debug_trap(cycles now);
  bool wakes() const;
  void deliver(std::uint8_t vector, cycles now, cycles cost);
  void return_from_interrupt(cycles now);
  void halt(cycles now);
  void wake(cycles now);
  void reset_to_wait_for_sipi(cycles now);
  void start_at(physical_address entry, cycles now);

  // Spin loops (cpu_spin.cpp).
  void begin_spin(spin_instruction& spin, cycles now);
  void continue_spin(cycles now);
  void spin_boundary(cycles now);
  void end_spin(cycles now);
  void mark_spin(cycles now);
  void settle_spin(cycles now);
  void leave_spin(cycles now);
  void note_truth(spin_instruction& spin, const vmx::pause_event& pause);
  void exit_for_pause(cycles now);
  bool jump(spin_instruction& spin, cycles now);
  void land();
  void leave_jump(std::uint64_t pauses);
  cycles spin_load() const;
  vmx::pause_event spin_pause(const spin_instruction& spin, cycles issue) const;
  bool pause_exits(const vmx::pause_event& pause);
  void watch_subject(spin_instruction& spin, cycles now);
  void line_changed(cycles now) override { materialise(now); }
  void subject_changed(cycles now) override;

  // The guest's local APIC (cpu_virtual_apic.cpp).
  struct guest_apic;
  struct virtual_apic_view;
  void enter_virtual_apic(bool trap_pending, cycles now);
  void leave_virtual_apic();
  void note_virtual_work();
  void note_result(const apic::virtualization_result& result);
  bool virtual_interrupt_recognized() const;
  bool guest_timer_pending() const;
  void note_guest_timer();
  void add_virtual_work(vmx::boundary_state& s) const;
  vmx::exit_info take_trap();
  void deliver_virtual_interrupt(cycles now);
  void begin_virtual_processing(cycles now);
  void end_virtual_processing(cycles now);
  bool begin_posting(std::uint8_t vector, cycles now);
  void state_posting_step(apic::posting_step step, std::uint16_t value, cycles now);
  void issue_posting_step(cycles now);
  bool continue_posting(cycles now);
  void begin_guest_timer_event(cycles now);
  void end_guest_timer_event(cycles now);
  void access_guest_deadline(instruction& i, cycles now);
  void state_virtual_access(std::uint16_t offset, bool write, std::uint64_t value, cycles now);
  void access_virtual_cr8(system_instruction& i, cycles now);
  cycles duration_of_cr8(bool write) const;
  apic::x2apic_verdict access_virtual_msr(instruction& i, cycles now);
  cycles duration_of_msr(const instruction& i) const;
  bool goes_to_access_page(const instruction& i) const;
  bool page_access_exits(instruction& i, cycles now);
  void access_page(instruction& i, cycles now);
  cycles duration_of_mmio(const instruction& i) const;
  bool begin_sending(instruction& i, cycles now);
  bool continue_sending(cycles now);
  void notify(const apic::notification& n, fact_id cause, cycles now);

  // VM entries and exits (cpu_transition.cpp).
  void begin_entry(vm_entry_instruction& i, cycles now);
  bool finish_entry(cycles now);
  void fail_entry(vm_entry_instruction& i, const vmx::exit_info& info, cycles now, cycles before);
  void finish_failed_entry(vm_entry_instruction& i, cycles now);
  void begin_exit(const vmx::exit_info& info, cycles now);
  void finish_exit(cycles now);
  void enter_vmx_abort(cycles now);
  void inject(const vmx::event_information& event, cycles now);
  void start_preemption_timer(const vmx::vm_entry_outcome& entered, cycles now);
  void collect_guest_registers(cycles now);
  void spread_registers();
  void state_steps(cycles began, cycles now, fact_id cause);
  std::uint64_t guest_rip() const;
  void resume_guest_at(std::uint64_t rip, cycles now);

  // Instructions that VMX has rules for (cpu_instructions.cpp).
  static std::uint32_t length_of(const instruction& i);
  vmx::guest_instruction describe(const instruction& i) const;
  bool held_back(instruction& i, cycles now);
  bool function_exits(instruction& i, cycles now);
  bool access_exits(guest_access_instruction& i, cycles now);
  bool fault_at_issue(instruction& i, instruction_fault what, cycles now);
  bool fault_exits(instruction_fault what, cycles now);
  bool strike(std::uint8_t vector, cycles now);
  void expose_registers(const instruction& i);
  void complete_from_registers(instruction& i);
  bool execute_system(instruction& i, cycles now);
  bool execute_vmx(instruction& i, cycles now);
  void note_outcome(instruction& i, const vmx::vmx_outcome& outcome);
  void invalidate(system_instruction& i);
  bool finish_system(system_instruction& i, cycles now);
  void access_cr8(system_instruction& i, cycles now);
  bool execute_msr(instruction& i, cycles now);
  void access_own_page(instruction& i, cycles now);
  void broadcast_eoi(const apic::eoi_broadcast& eoi, cycles now);
  void note_apic_outcome(const apic::register_outcome& outcome, cycles now);
  void send_ipi(const apic::interrupt_command& command, fact_id cause, cycles now);
  bool read_register(std::uint32_t number, std::uint64_t tsc, std::uint64_t& value, cycles now);
  bool write_register(std::uint32_t number, std::uint64_t value, cycles now);
  bool read_msr(std::uint32_t number, std::uint64_t& value) override;
  bool write_msr(std::uint32_t number, std::uint64_t value) override;
  void arm_monitor(word& line);
  void disarm_monitor();
  void monitored_line_changed(cycles now);
  bool begin_wait(system_instruction& i, cycles now);
  void end_wait(cycles now);

  slot inbox_slot_;
  slot apic_timer_slot_;
  slot guest_timers_slot_;  // VMX-preemption timer and guest deadline
  slot subject_slot_;       // only with a detector that asks for the truth

  int sipi_pending_ = -1;  // vector of a start-up IPI for a guest that waits for it
  bool init_pending_ = false;
  bool nmi_pending_ = false;
  enum class mtf_state : std::uint8_t { off, before_first, armed, pending } mtf_ = mtf_state::off;
  bool waits_for_masked_ = false;  // MWAIT with ECX bit 0
  bool preemption_timer_expired_ = false;
  bool preemption_timer_active_ = false;
  bool truth_wanted_ = false;  // by a detector, or because some only watch
  bool jumped_ = false;        // spinning: a jump over iterations is on its way
  bool virtual_work_ = false;  // a trap-like exit, a recognized virtual interrupt or a guest-timer event is pending
  cycles until_{0};            // of a compute

  inbox inbox_;
  msr_file msrs_;
  vmx::vmx_unit vmx_unit_;
  vmx::entry_context entry_context_;
  spin_detectors detectors_;
  boot_if* software_ = nullptr;

  cycles preemption_timer_loaded_{0};
  std::uint32_t preemption_timer_start_ = 0;
  cycles mtf_since_{0};  // armed in this cycle
  cycles exit_began_{0};
  vmx::exit_info exit_info_{};
  vmx::vmx_abort abort_ = vmx::vmx_abort::none;
  std::string why_entry_failed_;  // the latest that ended with VMfailValid
  recent_plans plans_;
  const transition_plan* plan_ = nullptr;  // of the transition under way
  vmx::instruction_outcome outcome_;       // of the system instruction in flight, in a guest
  cycles lookup_{0};                       // bitmaps and EPT entries it reads
  std::array<std::uint64_t, 4> debug_registers_{};
  std::uint64_t random_numbers_ = 0;  // RDRAND and RDSEED so far

  // MONITOR and what waits for it.
  struct monitor_watcher final : line_watcher {
    explicit monitor_watcher(cpu_engine& cpu) : of{cpu} {}
    void line_changed(cycles now) override { of.monitored_line_changed(now); }
    cpu_engine& of;
  };
  monitor_watcher monitor_{*this};
  word* monitored_ = nullptr;
  cycles wait_end_ = cycles::never();

  std::unique_ptr<guest_apic> guest_apic_;  // once a guest has used the TPR shadow

  fact_id exit_cause_{};
  std::uint64_t bus_tag_ = 0;  // of the last request
  std::uint64_t sent_ = 0;     // messages sent, to number them

  // A jump over iterations of a spin loop.
  vmx::pause_event jump_pause_{};  // the first PAUSE jumped over
  bool jump_loads_first_ = false;  // it lies behind the load with which the jump began
  std::uint64_t jump_count_ = 0;   // lands at PAUSE number this, from 0; ~0: never
  std::uint64_t episodes_ = 0;     // spin loops begun
  cycles spin_mark_{0};            // subject's running cycles at the start of the open interval
};

}  // namespace vmxsys::cpu
