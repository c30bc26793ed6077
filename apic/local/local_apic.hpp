#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include <vmxsys/vmx/base/cycles.hpp>

#include "apic_mode.hpp"
#include "destination.hpp"
#include "icr.hpp"
#include "interrupt.hpp"
#include "register_map.hpp"
#include "timer.hpp"
#include "vector_set.hpp"

namespace vmxsys::apic {

/// What differs from processor to processor. The defaults describe a current server part.
struct local_apic_options {
  std::uint8_t version = 0x15;              ///< 10H..15H: integrated APIC
  bool cmci = true;                         ///< LVT CMCI exists (7 LVT entries instead of 6)
  bool eoi_broadcast_suppression = true;    ///< SVR bit 12 exists
  bool tsc_deadline = true;                 ///< CPUID.1:ECX[24]
  bool sends_lowest_priority = true;        ///< otherwise such an IPI sets ESR bit 4 and is not sent
  std::uint8_t physical_address_bits = 46;  ///< MAXPHYADDR, for reserved bits of IA32_APIC_BASE; 36..52
  timer_mode_change on_timer_mode_change = timer_mode_change::keeps_counting;
  bool xapic_id_writable = false;           ///< software may change ID[31:24] in xAPIC mode
  bool focus_checking_in_x2apic = true;     ///< SVR bit 9 can be written in x2APIC mode; otherwise it is reserved
  bool tie_keeps_task_subclass = true;      ///< PPR[3:0] is TPR's when TPR and service class are equal; otherwise 0
  bool checks_vector_on_lvt_write = false;  ///< an unmasked fixed entry with vector 0..15 sets ESR bit 6 when written
};

/// Result of one access to a register. If `fault` is true the instruction raises #GP(0) and has changed nothing (a
/// timer expiry that was due is still taken and reported). Only MSR accesses fault.
struct register_outcome {
  bool fault = false;
  bool undefined = false;   ///< xAPIC page: the architecture leaves the access undefined; it did nothing and reads 0
  bool unclaimed = false;   ///< xAPIC page: not in xAPIC mode, so the access is the bus's; reads all ones
  std::uint64_t value = 0;  ///< of a read
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

/// One local APIC: registers in xAPIC and x2APIC mode, request and service state, priorities, local sources, timer
/// (SDM Vol. 3A chapter 13).
///
/// Physical and virtual local APICs are the same class: hardware owns one per logical processor, a hypervisor that
/// emulates interrupt controllers owns one per virtual processor. It holds no pointer, reads no clock, allocates
/// nothing; a copy is a snapshot.
///
/// - After RESET it is in xAPIC mode and disabled by SVR, as the architecture has it. Software enters x2APIC mode with
///   WRMSR IA32_APIC_BASE (`enter_x2apic()` where firmware is not modelled) and enables the APIC with SVR bit 8.
/// - `accept`, `highest_request`, `acknowledge` and `end_of_interrupt` are the hot path: a handful of instructions.
///   What may be delivered is kept up to date, so `highest_request` is one load.
/// - NMI, SMI, INIT, SIPI and ExtINT do not pass through IRR and ISR; the core has latches of its own for them. Local
///   sources hand such messages out; messages from outside go to the core directly.
/// - IPIs and broadcasts leave as values in `register_outcome`; the caller routes them and charges the time.
class local_apic {
 public:
  /// In the state after RESET. `id`: x2APIC ID. Throws std::invalid_argument if the clock is not legal.
  explicit local_apic(std::uint32_t id, bool bootstrap, timer_clock clock = {}, const local_apic_options& options = {});

