#pragma once
#include <cstddef>
#include <cstdint>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::apic {

/// Page offsets of its fields: those of the xAPIC page (SDM Vol. 3C §32.1.1). SELF IPI, 3F0H, is x2APIC's.
namespace vapic = page;

/// A virtual-APIC page in memory (SDM Vol. 3C §32.1.1): 4 KBytes that hold a guest's local-APIC registers. A view; it
/// keeps nothing. Offsets are 0 .. FFFH.
class virtual_apic_page {
 public:
  static constexpr int none = -1;

  virtual_apic_page(physical_memory& memory, physical_address page) noexcept : memory_{&memory}, page_{page} {}
  /// The page that the VMCS names.
  virtual_apic_page(physical_memory& memory, const vmx::vmcs& v) noexcept
      : virtual_apic_page{memory, v.read(vmx::field::virtual_apic_address)} {}

  physical_address address() const noexcept { return page_; }

  std::uint32_t read_32(std::uint16_t offset) const { return memory_->read<std::uint32_t>(page_ + offset); }
  void write_32(std::uint16_t offset, std::uint32_t value) { memory_->write(page_ + offset, value); }
  std::uint64_t read_64(std::uint16_t offset) const { return memory_->read<std::uint64_t>(page_ + offset); }
  void write_64(std::uint16_t offset, std::uint64_t value) { memory_->write(page_ + offset, value); }
  /// `bytes` (1 .. 8) at any offset, zero-extended.
  std::uint64_t read(std::uint16_t offset, unsigned bytes) const;
  void write(std::uint16_t offset, unsigned bytes, std::uint64_t value);

  /// Bits 7:0 of VTPR and VPPR.
  std::uint8_t vtpr() const { return memory_->read<std::uint8_t>(page_ + vapic::tpr); }
  std::uint8_t vppr() const { return memory_->read<std::uint8_t>(page_ + vapic::ppr); }

  /// VIRR and VISR: bit x & 1FH of the 32-bit field at 200H or 100H plus (x & E0H) >> 1.
  bool requested(std::uint8_t vector) const { return test(vapic::irr, vector); }
  bool in_service(std::uint8_t vector) const { return test(vapic::isr, vector); }
  void set_requested(std::uint8_t vector, bool on = true) { assign(vapic::irr, vector, on); }
  void set_in_service(std::uint8_t vector, bool on = true) { assign(vapic::isr, vector, on); }
  /// The highest vector of VIRR and VISR, or `none`.
  int highest_requested() const { return highest(vapic::irr); }
  int highest_in_service() const { return highest(vapic::isr); }
  /// VIRR |= 64 vectors from 64 * `word`; `word` is 0 .. 3.
  void request_64(unsigned word, std::uint64_t vectors);

 private:
  bool test(std::uint16_t set, std::uint8_t vector) const;
  void assign(std::uint16_t set, std::uint8_t vector, bool on);
  int highest(std::uint16_t set) const;

  physical_memory* memory_;
  physical_address page_;
};

}  // namespace vmxsys::apic
