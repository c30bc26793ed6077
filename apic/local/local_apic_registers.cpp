// Accesses to registers: MSRs in x2APIC mode, the register page in xAPIC mode, IA32_APIC_BASE, IA32_TSC_DEADLINE.
#include "local_apic.hpp"

namespace vmxsys::apic {
namespace {

constexpr std::uint32_t apr = number_of(page::apr);
constexpr std::uint32_t rrd = number_of(page::rrd);
constexpr std::uint32_t dfr = number_of(page::dfr);
constexpr std::uint32_t icr_high = number_of(page::icr_high);

/// IA32_APIC_BASE {EN, EXTD}; no value for the invalid combination 01.
std::optional<apic_mode> mode_of(std::uint64_t base) noexcept {
  const bool enabled = (base & apic_base::enable) != 0;
  const bool extended = (base & apic_base::x2apic) != 0;
  if (!enabled) return extended ? std::nullopt : std::optional{apic_mode::disabled};
  return extended ? apic_mode::x2apic : apic_mode::xapic;
}

/// x2APIC mode is entered from xAPIC mode only and left by disabling only (§13.12.5).
bool may_change(apic_mode from, apic_mode to) noexcept {
  if (from == to || to == apic_mode::disabled) return true;
  return to == apic_mode::xapic ? from == apic_mode::disabled : from == apic_mode::xapic;
}

bool is_set_register(std::uint32_t number) noexcept { return number >= msr::isr && number < msr::irr + 8; }

bool is_reserved_timer_mode(std::uint32_t number, std::uint64_t value) noexcept {
  return number == msr::lvt_timer && ((value >> lvt::timer_mode_shift) & 3) == 3;
}

register_outcome undefined_access() noexcept {
  register_outcome outcome;
  outcome.undefined = true;
  return outcome;
}

register_outcome unclaimed_access(unsigned bytes) noexcept {
  register_outcome outcome;
  outcome.unclaimed = true;
  outcome.value = bytes >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * bytes)) - 1;
  return outcome;
}

}  // namespace

// What this part has -------------------------------------------------------------------------------------------------

bool local_apic::has(const register_row& row) const noexcept { return row.first != msr::lvt_cmci || options_.cmci; }

/// The writable bits of a row's 32-bit register, without those of optional parts that are absent.
std::uint32_t local_apic::defined_bits(const register_row& row, std::uint32_t writable) const noexcept {
  if (row.first == msr::svr && !options_.eoi_broadcast_suppression) writable &= ~svr::suppress_eoi_broadcast;
  if (row.first == msr::svr && mode_ == apic_mode::x2apic && !options_.focus_checking_in_x2apic)
    writable &= ~svr::focus_checking;
  if (row.first == msr::lvt_timer && !options_.tsc_deadline) writable &= ~(2U << lvt::timer_mode_shift);
  return writable;
}

std::uint32_t local_apic::version_register() const noexcept {
  const std::uint32_t max_lvt = options_.cmci ? 6 : 5;
  return std::uint32_t{options_.version} | max_lvt << 16 | std::uint32_t{options_.eoi_broadcast_suppression} << 24;
}

// Values -------------------------------------------------------------------------------------------------------------

std::uint64_t local_apic::apic_base_register() const noexcept {
  const std::uint64_t mode_bits =
      (mode_ != apic_mode::disabled ? apic_base::enable : 0) | (mode_ == apic_mode::x2apic ? apic_base::x2apic : 0);
  return base_page_ | mode_bits | (bootstrap_ ? apic_base::bootstrap : 0);
}

/// Registers that read the same in both modes.
std::uint32_t local_apic::common_value(std::uint32_t number, cycles now) const noexcept {
  if (is_set_register(number)) {
    const vector_set& set = number < msr::tmr ? isr_ : number < msr::irr ? tmr_ : irr_;
    return set.register32(number & 7);
  }
  switch (number) {
    case msr::version:
      return version_register();
    case msr::tpr:
      return tpr_;
    case msr::ppr:
      return ppr_;
    case msr::svr:
      return svr_;
    case msr::esr:
      return esr_visible_;
    case msr::initial_count:
      return timer_.initial_count();
    case msr::current_count:
      return timer_.current_count(now);
    case msr::divide_configuration:
      return timer_.divide_configuration();
    default:
      return lvt_[lvt_index_of(number)];
  }
}

