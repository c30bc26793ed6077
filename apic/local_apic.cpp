#include <vmxsys/apic/local_apic.hpp>

#include <vmxsys/apic/destination.hpp>

namespace vmxsys::apic {
namespace {

constexpr std::uint8_t class_bits = 0xF0;

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

bool is_local_source(std::uint32_t number) noexcept {
  return number == msr::lvt_cmci || (number >= msr::lvt_thermal && number <= msr::lvt_lint1);
}

/// Modes of an LVT entry that reach the core without passing IRR; the remaining ones are reserved there.
bool goes_to_core(delivery_mode mode) noexcept {
  return mode == delivery_mode::smi || mode == delivery_mode::nmi || mode == delivery_mode::init ||
         mode == delivery_mode::ext_int;
}

bool is_set_register(std::uint32_t number) noexcept { return number >= msr::isr && number < msr::irr + 8; }

}  // namespace

local_apic::local_apic(std::uint32_t id, bool bootstrap, timer_clock clock, const local_apic_options& options)
    : id_{id}, bootstrap_{bootstrap}, options_{options}, timer_{clock, options.on_timer_mode_change} {
  reset();
}

std::uint32_t local_apic::logical_id() const noexcept { return x2apic_logical_id(id_); }

void local_apic::enter_x2apic() noexcept {
  mode_ = apic_mode::x2apic;
  icr_ &= 0xFFFFFFFF;
}

// Interrupts ---------------------------------------------------------------------------------------------------------

bool local_apic::accept(std::uint8_t vector, bool level) noexcept {
  if (!software_enabled()) return false;  // a globally disabled APIC is software-disabled too
  if (!is_legal_vector(vector)) {
    report_error(esr::receive_illegal_vector);
    return false;
  }
  if (!irr_.set(vector)) return false;
  tmr_.assign(vector, level);
  if (vector > request_ && (vector & class_bits) > (ppr_ & class_bits)) request_ = vector;
  return true;
}

std::uint8_t local_apic::acknowledge() noexcept {
  if (request_ < 0) return static_cast<std::uint8_t>(svr_ & svr::vector_bits);
  const auto vector = static_cast<std::uint8_t>(request_);
  irr_.clear(vector);
  isr_.set(vector);
  // It was the highest request and is of a higher class than TPR and all in service: nothing can be above it now.
  ppr_ = vector & class_bits;
  request_ = vector_set::none;
  return vector;
}

std::optional<eoi_broadcast> local_apic::end_of_interrupt() noexcept {
  const int highest = isr_.highest();
  if (highest == vector_set::none) return std::nullopt;
  const auto vector = static_cast<std::uint8_t>(highest);
  isr_.clear(vector);
  update_priority();
  if (!tmr_.test(vector) || (svr_ & svr::suppress_eoi_broadcast) != 0) return std::nullopt;
  return eoi_broadcast{vector};
}

std::optional<interrupt_message> local_apic::raise_local(std::uint32_t lvt_msr) noexcept {
  if (!is_local_source(lvt_msr)) return std::nullopt;
  const std::uint32_t entry = lvt_[lvt_index_of(lvt_msr)];
  if ((entry & lvt::masked) != 0) return std::nullopt;
  const auto mode = static_cast<delivery_mode>((entry >> 8) & 7);
  if (mode == delivery_mode::fixed) accept(static_cast<std::uint8_t>(entry & lvt::vector_bits));
  if (!goes_to_core(mode)) return std::nullopt;
  return interrupt_message{mode, 0, false};
}

void local_apic::set_task_priority(std::uint8_t value) noexcept {
  tpr_ = value;
  update_priority();
}

/// PPR's class is the higher of TPR's and that of the highest vector in service; on a tie the sub-class is TPR's.
void local_apic::update_priority() noexcept {
  const int highest = isr_.highest();
  const auto served = static_cast<std::uint8_t>(highest == vector_set::none ? 0 : highest & class_bits);
  ppr_ = (tpr_ & class_bits) >= served ? tpr_ : served;
  update_request();
}

void local_apic::update_request() noexcept {
  const int highest = irr_.highest();  // -1 has class F0H as an int pattern, hence the test of the sign
  request_ = highest >= 0 && (highest & class_bits) > (ppr_ & class_bits) ? highest : vector_set::none;
}

/// An error bit that was not set yet raises the error LVT. An illegal vector in that entry ends the chain: its own
/// error can be newly set only once.
void local_apic::report_error(std::uint32_t bit) noexcept {
  if ((esr_pending_ & bit) != 0) return;
  esr_pending_ |= bit;
  const std::uint32_t entry = lvt_[lvt_error];
  if ((entry & lvt::masked) == 0) accept(static_cast<std::uint8_t>(entry & lvt::vector_bits));
}

// Registers ----------------------------------------------------------------------------------------------------------

std::size_t local_apic::lvt_index_of(std::uint32_t number) noexcept {
  return number == msr::lvt_cmci ? std::size_t{lvt_cmci} : number - msr::lvt_timer;
}

std::uint64_t local_apic::version_register() const noexcept {
  const std::uint32_t max_lvt = options_.cmci ? 6 : 5;
  return std::uint64_t{options_.version} | max_lvt << 16 | std::uint64_t{options_.eoi_broadcast_suppression} << 24;
}

register_outcome local_apic::read_msr(std::uint32_t number, cycles now) const noexcept {
  if (number == msr::apic_base) {
    const std::uint64_t mode_bits = (mode_ != apic_mode::disabled ? apic_base::enable : 0) |
                                    (mode_ == apic_mode::x2apic ? apic_base::x2apic : 0);
    return register_outcome::of(base_page_ | mode_bits | (bootstrap_ ? apic_base::bootstrap : 0));
  }
  if (number == msr::tsc_deadline && options_.tsc_deadline)
    return register_outcome::of(now < timer_.next_event() ? timer_.deadline() : 0);
  if (mode_ != apic_mode::x2apic || !readable(row_of(number).access)) return register_outcome::general_protection();
  if (number == msr::lvt_cmci && !options_.cmci) return register_outcome::general_protection();

  if (is_set_register(number)) {
    const vector_set& set = number < msr::tmr ? isr_ : number < msr::irr ? tmr_ : irr_;
    return register_outcome::of(set.register32(number & 7));
  }
  switch (number) {
    case msr::id: return register_outcome::of(id_);
    case msr::version: return register_outcome::of(version_register());
    case msr::tpr: return register_outcome::of(tpr_);
    case msr::ppr: return register_outcome::of(ppr_);
    case msr::ldr: return register_outcome::of(logical_id());
    case msr::svr: return register_outcome::of(svr_);
    case msr::esr: return register_outcome::of(esr_visible_);
    case msr::icr: return register_outcome::of(icr_);
    case msr::initial_count: return register_outcome::of(timer_.initial_count());
    case msr::current_count: return register_outcome::of(timer_.current_count(now));
    case msr::divide_configuration: return register_outcome::of(timer_.divide_configuration());
    default: return register_outcome::of(lvt_[lvt_index_of(number)]);
  }
}

register_outcome local_apic::write_msr(std::uint32_t number, std::uint64_t value, cycles now) noexcept {
  const cycles armed_before = timer_.next_event();
  const bool expired = armed_before <= now && armed_before != cycles::never();
  if (expired) timer_fire(now);

  register_outcome outcome;
  const register_row& row = row_of(number);
  if (number == msr::apic_base) outcome = write_apic_base(value);
  else if (number == msr::tsc_deadline) outcome = write_tsc_deadline(value, now);
  else if (allows(row, value)) outcome = write_register(number, value, now);
  else outcome.fault = true;

  outcome.timer_expired = expired;
  outcome.timer_rearmed = timer_.next_event() != armed_before;
  return outcome;
}

bool local_apic::allows(const register_row& row, std::uint64_t value) const noexcept {
  if (mode_ != apic_mode::x2apic || !writable(row.access)) return false;
  std::uint64_t defined = row.writable;
  if (row.first == msr::lvt_cmci && !options_.cmci) return false;
  if (row.first == msr::svr && !options_.eoi_broadcast_suppression)
    defined &= ~std::uint64_t{svr::suppress_eoi_broadcast};
  if (row.first == msr::lvt_timer && !options_.tsc_deadline) defined &= ~(std::uint64_t{2} << lvt::timer_mode_shift);
  if (row.first == msr::lvt_timer && ((value >> lvt::timer_mode_shift) & 3) == 3) return false;
  return (value & ~defined) == 0;
}

register_outcome local_apic::write_register(std::uint32_t number, std::uint64_t value, cycles now) noexcept {
  const auto low = static_cast<std::uint32_t>(value);
  switch (number) {
    case msr::tpr: set_task_priority(static_cast<std::uint8_t>(low)); break;
    case msr::eoi: return write_eoi();
    case msr::svr: write_svr(low); break;
    case msr::esr:
      esr_visible_ = esr_pending_;
      esr_pending_ = 0;
      break;
    case msr::icr:
      icr_ = value & icr_defined_bits;
      return send(decode_icr(icr_));
    case msr::self_ipi: return send(self_ipi(static_cast<std::uint8_t>(low)));
    case msr::initial_count: timer_.set_initial_count(low, now); break;
    case msr::divide_configuration: timer_.set_divide_configuration(low, now); break;
    default: write_lvt(number, low, now); break;
  }
  return {};
}

register_outcome local_apic::write_apic_base(std::uint64_t value) noexcept {
  const std::uint64_t page_bits = ((std::uint64_t{1} << options_.physical_address_bits) - 1) & ~std::uint64_t{0xFFF};
  const std::uint64_t defined = page_bits | apic_base::bootstrap | apic_base::x2apic | apic_base::enable;
  const std::optional<apic_mode> to = mode_of(value);
  if ((value & ~defined) != 0 || !to || !may_change(mode_, *to)) return register_outcome::general_protection();

  base_page_ = value & page_bits;
  if (*to == mode_) return {};
  if (*to == apic_mode::x2apic) enter_x2apic();
  else reset_registers();  // turning the APIC off and on again is a reset of everything but mode, base and ID
  mode_ = *to;
  return {};
}

register_outcome local_apic::write_tsc_deadline(std::uint64_t value, cycles now) noexcept {
  if (!options_.tsc_deadline) return register_outcome::general_protection();
  timer_.set_deadline(value, now);
  return {};
}

register_outcome local_apic::write_eoi() noexcept {
  register_outcome outcome;
  outcome.ended_interrupt = !isr_.empty();
  outcome.eoi = end_of_interrupt();
  return outcome;
}

register_outcome local_apic::send(const interrupt_command& command) noexcept {
  register_outcome outcome;
  outcome.verdict = judge(command, options_.sends_lowest_priority);
  switch (*outcome.verdict) {
    case ipi_verdict::send: outcome.ipi = command; break;
    case ipi_verdict::send_illegal_vector: report_error(esr::send_illegal_vector); break;
    case ipi_verdict::redirectable_unsupported: report_error(esr::redirectable_ipi); break;
    case ipi_verdict::deassert_ignored:
    case ipi_verdict::undefined: break;
  }
  return outcome;
}

void local_apic::write_lvt(std::uint32_t number, std::uint32_t value, cycles now) noexcept {
  if (!software_enabled()) value |= lvt::masked;
  lvt_[lvt_index_of(number)] = value & ~(lvt::delivery_status | lvt::remote_irr);
  if (number == msr::lvt_timer)
    timer_.set_mode(static_cast<timer_mode>((value >> lvt::timer_mode_shift) & 3), now);
}

void local_apic::write_svr(std::uint32_t value) noexcept {
  svr_ = value;
  if (software_enabled()) return;
  for (std::uint32_t& entry : lvt_) entry |= lvt::masked;
}

// Timer --------------------------------------------------------------------------------------------------------------

bool local_apic::timer_fire(cycles now) noexcept {
  if (timer_.fire(now) == 0) return false;
  const std::uint32_t entry = lvt_[lvt_timer];
  if ((entry & lvt::masked) != 0) return false;
  return accept(static_cast<std::uint8_t>(entry & lvt::vector_bits));
}

// RESET and INIT -----------------------------------------------------------------------------------------------------

void local_apic::reset() noexcept {
  mode_ = apic_mode::xapic;
  base_page_ = apic_base::reset_page;
  reset_registers();
}

void local_apic::init() noexcept { reset_registers(); }

void local_apic::reset_registers() noexcept {
  irr_.clear();
  isr_.clear();
  tmr_.clear();
  svr_ = 0xFF;
  esr_visible_ = 0;
  esr_pending_ = 0;
  icr_ = 0;
  lvt_.fill(lvt::masked);
  timer_.reset();
  set_task_priority(0);
}

}  // namespace vmxsys::apic
