#include <memory>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kernel/irq_save.hpp>

#include "catalogue.hpp"

// As arch/x86/kernel/apic/{apic_flat_64,ipi}.c of Linux v5.6 do it.
namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

constexpr std::uint32_t logical = 1u << 11;           // ICR bit 11: destination mode
constexpr std::uint32_t all_but_self = 3u << 18;      // ICR bits 19:18: destination shorthand
constexpr std::uint32_t delivery_pending = 1u << 12;  // ICR bit 12
constexpr unsigned xapic_destination_shift = 24;      // of LDR and of the high half of the ICR
constexpr unsigned flat_cpus = 8;                     // one bit of the logical destination each
constexpr unsigned most_cpus = 255;                   // FFH is the destination of all

/// The register page. Two writes make one command, so interrupts are off in between: a handler may send, too.
class xapic final : public apic_driver {
 public:
  explicit xapic(unsigned cpus) : flat_{cpus <= flat_cpus} {}
  isa::operation<void> write(std::uint32_t msr, std::uint32_t value) const override {
    return write_at(apic::offset_of(msr), value);
  }
  // flat_init_apic_ldr; with more CPUs than bits only physical destinations are used.
  cpu::program prepare(unsigned cpu) const override {
    if (!flat_) co_return;
    co_await write_at(apic::page::dfr, 0xFFFF'FFFF);
    co_await write_at(apic::page::ldr, std::uint32_t{1} << (xapic_destination_shift + cpu));
  }
  cpu::program send(unsigned cpu, std::uint8_t vector) const override {
    const bool enabled = co_await irq_save();
    co_await write_icr(flat_ ? 1u << cpu : cpu, flat_ ? logical | vector : vector);
    co_await irq_restore(enabled);
  }
  cpu::program send(const std::vector<unsigned>& cpus, std::uint8_t vector) const override {
    const bool enabled = co_await irq_save();
    if (flat_) {
      std::uint32_t mask = 0;
      for (const unsigned cpu : cpus) mask |= 1u << cpu;
      co_await write_icr(mask, logical | vector);
    } else {
      for (const unsigned cpu : cpus) co_await write_icr(cpu, vector);
    }
    co_await irq_restore(enabled);
  }
  cpu::program command(unsigned cpu, std::uint32_t low) const override {
    const bool enabled = co_await irq_save();
    co_await write_icr(cpu, low);
    co_await irq_restore(enabled);
  }
  cpu::program send_to_others(std::uint8_t vector) const override {
    co_await idle();
    co_await write_at(apic::page::icr_low, all_but_self | vector);
  }

 private:
  static isa::operation<void> write_at(std::uint32_t offset, std::uint32_t value) {
    isa::operation<void> op{cpu::opcode::mmio_write};
    op.a = apic::apic_base::reset_page + offset;
    op.b = value;
    op.size = 4;
    return op;
  }
  /// Until the last command has left (__xapic_wait_icr_idle).
  static cpu::program idle() {
    for (;;) {
      const std::uint64_t icr = co_await isa::mmio_read(apic::apic_base::reset_page + apic::page::icr_low, 4);
      if ((icr & delivery_pending) == 0) co_return;
      co_await isa::pause();
    }
  }
  static cpu::program write_icr(std::uint32_t destination, std::uint32_t low) {
    co_await idle();
    co_await write_at(apic::page::icr_high, destination << xapic_destination_shift);
    co_await write_at(apic::page::icr_low, low);
  }

  bool flat_;
};

}  // namespace

extern const apic_driver_entry xapic_entry = entry_without<apic_driver_entry>(
    "xapic", "the register page; logical flat destinations with up to 8 CPUs, else physical ones",
    [](const void* /*options*/, unsigned cpus) -> std::unique_ptr<apic_driver> {
      return std::make_unique<xapic>(cpus);
    },
    apic::apic_mode::xapic, most_cpus);

}  // namespace vmxsys::models