/// Registers as the xAPIC page shows them.
std::uint32_t local_apic::page_value(std::uint32_t number, cycles now) const noexcept {
  switch (number) {
    case msr::id:
      return std::uint32_t{xapic_id_} << 24;
    case msr::ldr:
      return std::uint32_t{xapic_ldr_} << 24;
    case msr::icr:
      return static_cast<std::uint32_t>(icr_);
    case icr_high:
      return static_cast<std::uint32_t>(icr_ >> 32);
    case apr:
      return arbitration_priority();
    case rrd:
      return 0;  // nothing answers remote reads any more
    case dfr:
      return std::uint32_t{dfr_model_} << 28 | 0x0FFFFFFF;
    default:
      return common_value(number, now);
  }
}

// MSRs ---------------------------------------------------------------------------------------------------------------

register_outcome local_apic::read_msr(std::uint32_t number, cycles now) const noexcept {
  if (number == msr::apic_base) return register_outcome::of(apic_base_register());
  if (number == msr::tsc_deadline && options_.tsc_deadline)
    return register_outcome::of(now < timer_.next_event() ? timer_.deadline() : 0);
  const register_row& row = row_of(number);
  if (mode_ != apic_mode::x2apic || !readable(row.access) || !has(row)) return register_outcome::general_protection();
  switch (number) {
    case msr::id:
      return register_outcome::of(id_);
    case msr::ldr:
      return register_outcome::of(logical_id());
    case msr::icr:
      return register_outcome::of(icr_);
    default:
      return register_outcome::of(common_value(number, now));
  }
}

bool local_apic::allows(const register_row& row, std::uint64_t value) const noexcept {
  if (mode_ != apic_mode::x2apic || !writable(row.access) || !has(row)) return false;
  if (is_reserved_timer_mode(row.first, value)) return false;
  if (row.first == msr::icr) return (value & ~row.writable) == 0;
  return (value & ~std::uint64_t{defined_bits(row, static_cast<std::uint32_t>(row.writable))}) == 0;
}

/// Expiries that are due come before any write; afterwards the caller hears whether there is another event to arm.
template <class Write>
register_outcome local_apic::write_at(cycles now, Write write) noexcept {
  const cycles armed_before = timer_.next_event();
  const bool expired = armed_before <= now && armed_before != cycles::never();
  if (expired) timer_fire(now);
  register_outcome outcome = write();
  outcome.timer_expired = expired;
  outcome.timer_rearmed = timer_.next_event() != armed_before;
  return outcome;
}

register_outcome local_apic::write_msr(std::uint32_t number, std::uint64_t value, cycles now) noexcept {
  return write_at(now, [&]() noexcept -> register_outcome {
    if (number == msr::apic_base) return write_apic_base(value);
    if (number == msr::tsc_deadline) return write_tsc_deadline(value, now);
    if (!allows(row_of(number), value)) return register_outcome::general_protection();
    if (number != msr::icr) return write_common(number, static_cast<std::uint32_t>(value), now);
    icr_ = value & icr_defined_bits;
    return send(decode_icr(icr_));
  });
}

register_outcome local_apic::write_apic_base(std::uint64_t value) noexcept {
  const std::uint64_t page_bits = ((std::uint64_t{1} << options_.physical_address_bits) - 1) & ~std::uint64_t{0xFFF};
  const std::uint64_t defined = page_bits | apic_base::bootstrap | apic_base::x2apic | apic_base::enable;
  const std::optional<apic_mode> to = mode_of(value);
  if ((value & ~defined) != 0 || !to || !may_change(mode_, *to)) return register_outcome::general_protection();

  base_page_ = value & page_bits;
  if (*to == mode_) return {};
  mode_ = *to;
  if (*to == apic_mode::x2apic) {
    enter_x2apic();
    return {};
  }
  // Turning the APIC off and on again is a reset of everything but mode and base.
  xapic_id_ = static_cast<std::uint8_t>(id_);
  reset_registers();
  return {};
}

register_outcome local_apic::write_tsc_deadline(std::uint64_t value, cycles now) noexcept {
  if (!options_.tsc_deadline) return register_outcome::general_protection();
  timer_.set_deadline(value, now);
  return {};
}

// The page -----------------------------------------------------------------------------------------------------------

register_access local_apic::page_access_of(const register_row& row) const noexcept {
  if (!has(row)) return register_access::absent;
  if (row.first == msr::id && options_.xapic_id_writable) return register_access::read_write;
  return row.page_access;
}

