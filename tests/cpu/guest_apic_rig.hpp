#pragma once
#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>

#include "rig.hpp"

// A guest with a virtual APIC under the smallest hypervisor that can give it one.
namespace vmxsys::cpu::testing {

namespace pid = apic::posted_interrupt_descriptor;

inline machine_config guest_apic_config(unsigned cpus = 1, bool stepped = false) {
  machine_config c = bare_config(cpus, stepped);
  c.capabilities = vmx::find_capability_row("sapphire_rapids")->values;
  c.capabilities.tertiary |= vmx::tertiary::apic_timer_virtualization;
  return c;
}

/// CPU 0 runs a guest whose local APIC is virtualized as far as x2APIC mode allows, with posted interrupts. The
/// hypervisor enters it again after every exit until `exits_wanted` of them have come, moving RIP past instructions.
class guest_apic_rig : public vmx_rig {
 public:
  static constexpr physical_address page_at = 0x4'0000;
  static constexpr physical_address descriptor = 0x5'0000;
  static constexpr physical_address pid_table = 0x6'0000;
  static constexpr physical_address access_page = 0x7'0000;
  static constexpr physical_address msr_bitmap = 0x8000;
  static constexpr std::uint8_t notification_vector = 0xF2;

  explicit guest_apic_rig(machine_config config = guest_apic_config()) : vmx_rig{std::move(config)} {
    using vmx::field;
    vmx::minimal_vmcs_options& o = setup.options;
    o.pin |= vmx::pin_based::process_posted_interrupts;
    o.primary = vmx::primary::use_tpr_shadow | vmx::primary::use_msr_bitmaps;
    o.secondary = vmx::secondary::virtualize_x2apic_mode | vmx::secondary::apic_register_virtualization |
                  vmx::secondary::virtual_interrupt_delivery;
    for (const auto& [f, value] : std::initializer_list<std::pair<vmx::field, std::uint64_t>>{
             {field::virtual_apic_address, page_at},
             {field::msr_bitmap_address, msr_bitmap},
             {field::posted_interrupt_descriptor_address, descriptor},
             {field::posted_interrupt_notification_vector, notification_vector},
             {field::pid_pointer_table_address, pid_table},
             {field::last_pid_pointer_index, 3},
             {field::apic_access_address, access_page}})
      setup.more.emplace_back(f, value);
    for (std::uint64_t i = 0; i < 4; ++i)
      hw.physical().write<std::uint64_t>(pid_table + 8 * i, apic::pid_pointer::encode(descriptor_of(i)));
    for (std::uint32_t i = 0; i < 4; ++i)
      apic::write_descriptor_info(hw.physical(), descriptor_of(i), {false, false, notification_vector, i});
    handler = [this](logical_cpu& cpu, std::uint8_t vector) {
      (cpu.current_operation() == vmx_operation::non_root ? in_guest : in_host).push_back({now().count(), vector});
      return acknowledge();
    };
  }

  static constexpr physical_address descriptor_of(std::uint64_t i) { return descriptor + pid::bytes * i; }
  apic::virtual_apic_page page() { return {hw.physical(), page_at}; }

  /// Starts the hypervisor; call after `run_guest`. `at_exit` sees each exit before the next entry.
  void start() {
    run_host([this]() -> program {
      co_await enable_apic();
      vmx::exit_info exit = co_await isa::vmlaunch();
      for (;;) {
        if (at_exit) co_await at_exit(exit);
        co_await isa::vmwrite(vmx::field::guest_rip,
                              co_await isa::vmread(vmx::field::guest_rip) + exit.instruction_length);
        exit = co_await isa::vmresume();
      }
    });
  }

  /// Posts from outside the CPUs: what a remapping unit does before its notification, which arrives at `at`.
  void post_at(cycles at, std::uint8_t vector, std::uint64_t to = 0) {
    hw.run_until(at);
    apic::set_pir(hw.physical(), descriptor_of(to), vector);
    apic::announce(hw.physical(), descriptor_of(to));
  }
  void notify_at(cycles at, std::uint8_t vector = notification_vector) { interrupt(0, at, vector); }

  template <class F>
  std::size_t count() const {
    return log.of<F>().size();
  }

  struct seen {
    std::uint64_t at;
    std::uint8_t vector;
    friend bool operator==(const seen&, const seen&) = default;
    friend std::ostream& operator<<(std::ostream& o, const seen& s) {
      return o << "vector " << +s.vector << " at " << s.at;
    }
  };
  std::vector<seen> in_guest, in_host;
  std::function<program(const vmx::exit_info&)> at_exit;
};

}  // namespace vmxsys::cpu::testing
