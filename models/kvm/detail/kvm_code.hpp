#pragma once
#include <vmxsys/cpu/facts/code.hpp>

/// Where KVM's code is, as `models/kernel/code.hpp` has it for the kernel.
namespace vmxsys::models::code {

constexpr cpu::code_location kvm_text(const char* symbol, std::uint32_t at, cpu::bucket account) {
  return {symbol, 0xffffffffc0800000ULL + at, 0, 0, account};
}

inline constexpr auto vcpu_enter_guest = kvm_text("vcpu_enter_guest", 0x1000, cpu::bucket::exit_handling);
inline constexpr auto vmx_vcpu_run = kvm_text("vmx_vcpu_run", 0x2000, cpu::bucket::exit_handling);
inline constexpr auto vmx_create_vcpu = kvm_text("vmx_create_vcpu", 0x3000, cpu::bucket::kernel);
inline constexpr auto handle_pause = kvm_text("handle_pause", 0x4000, cpu::bucket::handle_pause);
inline constexpr auto kvm_vcpu_on_spin = kvm_text("kvm_vcpu_on_spin", 0x4800, cpu::bucket::handle_pause);
inline constexpr auto kvm_emulate_wrmsr = kvm_text("kvm_emulate_wrmsr", 0x5000, cpu::bucket::handle_msr);
inline constexpr auto kvm_emulate_cpuid = kvm_text("kvm_emulate_cpuid", 0x6000, cpu::bucket::handle_cpuid);
inline constexpr auto kvm_emulate_hypercall = kvm_text("kvm_emulate_hypercall", 0x7000, cpu::bucket::handle_hypercall);
inline constexpr auto kvm_vcpu_block = kvm_text("kvm_vcpu_block", 0x8000, cpu::bucket::handle_hlt);
inline constexpr auto handle_external_interrupt =
    kvm_text("handle_external_interrupt_irqoff", 0x9000, cpu::bucket::handle_interrupt);
inline constexpr auto handle_preemption_timer = kvm_text("handle_preemption_timer", 0xa000, cpu::bucket::handle_timer);
inline constexpr auto vcpu_load = kvm_text("vmx_vcpu_load", 0xb000, cpu::bucket::vcpu_switch);
inline constexpr auto vcpu_put = kvm_text("vmx_vcpu_put", 0xc000, cpu::bucket::vcpu_switch);
inline constexpr auto inject_interrupt = kvm_text("vmx_inject_irq", 0xd000, cpu::bucket::exit_handling);
inline constexpr auto apic_timer_fn = kvm_text("apic_timer_fn", 0xe000, cpu::bucket::handle_timer);
inline constexpr auto wait_lapic_expire = kvm_text("__kvm_wait_lapic_expire", 0xe800, cpu::bucket::handle_timer);
inline constexpr auto apic_accept_irq = kvm_text("__apic_accept_irq", 0x10000, cpu::bucket::exit_handling);
inline constexpr auto deliver_posted_interrupt =
    kvm_text("vmx_deliver_posted_interrupt", 0x11000, cpu::bucket::exit_handling);
inline constexpr auto pi_wakeup_handler = kvm_text("pi_wakeup_handler", 0x12000, cpu::bucket::interrupt);
inline constexpr auto handle_apic_access = kvm_text("handle_apic_access", 0x13000, cpu::bucket::handle_msr);
inline constexpr auto handle_apic_write = kvm_text("handle_apic_write", 0x14000, cpu::bucket::handle_msr);
inline constexpr auto handle_apic_eoi_induced = kvm_text("handle_apic_eoi_induced", 0x15000, cpu::bucket::handle_msr);
inline constexpr auto handle_cr = kvm_text("handle_cr", 0x16000, cpu::bucket::handle_msr);
inline constexpr auto hardware_enable = kvm_text("kvm_arch_hardware_enable", 0xf000, cpu::bucket::kernel);

}  // namespace vmxsys::models::code
