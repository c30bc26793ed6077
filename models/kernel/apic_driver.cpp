#include "apic_driver.hpp"

#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/apic/local/register_map.hpp>

#include "irq_save.hpp"

// As arch/x86/kernel/apic/{x2apic_phys,x2apic_cluster,apic_flat_64,ipi}.c of Linux v5.6 do it.
namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

constexpr std::uint32_t logical = 1u << 11;           // ICR bit 11: destination mode
constexpr std::uint32_t all_but_self = 3u << 18;      // ICR bits 19:18: destination shorthand
constexpr std::uint32_t delivery_pending = 1u << 12;  // ICR bit 12, xAPIC only
constexpr unsigned xapic_destination_shift = 24;      // of LDR and of the high half of the ICR
constexpr unsigned flat_cpus = 8;                     // one bit of the logical destination each

isa::operation<void> x2apic_icr(std::uint32_t destination, std::uint32_t low) {
  return isa::wrmsr(apic::msr::icr, std::uint64_t{destination} << 32 | low);
}

class x2apic_physical : public apic_driver {
 public:
  const char* name() const noexcept override { return "x2apic_physical"; }
  apic::apic_mode mode() const noexcept override { return apic::apic_mode::x2apic; }
  isa::operation<void> write(std::uint32_t msr, std::uint32_t value) const override { return isa::wrmsr(msr, value); }
  cpu::program send(unsigned cpu, std::uint8_t vector) const override { co_await x2apic_icr(cpu, vector); }
  cpu::program send(const std::vector<unsigned>& cpus, std::uint8_t vector) const override {
    for (const unsigned cpu : cpus) co_await x2apic_icr(cpu, vector);
  }
  cpu::program command(unsigned cpu, std::uint32_t low) const override { co_await x2apic_icr(cpu, low); }
  cpu::program send_to_others(std::uint8_t vector) const override { co_await x2apic_icr(0, all_but_self | vector); }
};

/// Sixteen CPUs at most form a cluster; one ICR write reaches any set of them (x2apic_cluster.c).
class x2apic_cluster final : public x2apic_physical {
 public:
  const char* name() const noexcept override { return "x2apic_cluster"; }
  cpu::program send(unsigned cpu, std::uint8_t vector) const override {
    co_await x2apic_icr(apic::x2apic_logical_id(cpu), logical | vector);
  }
  cpu::program send(const std::vector<unsigned>& cpus, std::uint8_t vector) const override {
    std::vector<std::uint32_t> clusters;
    for (const unsigned cpu : cpus) {
      const std::uint32_t id = apic::x2apic_logical_id(cpu);
      bool found = false;
      for (std::uint32_t& cluster : clusters)
        if (cluster >> 16 == id >> 16) {
          cluster |= id;
          found = true;
        }
      if (!found) clusters.push_back(id);
    }
    const bool enabled = co_await irq_save();
    for (const std::uint32_t destination : clusters) co_await x2apic_icr(destination, logical | vector);
    co_await irq_restore(enabled);
  }
};

/// The register page. Two writes make one command, so interrupts are off in between: a handler may send, too.
class xapic final : public apic_driver {
 public:
  explicit xapic(unsigned cpus) : flat_{cpus <= flat_cpus} {}
  const char* name() const noexcept override { return "xapic"; }
  apic::apic_mode mode() const noexcept override { return apic::apic_mode::xapic; }
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

cpu::program apic_driver::prepare(unsigned) const { co_return; }

std::span<const apic_driver_entry> apic_drivers() {
  static const std::vector<apic_driver_entry> all{
      {"x2apic_physical", "x2APIC, an ICR write for each target", apic::apic_mode::x2apic, 1u << 16,
       [](unsigned) { return std::make_unique<x2apic_physical>(); }},
      {"x2apic_cluster", "x2APIC, logical destinations: an ICR write for each cluster of 16 CPUs",
       apic::apic_mode::x2apic, 1u << 16, [](unsigned) { return std::make_unique<x2apic_cluster>(); }},
      {"xapic", "the register page; logical flat destinations with up to 8 CPUs, else physical ones",
       apic::apic_mode::xapic, 255, [](unsigned cpus) { return std::make_unique<xapic>(cpus); }},
  };
  return all;
}

const apic_driver_entry* find_apic_driver(std::string_view name) {
  for (const apic_driver_entry& entry : apic_drivers())
    if (name == entry.name) return &entry;
  return nullptr;
}

}  // namespace vmxsys::models
