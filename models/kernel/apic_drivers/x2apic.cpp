#include <memory>

#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/models/kernel/irq_save.hpp>

#include "catalogue.hpp"

// As arch/x86/kernel/apic/{x2apic_phys,x2apic_cluster}.c of Linux v5.6 do it.
namespace vmxsys::models {

namespace isa = cpu::isa;

namespace {

constexpr std::uint32_t logical = 1u << 11;       // ICR bit 11: destination mode
constexpr std::uint32_t all_but_self = 3u << 18;  // ICR bits 19:18: destination shorthand
constexpr unsigned most_cpus = 1u << 16;

isa::operation<void> x2apic_icr(std::uint32_t destination, std::uint32_t low) {
  return isa::wrmsr(apic::msr::icr, std::uint64_t{destination} << 32 | low);
}

class x2apic_physical : public apic_driver {
 public:
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

}  // namespace

extern const apic_driver_entry x2apic_physical_entry = entry_without<apic_driver_entry>(
    "x2apic_physical", "x2APIC, an ICR write for each target",
    [](const void* /*options*/, unsigned /*cpus*/) -> std::unique_ptr<apic_driver> {
      return std::make_unique<x2apic_physical>();
    },
    apic::apic_mode::x2apic, most_cpus);

extern const apic_driver_entry x2apic_cluster_entry = entry_without<apic_driver_entry>(
    "x2apic_cluster", "x2APIC, logical destinations: an ICR write for each cluster of 16 CPUs",
    [](const void* /*options*/, unsigned /*cpus*/) -> std::unique_ptr<apic_driver> {
      return std::make_unique<x2apic_cluster>();
    },
    apic::apic_mode::x2apic, most_cpus);

}  // namespace vmxsys::models