register_outcome local_apic::read_page(std::uint32_t offset, unsigned bytes, cycles now) noexcept {
  if (mode_ != apic_mode::xapic) return unclaimed_access(bytes);
  if (!is_defined_page_access(offset, bytes)) return undefined_access();
  const std::uint32_t number = number_of(offset);
  switch (page_access_of(row_of(number))) {
    case register_access::absent:
      report_error(esr::illegal_register_address);
      return register_outcome::of(0);
    case register_access::write_only:
      return undefined_access();
    case register_access::read_only:
    case register_access::read_write:
      break;
  }
  return register_outcome::of(page_value(number, now));
}

register_outcome local_apic::write_page(std::uint32_t offset, unsigned bytes, std::uint64_t value,
                                        cycles now) noexcept {
  if (mode_ != apic_mode::xapic) return unclaimed_access(bytes);
  if (!is_defined_page_access(offset, bytes)) return undefined_access();
  const std::uint32_t number = number_of(offset);
  const register_row& row = row_of(number);
  const register_access access = page_access_of(row);
  if (access == register_access::absent) report_error(esr::illegal_register_address);
  if (!writable(access)) return {};
  const std::uint32_t written = static_cast<std::uint32_t>(value) & defined_bits(row, row.page_writable);
  if (is_reserved_timer_mode(number, written)) return undefined_access();
  return write_at(now, [&]() noexcept { return write_page_register(number, written, now); });
}

register_outcome local_apic::write_page_register(std::uint32_t number, std::uint32_t value, cycles now) noexcept {
  const auto top = static_cast<std::uint8_t>(value >> 24);
  switch (number) {
    case msr::id:
      xapic_id_ = top;
      return {};
    case msr::ldr:
      xapic_ldr_ = top;
      return {};
    case dfr:
      dfr_model_ = top >> 4;
      return {};
    case icr_high:
      icr_ = (icr_ & 0xFFFFFFFF) | std::uint64_t{value} << 32;
      return {};
    case msr::icr:
      icr_ = (icr_ & ~std::uint64_t{0xFFFFFFFF}) | value;
      return send(decode_xapic_icr(icr_));
    default:
      return write_common(number, value, now);
  }
}

// Registers that are written the same in both modes ------------------------------------------------------------------

register_outcome local_apic::write_common(std::uint32_t number, std::uint32_t value, cycles now) noexcept {
  switch (number) {
    case msr::tpr:
      set_task_priority(static_cast<std::uint8_t>(value));
      break;
    case msr::eoi:
      return write_eoi();
    case msr::svr:
      write_svr(value);
      break;
    case msr::esr:
      write_esr();
      break;
    case msr::self_ipi:
      return send(self_ipi(static_cast<std::uint8_t>(value)));
    case msr::initial_count:
      timer_.set_initial_count(value, now);
      break;
    case msr::divide_configuration:
      timer_.set_divide_configuration(value, now);
      break;
    default:
      write_lvt(number, value, now);
      break;
  }
  return {};
}

register_outcome local_apic::write_eoi() noexcept {
  register_outcome outcome;
  outcome.ended_interrupt = !isr_.empty();
  outcome.eoi = end_of_interrupt();
  return outcome;
}

/// A write of any value makes the errors since the last one visible and starts collecting anew (§13.5.3).
void local_apic::write_esr() noexcept {
  esr_visible_ = esr_pending_;
  esr_pending_ = 0;
}

void local_apic::write_svr(std::uint32_t value) noexcept {
  svr_ = static_cast<std::uint16_t>(value);
  if (software_enabled()) return;
  for (std::uint32_t& entry : lvt_) entry |= lvt::masked;
}

register_outcome local_apic::send(const interrupt_command& command) noexcept {
  register_outcome outcome;
  outcome.verdict = judge(command, options_.sends_lowest_priority);
  switch (*outcome.verdict) {
    case ipi_verdict::send:
      outcome.ipi = command;
      break;
    case ipi_verdict::send_illegal_vector:
      report_error(esr::send_illegal_vector);
      break;
    case ipi_verdict::redirectable_unsupported:
      report_error(esr::redirectable_ipi);
      break;
    case ipi_verdict::deassert_ignored:
    case ipi_verdict::undefined:
      break;
  }
  return outcome;
}

}  // namespace vmxsys::apic
