#pragma once
#include <vmxsys/apic/icr.hpp>
#include <vmxsys/apic/interrupt.hpp>
#include <vmxsys/apic/register_map.hpp>
#include <vmxsys/apic/timer.hpp>
#include <vmxsys/apic/vector_set.hpp>
#include <vmxsys/vmx/cycles.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace vmxsys::apic {

/// Operating mode, IA32_APIC_BASE bits 11 and 10 (SDM Vol. 3A §13.12.1).
enum class apic_mode : std::uint8_t { disabled, xapic, x2apic };

/// What differs from processor to processor. The defaults describe a current server part.
struct local_apic_options {
  std::uint8_t version = 0x15;              ///< 10H..15H: integrated APIC
  bool cmci = true;                         ///< LVT CMCI exists (7 LVT entries instead of 6)
  bool eoi_broadcast_suppression = true;    ///< SVR bit 12 exists
  bool tsc_deadline = true;                 ///< CPUID.1:ECX[24]
  bool sends_lowest_priority = true;        ///< otherwise such an IPI sets ESR bit 4 and is not sent
  std::uint8_t physical_address_bits = 46;  ///< MAXPHYADDR, for reserved bits of IA32_APIC_BASE; 36..52
  timer_mode_change on_timer_mode_change = timer_mode_change::keeps_counting;
};

/// Result of one RDMSR or WRMSR. If `fault` is true the instruction raises #GP(0) and has changed nothing (a timer
/// expiry that was due is still taken and reported).
struct register_outcome {
  bool fault = false;
  std::uint64_t value = 0;                 ///< of a read
  std::optional<interrupt_command> ipi{};  ///< to be sent (also a self IPI: the caller delivers it with `accept`)
  std::optional<ipi_verdict> verdict{};    ///< on writes of ICR and SELF IPI: why there is, or is no, `ipi`
  std::optional<eoi_broadcast> eoi{};      ///< to be broadcast to the I/O APICs
  bool ended_interrupt = false;            ///< an EOI that found an interrupt in service
  bool timer_rearmed = false;              ///< `next_timer_event()` has changed: arm anew, or fire at once if it is due
  bool timer_expired = false;              ///< an expiry was due by this cycle and was taken before the write

  static register_outcome general_protection() noexcept {
    register_outcome outcome;
    outcome.fault = true;
    return outcome;
  }
  static register_outcome of(std::uint64_t read_value) noexcept {
    register_outcome outcome;
    outcome.value = read_value;
    return outcome;
  }
};

/// One local APIC in x2APIC mode: registers, request and service state, priorities, timer (SDM Vol. 3A chapter 13).
///
/// Physical and virtual local APICs are the same class: hardware owns one per logical processor, a hypervisor that
/// emulates interrupt controllers owns one per virtual processor. It holds no pointer, reads no clock, allocates
/// nothing; a copy is a snapshot.
///
/// - After RESET it is in xAPIC mode and disabled by SVR, as the architecture has it. The xAPIC register page is not
///   modelled yet, so the first thing to do is to enter x2APIC mode: WRMSR IA32_APIC_BASE, or `enter_x2apic()` where
///   firmware is not modelled. Software then enables the APIC with SVR bit 8.
/// - `accept`, `highest_request`, `acknowledge` and `end_of_interrupt` are the hot path: a handful of instructions.
///   What may be delivered is kept up to date, so `highest_request` is one load.
/// - NMI, SMI, INIT, SIPI and ExtINT do not pass through here; the core has latches of its own for them.
/// - IPIs and broadcasts leave as values in `register_outcome`; the caller routes them and charges the time.
class local_apic {
 public:
  /// In the state after RESET. `id`: x2APIC ID. Throws std::invalid_argument if the clock is not legal.
  explicit local_apic(std::uint32_t id, bool bootstrap, timer_clock clock = {}, const local_apic_options& options = {});

  std::uint32_t id() const noexcept { return id_; }
  std::uint32_t logical_id() const noexcept;
  bool bootstrap() const noexcept { return bootstrap_; }
  apic_mode mode() const noexcept { return mode_; }
  const local_apic_options& options() const noexcept { return options_; }
  bool software_enabled() const noexcept { return (svr_ & svr::software_enable) != 0; }
  /// Puts the APIC in x2APIC mode, as firmware does before it hands over. Other state is kept.
  void enter_x2apic() noexcept;

  // Interrupts ------------------------------------------------------------------------------------------------------

  /// A fixed or lowest-priority interrupt arrives (§13.8.4). True if its IRR bit is newly set: false if it merges
  /// with one that waits already, if the APIC is disabled by SVR or globally, or if the vector is illegal (ESR bit 6).
  /// At most two instances of a vector are remembered, one in service and one waiting.
  bool accept(std::uint8_t vector, bool level = false) noexcept;

  /// The highest waiting vector if its priority class is above the processor's (PPR), else -1: what the core may
  /// take when RFLAGS.IF = 1 and nothing blocks it (§13.8.3.1).
  int highest_request() const noexcept { return request_; }

  /// The core takes the interrupt: IRR to ISR, answers the vector. With nothing to take it answers the spurious
  /// vector, which goes into service nowhere and gets no EOI (§13.9).
  std::uint8_t acknowledge() noexcept;

  /// Ends the highest interrupt in service (§13.8.5); no effect if there is none. Answers the message to the I/O
  /// APICs if it was level-triggered and SVR bit 12 does not suppress it.
  std::optional<eoi_broadcast> end_of_interrupt() noexcept;