  /// The x2APIC ID: hardware gives it and nothing changes it. What xAPIC mode shows and compares is `address().id`.
  std::uint32_t id() const noexcept { return id_; }
  /// The x2APIC LDR, a function of the ID.
  std::uint32_t logical_id() const noexcept { return x2apic_logical_id(id_); }
  /// What destinations are compared with in the present mode.
  apic_address address() const noexcept;
  bool bootstrap() const noexcept { return bootstrap_; }
  apic_mode mode() const noexcept { return mode_; }
  const local_apic_options& options() const noexcept { return options_; }
  bool software_enabled() const noexcept { return (svr_ & svr::software_enable) != 0; }
  /// Puts the APIC in x2APIC mode, as firmware does before it hands over. LDR, DFR, the upper half of the ICR and an
  /// xAPIC ID that software wrote are lost; other state is kept.
  void enter_x2apic() noexcept;

  /// Physical address of the xAPIC page, IA32_APIC_BASE[M-1:12].
  std::uint64_t apic_base_address() const noexcept { return base_page_; }
  /// Does the xAPIC page answer at this physical address? False outside xAPIC mode: then memory does.
  bool covers(std::uint64_t physical_address) const noexcept {
    return mode_ == apic_mode::xapic && (physical_address & ~std::uint64_t{page::size - 1}) == base_page_;
  }

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

  /// A local source behind an LVT entry raises its interrupt (§13.5.1): thermal, performance, CMCI, or a pulse on LINT0
  /// or LINT1. `lvt_msr` is the entry's number in the x2APIC map. A fixed interrupt is accepted here; every other mode
  /// comes back for the core to handle. Nothing happens if the entry is masked, its mode is reserved, or the number is
  /// no such entry's. A performance interrupt masks its entry.
  std::optional<interrupt_message> raise_local(std::uint32_t lvt_msr) noexcept;

  /// Pin LINT0 or LINT1 (`pin` 0, 1) is driven high or low; bit 13 of the entry says which of them asserts (§13.5.1).
  /// Fixed interrupts are accepted here, on the edge or, if level-triggered, whenever the pin is asserted, the entry
  /// unmasked and remote IRR clear; the EOI of the entry's vector clears remote IRR. NMI, SMI and INIT come back on the
  /// edge. ExtINT comes back too, and counts as long as `ext_int_asserted()`. While the APIC is globally disabled the
  /// pins are INTR and NMI.
  std::optional<interrupt_message> set_lint(unsigned pin, bool high) noexcept;
  /// A pin demands an ExtINT: the core, when RFLAGS.IF allows, asks the external controller for the vector. Register
  /// writes change the answer too.
  bool ext_int_asserted() const noexcept;

  /// Lowest-priority arbitration of old parts: the APR, and whether a vector's focus is here (it waits or is in service
  /// and SVR bit 9 does not forbid the check).
  std::uint8_t arbitration_priority() const noexcept;
  bool is_focus_of(std::uint8_t vector) const noexcept {
    return (svr_ & svr::focus_checking) == 0 && (irr_.test(vector) || isr_.test(vector));
  }

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
  std::uint32_t errors() const noexcept { return std::uint32_t{esr_visible_} | esr_pending_; }
  /// An error that others detect (one bit of `esr`). One that is not pending yet raises the error LVT (§13.5.3).
  void report_error(std::uint32_t bit) noexcept;

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

  /// A load from or store to the xAPIC page at cycle `now`: `offset` within the page, `bytes` 1, 2, 4 or 8. It never
  /// faults. Accesses that are not 4 bytes at the start of a 16-byte slot are undefined: ignored, and reported so. A
  /// register that does not exist reads 0 and sets ESR bit 7. Outside xAPIC mode the access is not the APIC's
  /// (`unclaimed`). A write of ICR low sends. Timer expiries due by `now` count as earlier than a write.
  register_outcome read_page(std::uint32_t offset, unsigned bytes, cycles now) noexcept;
  register_outcome write_page(std::uint32_t offset, unsigned bytes, std::uint64_t value, cycles now) noexcept;

  // Timer -----------------------------------------------------------------------------------------------------------

