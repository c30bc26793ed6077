// Local sources: the LVT entries, and the pins LINT0 and LINT1.
#include "local_apic.hpp"

namespace vmxsys::apic {
namespace {

bool is_local_source(std::uint32_t number) noexcept {
  return number == msr::lvt_cmci || (number >= msr::lvt_thermal && number <= msr::lvt_lint1);
}

delivery_mode mode_of(std::uint32_t entry) noexcept {
  return static_cast<delivery_mode>((entry >> lvt::mode_shift) & 7);
}

/// Modes of an LVT entry that reach the core without passing IRR; the remaining ones are reserved there.
bool goes_to_core(delivery_mode mode) noexcept {
  return mode == delivery_mode::smi || mode == delivery_mode::nmi || mode == delivery_mode::init ||
         mode == delivery_mode::ext_int;
}

/// The trigger bit counts in fixed mode only: NMI, SMI and INIT are edges, ExtINT is a level (§13.5.1).
bool is_level(std::uint32_t entry) noexcept {
  return mode_of(entry) == delivery_mode::fixed && (entry & lvt::level_triggered) != 0;
}

std::uint8_t vector_of(std::uint32_t entry) noexcept { return static_cast<std::uint8_t>(entry & lvt::vector_bits); }

bool is_masked(std::uint32_t entry) noexcept { return (entry & lvt::masked) != 0; }

}  // namespace

std::size_t local_apic::lvt_index_of(std::uint32_t number) noexcept {
  return number == msr::lvt_cmci ? std::size_t{lvt_cmci} : number - msr::lvt_timer;
}

std::optional<interrupt_message> local_apic::raise_local(std::uint32_t lvt_msr) noexcept {
  if (!is_local_source(lvt_msr)) return std::nullopt;
  return signal(lvt_index_of(lvt_msr));
}

/// The source behind an entry signals: an edge, or the moment a level begins.
std::optional<interrupt_message> local_apic::signal(std::size_t index) noexcept {
  std::uint32_t& entry = lvt_[index];
  if (is_masked(entry)) return std::nullopt;
  const delivery_mode mode = mode_of(entry);
  if (mode == delivery_mode::fixed && is_level(entry))
    accept_level(static_cast<unsigned>(index - lvt_lint0));
  else if (mode == delivery_mode::fixed)
    accept(vector_of(entry));
  // One overflow is one interrupt: software unmasks the entry when it has dealt with it (§13.5.1).
  if (index == lvt_performance) entry |= lvt::masked;
  if (!goes_to_core(mode)) return std::nullopt;
  return interrupt_message{mode, 0, false};
}

// Pins ---------------------------------------------------------------------------------------------------------------

bool local_apic::is_asserted(unsigned pin) const noexcept {
  const bool high = ((lint_high_ >> pin) & 1) != 0;
  const bool active_low = (lvt_[lvt_lint0 + pin] & lvt::active_low) != 0;
  return high != active_low;
}

std::optional<interrupt_message> local_apic::set_lint(unsigned pin, bool high) noexcept {
  const bool before = is_asserted(pin);
  lint_high_ = static_cast<std::uint8_t>((lint_high_ & ~(1U << pin)) | unsigned{high} << pin);
  if (before || !is_asserted(pin)) return std::nullopt;
  if (mode_ == apic_mode::disabled)
    return interrupt_message{pin == 0 ? delivery_mode::ext_int : delivery_mode::nmi, 0, false};
  return signal(lvt_lint0 + pin);
}

bool local_apic::ext_int_asserted() const noexcept {
  if (mode_ == apic_mode::disabled) return is_asserted(0);
  for (unsigned pin = 0; pin < 2; ++pin) {
    const std::uint32_t entry = lvt_[lvt_lint0 + pin];
    if (!is_masked(entry) && mode_of(entry) == delivery_mode::ext_int && is_asserted(pin)) return true;
  }
  return false;
}

/// Remote IRR remembers that the level was accepted and its EOI is due; until then the level asks for nothing more.
void local_apic::accept_level(unsigned pin) noexcept {
  std::uint32_t& entry = lvt_[lvt_lint0 + pin];
  if ((entry & lvt::remote_irr) != 0) return;
  const std::uint8_t vector = vector_of(entry);
  if (is_legal_vector(vector)) entry |= lvt::remote_irr;
  accept(vector, true);
}

void local_apic::end_of_level_interrupt(std::uint8_t vector) noexcept {
  for (unsigned pin = 0; pin < 2; ++pin) {
    std::uint32_t& entry = lvt_[lvt_lint0 + pin];
    if ((entry & lvt::remote_irr) == 0 || vector_of(entry) != vector) continue;
    entry &= ~lvt::remote_irr;
    if (!is_masked(entry) && is_asserted(pin)) accept_level(pin);
  }
}

// Writes of the entries ----------------------------------------------------------------------------------------------

void local_apic::write_lvt(std::uint32_t number, std::uint32_t value, cycles now) noexcept {
  if (!software_enabled()) value |= lvt::masked;
  value &= ~(lvt::delivery_status | lvt::remote_irr);
  std::uint32_t& entry = lvt_[lvt_index_of(number)];
  const std::uint32_t remote_irr = is_level(value) ? entry & lvt::remote_irr : 0;
  entry = value | remote_irr;
  if (number == msr::lvt_timer) timer_.set_mode(static_cast<timer_mode>((value >> lvt::timer_mode_shift) & 3), now);
  if (is_masked(value) || mode_of(value) != delivery_mode::fixed) return;
  if (options_.checks_vector_on_lvt_write && !is_legal_vector(vector_of(value)))
    report_error(esr::receive_illegal_vector);
  const bool is_lint = number == msr::lvt_lint0 || number == msr::lvt_lint1;
  if (is_lint && is_level(value) && is_asserted(number - msr::lvt_lint0)) accept_level(number - msr::lvt_lint0);
}

}  // namespace vmxsys::apic