  /// A local source behind an LVT entry raises its interrupt (§13.5.1): thermal, performance, LINT0, LINT1, CMCI.
  /// `lvt_msr` is the entry's MSR number. A fixed interrupt is accepted here; every other mode comes back for the
  /// core to handle. Nothing happens if the entry is masked, its mode is reserved, or the number is no such entry's.
  /// LINT pins are modelled as edge-triggered.
  std::optional<interrupt_message> raise_local(std::uint32_t lvt_msr) noexcept;

  const vector_set& requests() const noexcept { return irr_; }
  const vector_set& in_service() const noexcept { return isr_; }
  const vector_set& level_triggered() const noexcept { return tmr_; }
  std::uint8_t task_priority() const noexcept { return tpr_; }
  std::uint8_t processor_priority() const noexcept { return ppr_; }
  void set_task_priority(std::uint8_t value) noexcept;
  /// CR8 is TPR bits 7:4; writing it clears TPR bits 3:0 (§13.8.6). Values above 15 are #GP, the core's to raise.
  /// It works as a plain register while the APIC is disabled.
  std::uint8_t cr8() const noexcept { return static_cast<std::uint8_t>(tpr_ >> 4); }
  void set_cr8(std::uint8_t value) noexcept { set_task_priority(static_cast<std::uint8_t>((value & 0xF) << 4)); }
  /// Errors seen so far, whether or not a write of ESR has made them visible.
  std::uint32_t errors() const noexcept { return esr_visible_ | esr_pending_; }

  // Registers -------------------------------------------------------------------------------------------------------

  /// True for the MSRs this class answers for: 1BH, 6E0H and 800H..8FFH.
  static constexpr bool handles(std::uint32_t number) noexcept {
    return is_x2apic_msr(number) || number == msr::apic_base || number == msr::tsc_deadline;
  }

  /// RDMSR at cycle `now`. #GP: outside x2APIC mode (800H..8FFH), absent or write-only registers, other MSRs.
  register_outcome read_msr(std::uint32_t number, cycles now) const noexcept;

  /// WRMSR at cycle `now`. #GP: outside x2APIC mode (800H..8FFH), absent or read-only registers, reserved bits,
  /// forbidden mode changes of IA32_APIC_BASE (§13.12.5), timer mode 3, other MSRs. Timer expiries due by `now`
  /// count as earlier than the write.
  register_outcome write_msr(std::uint32_t number, std::uint64_t value, cycles now) noexcept;

  // Timer -----------------------------------------------------------------------------------------------------------

  /// Whoever changes the timer directly (`set_tsc_offset`, say) asks `next_timer_event` again afterwards.
  apic_timer& timer() noexcept { return timer_; }
  const apic_timer& timer() const noexcept { return timer_; }
  cycles next_timer_event() const noexcept { return timer_.next_event(); }
  /// Takes the expiries due by `now`: the LVT timer's vector is accepted unless masked; a masked expiry leaves no
  /// trace for later. True if an IRR bit was newly set. Does nothing if called early.
  bool timer_fire(cycles now) noexcept;

  // RESET and INIT --------------------------------------------------------------------------------------------------

  /// Power-up or RESET (§13.4.7.1): xAPIC mode at FEE00000H, everything at its reset value.
  void reset() noexcept;
  /// INIT (§13.4.7.3, §13.12.5): as RESET, but mode, base and ID stay.
  void init() noexcept;

 private:
  enum lvt_index : std::size_t { lvt_timer, lvt_thermal, lvt_performance, lvt_lint0, lvt_lint1, lvt_error, lvt_cmci };

  static std::size_t lvt_index_of(std::uint32_t number) noexcept;
  void reset_registers() noexcept;
  void update_priority() noexcept;
  void update_request() noexcept;
  void report_error(std::uint32_t bit) noexcept;
  bool accept_local(std::uint8_t vector) noexcept;
  bool allows(const register_row& row, std::uint64_t value) const noexcept;
  register_outcome write_apic_base(std::uint64_t value) noexcept;
  register_outcome write_register(std::uint32_t number, std::uint64_t value, cycles now) noexcept;
  register_outcome write_tsc_deadline(std::uint64_t value, cycles now) noexcept;
  register_outcome write_eoi() noexcept;
  register_outcome send(const interrupt_command& command) noexcept;
  void write_lvt(std::uint32_t number, std::uint32_t value, cycles now) noexcept;
  void write_svr(std::uint32_t value) noexcept;
  std::uint64_t version_register() const noexcept;

  std::uint32_t id_;
  bool bootstrap_;
  local_apic_options options_;
  apic_mode mode_ = apic_mode::xapic;
  std::uint64_t base_page_ = apic_base::reset_page;

  int request_ = vector_set::none;  // what highest_request answers: function of irr_, ppr_
  std::uint8_t tpr_ = 0;
  std::uint8_t ppr_ = 0;  // function of isr_, tpr_
  vector_set irr_;
  vector_set isr_;
  vector_set tmr_;

  std::uint32_t svr_ = 0xFF;
  std::uint32_t esr_visible_ = 0;
  std::uint32_t esr_pending_ = 0;
  std::uint64_t icr_ = 0;
  std::array<std::uint32_t, 7> lvt_{};
  apic_timer timer_;
};

}  // namespace vmxsys::apic