  /// After a direct change of the timer (`set_tsc_offset`, say) the caller asks `next_timer_event` again.
  apic_timer& timer() noexcept { return timer_; }
  const apic_timer& timer() const noexcept { return timer_; }
  cycles next_timer_event() const noexcept { return timer_.next_event(); }
  /// Takes the expiries due by `now`: the LVT timer's vector is accepted unless masked; a masked expiry leaves no
  /// trace for later. True if an IRR bit was newly set. Does nothing if called early.
  bool timer_fire(cycles now) noexcept;

  // RESET and INIT --------------------------------------------------------------------------------------------------

  /// Power-up or RESET (§13.4.7.1): xAPIC mode at FEE00000H, everything at its reset value. The LINT pins stay as they
  /// are driven.
  void reset() noexcept;
  /// INIT (§13.4.7.3, §13.12.5): as RESET, but mode, base and ID stay, in xAPIC mode also one that software wrote.
  void init() noexcept;

 private:
  enum lvt_index : std::size_t { lvt_timer, lvt_thermal, lvt_performance, lvt_lint0, lvt_lint1, lvt_error, lvt_cmci };

  static std::size_t lvt_index_of(std::uint32_t number) noexcept;
  void reset_registers() noexcept;
  void update_priority() noexcept;
  void update_request() noexcept;
  std::optional<interrupt_message> signal(std::size_t index) noexcept;
  bool is_asserted(unsigned pin) const noexcept;
  void accept_level(unsigned pin) noexcept;
  void end_of_level_interrupt(std::uint8_t vector) noexcept;

  bool has(const register_row& row) const noexcept;
  std::uint32_t defined_bits(const register_row& row, std::uint32_t writable) const noexcept;
  bool allows(const register_row& row, std::uint64_t value) const noexcept;
  register_access page_access_of(const register_row& row) const noexcept;
  template <class Write>
  register_outcome write_at(cycles now, Write write) noexcept;
  std::uint64_t apic_base_register() const noexcept;
  std::uint32_t version_register() const noexcept;
  std::uint32_t page_value(std::uint32_t number, cycles now) const noexcept;
  std::uint32_t common_value(std::uint32_t number, cycles now) const noexcept;
  register_outcome write_apic_base(std::uint64_t value) noexcept;
  register_outcome write_tsc_deadline(std::uint64_t value, cycles now) noexcept;
  register_outcome write_page_register(std::uint32_t number, std::uint32_t value, cycles now) noexcept;
  register_outcome write_common(std::uint32_t number, std::uint32_t value, cycles now) noexcept;
  register_outcome write_eoi() noexcept;
  register_outcome send(const interrupt_command& command) noexcept;
  void write_esr() noexcept;
  void write_lvt(std::uint32_t number, std::uint32_t value, cycles now) noexcept;
  void write_svr(std::uint32_t value) noexcept;

  std::uint32_t id_;
  local_apic_options options_;
  bool bootstrap_;
  std::uint64_t base_page_ = apic_base::reset_page;

  std::int16_t request_ = vector_set::none;  // what highest_request answers: function of irr_, ppr_
  std::uint8_t tpr_ = 0;
  std::uint8_t ppr_ = 0;  // function of isr_, tpr_
  std::uint16_t svr_ = 0xFF;
  std::uint8_t esr_visible_ = 0;
  std::uint8_t esr_pending_ = 0;
  vector_set irr_;
  vector_set isr_;
  vector_set tmr_;

  std::uint64_t icr_ = 0;
  std::array<std::uint32_t, 7> lvt_{};
  apic_mode mode_ = apic_mode::xapic;
  std::uint8_t xapic_id_ = 0;     // ID[31:24]
  std::uint8_t xapic_ldr_ = 0;    // LDR[31:24]
  std::uint8_t dfr_model_ = 0xF;  // DFR[31:28]
  std::uint8_t lint_high_ = 0;    // bit per pin
  apic_timer timer_;
};

}  // namespace vmxsys::apic
