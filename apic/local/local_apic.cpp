#include "local_apic.hpp"

#include "arbitration.hpp"

namespace vmxsys::apic {
namespace {

constexpr std::uint8_t class_bits = 0xF0;
constexpr std::uint8_t flat_model = 0xF;
constexpr std::uint8_t cluster_model = 0x0;

}  // namespace

local_apic::local_apic(std::uint32_t id, bool bootstrap, timer_clock clock, const local_apic_options& options)
    : id_{id}, options_{options}, bootstrap_{bootstrap}, timer_{clock, options.on_timer_mode_change} {
  reset();
}

void local_apic::enter_x2apic() noexcept {
  mode_ = apic_mode::x2apic;
  icr_ &= 0xFFFFFFFF;
  xapic_id_ = static_cast<std::uint8_t>(id_);
  xapic_ldr_ = 0;
  dfr_model_ = flat_model;
}

apic_address local_apic::address() const noexcept {
  if (mode_ != apic_mode::xapic) return {mode_, id_, logical_id(), false, id_};
  const bool known_model = dfr_model_ == flat_model || dfr_model_ == cluster_model;
  return {mode_, xapic_id_, known_model ? xapic_ldr_ : 0U, dfr_model_ == flat_model, id_};
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
  const bool broadcasts = tmr_.test(vector) && (svr_ & svr::suppress_eoi_broadcast) == 0;
  if (((lvt_[lvt_lint0] | lvt_[lvt_lint1]) & lvt::remote_irr) != 0) end_of_level_interrupt(vector);
  if (!broadcasts) return std::nullopt;
  return eoi_broadcast{vector};
}

void local_apic::set_task_priority(std::uint8_t value) noexcept {
  tpr_ = value;
  update_priority();
}

/// PPR's class is the higher of TPR's and that of the highest vector in service; its sub-class is TPR's if TPR's class
/// decided. On a tie processors differ.
void local_apic::update_priority() noexcept {
  const int highest = isr_.highest();
  const auto served = static_cast<std::uint8_t>(highest == vector_set::none ? 0 : highest & class_bits);
  const auto task = static_cast<std::uint8_t>(tpr_ & class_bits);
  const bool task_decides = task > served || (task == served && (options_.tie_keeps_task_subclass || served == 0));
  ppr_ = task_decides ? tpr_ : served;
  update_request();
}

void local_apic::update_request() noexcept {
  const int highest = irr_.highest();  // -1 has class F0H as an int pattern, hence the test of the sign
  const bool passes = highest >= 0 && (highest & class_bits) > (ppr_ & class_bits);
  request_ = static_cast<std::int16_t>(passes ? highest : vector_set::none);
}

std::uint8_t local_apic::arbitration_priority() const noexcept {
  return apic::arbitration_priority(tpr_, isr_.highest(), irr_.highest());
}

/// An error bit that was not set yet raises the error LVT. An illegal vector in that entry ends the chain: its own
/// error can be newly set only once.
void local_apic::report_error(std::uint32_t bit) noexcept {
  if ((esr_pending_ & bit) != 0) return;
  esr_pending_ = static_cast<std::uint8_t>(esr_pending_ | bit);
  const std::uint32_t entry = lvt_[lvt_error];
  if ((entry & lvt::masked) == 0) accept(static_cast<std::uint8_t>(entry & lvt::vector_bits));
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
  xapic_id_ = static_cast<std::uint8_t>(id_);
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
  xapic_ldr_ = 0;
  dfr_model_ = flat_model;
  lvt_.fill(lvt::masked);
  timer_.reset();
  set_task_priority(0);
}

}  // namespace vmxsys::apic
