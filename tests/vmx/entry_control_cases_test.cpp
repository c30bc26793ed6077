#include "entry_bench.hpp"

// The two sides of every rule about controls. SDM Vol. 3C §29.2.1.
namespace vmxsys::vmx::entry_testing {
namespace {

entry_case pair(const char* rule, std::string label, change prepare, change good, change bad) {
  return {rule, std::move(label), ending::error_7, std::move(prepare), std::move(good), std::move(bad)};
}

constexpr u64 last_page = width_end - 4096;

// A pointer to a page: the last page there is, one page further, and one not aligned.
void add_page(std::vector<entry_case>& cases, const char* rule, const std::string& label, const change& prepare,
              field where) {
  cases.push_back(pair(rule, label + "_width", prepare, set(where, last_page), set(where, width_end)));
  cases.push_back(pair(rule, label + "_alignment", prepare, set(where, 0x1000), set(where, 0x1800)));
  cases.push_back(pair(rule, label + "_bit_0", prepare, set(where, 0), set(where, 1)));
}

void add_vector_byte(std::vector<entry_case>& cases, const char* rule, const std::string& label, const change& prepare,
                     field where) {
  cases.push_back(pair(rule, label, prepare, set(where, 0xFF), set(where, 0x100)));
}

void add_list(std::vector<entry_case>& cases, const char* rule, const std::string& label, field count, field address) {
  const auto list = [=](u64 n, u64 at) { return all(set(count, n), set(address, at)); };
  cases.push_back(pair(rule, label + "_alignment", nothing(), list(1, 0x10), list(1, 0x18)));
  cases.push_back(pair(rule, label + "_unused_when_empty", nothing(), list(0, 8), list(1, 8)));
  cases.push_back(
      pair(rule, label + "_ends_at_the_width", nothing(), list(3, width_end - 48), list(4, width_end - 48)));
  cases.push_back(pair(rule, label + "_starts_at_the_width", nothing(), list(1, width_end - 16), list(1, width_end)));
  cases.push_back(pair(rule, label + "_wraps", nothing(), list(1, 0x1000), list(2, ~u64{0xF})));
}

const change tpr_shadow = on(control_word::primary, primary::use_tpr_shadow);
const change apicv = all(tpr_shadow, secondary_on(secondary::virtual_interrupt_delivery));
const change posting = all(apicv, on(control_word::pin, pin_based::process_posted_interrupts));
const change ipi = all(tpr_shadow, tertiary_on(tertiary::ipi_virtualization));
const change vm_functions = secondary_on(secondary::enable_vm_functions);
const change timer = all(apicv, tertiary_on(tertiary::apic_timer_virtualization));
const change pt_gpa =
    all(ept_on(), secondary_on(secondary::intel_pt_uses_guest_physical_addresses),
        entry_on(vm_entry_control::load_ia32_rtit_ctl), exit_on(vm_exit_control::clear_ia32_rtit_ctl));
constexpr u64 eptp_switching = 1;

void add_reserved_bits(std::vector<entry_case>& c) {
  c.push_back(pair("pin-based controls: reserved bits", "pin_bit_1_must_be_1", nothing(), off(control_word::pin, 1),
                   off(control_word::pin, 2)));
  c.push_back(pair("pin-based controls: reserved bits", "pin_bit_8_must_be_0", nothing(),
                   on(control_word::pin, 1u << 6), on(control_word::pin, 1u << 8)));
  c.push_back(pair("primary processor-based controls: reserved bits", "primary_bit_4_must_be_1", nothing(),
                   off(control_word::primary, primary::hlt_exiting), off(control_word::primary, 1u << 4)));
  c.push_back(pair("primary processor-based controls: reserved bits", "primary_bit_0_must_be_0", nothing(),
                   on(control_word::primary, primary::rdtsc_exiting), on(control_word::primary, 1)));
  // The TRUE MSR lets a default1 control be 0.
  c.push_back(pair("primary processor-based controls: reserved bits", "cr3_exiting_by_the_true_msr", nothing(),
                   off(control_word::primary, primary::cr3_load_exiting), [](entry_bench& b) {
                     b.caps.basic &= ~(u64{1} << 55);
                     b.set(f::pin_based_controls, b.of(f::pin_based_controls) | 0x16);
                     b.set(f::primary_vm_exit_controls, b.of(f::primary_vm_exit_controls) | 0x3'6DFF);
                     b.set(f::vm_entry_controls, b.of(f::vm_entry_controls) | 0x11FF);
                     b.set(f::primary_processor_based_controls,
                           (b.of(f::primary_processor_based_controls) | 0x401'E172) & ~u64{primary::cr3_load_exiting});
                   }));
  c.push_back(pair("secondary processor-based controls: reserved bits", "secondary_bit_29",
                   secondary_on(secondary::enable_rdtscp), nothing(), secondary_on(1u << 29)));
  c.push_back(pair("secondary processor-based controls: reserved bits", "secondary_counts_when_activated",
                   set(f::secondary_processor_based_controls, 1u << 29), nothing(),
                   on(control_word::primary, primary::activate_secondary_controls)));
  c.push_back(pair("tertiary processor-based controls: reserved bits", "tertiary_bit_63",
                   tertiary_on(tertiary::loadiwkey_exiting), nothing(), tertiary_on(u64{1} << 63)));
  c.push_back(pair("tertiary processor-based controls: reserved bits", "tertiary_counts_when_activated",
                   set(f::tertiary_processor_based_controls, 1u << 10), nothing(),
                   on(control_word::primary, primary::activate_tertiary_controls)));
}

void add_interrupts(std::vector<entry_case>& c) {
  c.push_back(pair("TPR threshold: bits 31:4", "threshold_15", all(tpr_shadow, poke<std::uint8_t>(0x80, 0xF0)),
                   set(f::tpr_threshold, 0xF), set(f::tpr_threshold, 0x10)));
  c.push_back(pair("TPR threshold: bits 31:4", "threshold_counts_without_delivery",
                   all(apicv, set(f::tpr_threshold, 0x10)), nothing(),
                   off(control_word::secondary, secondary::virtual_interrupt_delivery)));
  c.push_back(pair("TPR threshold against VTPR", "threshold_equals_vtpr",
                   all(tpr_shadow, set(f::virtual_apic_address, 0x4000), poke<std::uint8_t>(0x4080, 0x7F)),
                   set(f::tpr_threshold, 7), set(f::tpr_threshold, 8)));
  c.push_back(pair("TPR threshold against VTPR", "vtpr_in_memory",
                   all(tpr_shadow, set(f::virtual_apic_address, 0x4000), set(f::tpr_threshold, 3)),
                   poke<std::uint8_t>(0x4080, 0x30), poke<std::uint8_t>(0x4080, 0x2F)));
  c.push_back(pair("TPR threshold against VTPR", "vtpr_of_the_page_named",
                   all(tpr_shadow, set(f::tpr_threshold, 3), poke<std::uint8_t>(0x4080, 0x30)),
                   set(f::virtual_apic_address, 0x4000), set(f::virtual_apic_address, 0x5000)));
  c.push_back(pair("TPR threshold against VTPR", "threshold_with_virtualized_accesses",
                   all(tpr_shadow, secondary_on(secondary::virtualize_apic_accesses), set(f::tpr_threshold, 3)),
                   nothing(), off(control_word::secondary, secondary::virtualize_apic_accesses)));
  c.push_back(pair("virtual NMIs need NMI exiting", "virtual_nmis", on(control_word::pin, pin_based::virtual_nmis),
                   nothing(), off(control_word::pin, pin_based::nmi_exiting)));
  c.push_back(
      pair("NMI-window exiting needs virtual NMIs", "nmi_window",
           all(on(control_word::pin, pin_based::virtual_nmis), on(control_word::primary, primary::nmi_window_exiting)),
           nothing(), off(control_word::pin, pin_based::virtual_nmis)));
  const change no_shadow = off(control_word::primary, primary::use_tpr_shadow);
  c.push_back(pair("x2APIC mode needs the TPR shadow", "x2apic",
                   all(tpr_shadow, secondary_on(secondary::virtualize_x2apic_mode)), nothing(), no_shadow));
  c.push_back(pair("APIC-register virtualization needs the TPR shadow", "arv",
                   all(tpr_shadow, secondary_on(secondary::apic_register_virtualization)), nothing(), no_shadow));
  c.push_back(pair("virtual-interrupt delivery needs the TPR shadow", "vid", apicv, nothing(), no_shadow));
  c.push_back(pair("IPI virtualization needs the TPR shadow", "ipiv", ipi, nothing(), no_shadow));
  c.push_back(pair("x2APIC mode excludes APIC-access virtualization", "x2apic_and_mmio",
                   all(tpr_shadow, secondary_on(secondary::virtualize_x2apic_mode)), nothing(),
                   secondary_on(secondary::virtualize_apic_accesses)));
  c.push_back(pair("virtual-interrupt delivery needs external-interrupt exiting", "vid_without_exits", apicv, nothing(),
                   off(control_word::pin, pin_based::external_interrupt_exiting)));
  c.push_back(pair("posted interrupts need virtual-interrupt delivery", "posting_without_delivery", posting, nothing(),
                   off(control_word::secondary, secondary::virtual_interrupt_delivery)));
  c.push_back(pair("posted interrupts need acknowledgement on exit", "posting_without_acknowledgement", posting,
                   nothing(), off(control_word::vm_exit, vm_exit_control::acknowledge_interrupt_on_exit)));
  add_vector_byte(c, "posted-interrupt notification vector", "notification_vector", posting,
                  f::posted_interrupt_notification_vector);
  c.push_back(pair("posted-interrupt descriptor address", "descriptor_alignment", posting,
                   set(f::posted_interrupt_descriptor_address, 0x40),
                   set(f::posted_interrupt_descriptor_address, 0x20)));
  c.push_back(pair("posted-interrupt descriptor address", "descriptor_width", posting,
                   set(f::posted_interrupt_descriptor_address, width_end - 64),
                   set(f::posted_interrupt_descriptor_address, width_end)));
  c.push_back(pair("PID-pointer table address", "pid_table_alignment", ipi, set(f::pid_pointer_table_address, 8),
                   set(f::pid_pointer_table_address, 12)));
  c.push_back(pair("PID-pointer table: last entry", "pid_table_end",
                   all(ipi, set(f::pid_pointer_table_address, width_end - 0x1000)),
                   set(f::last_pid_pointer_index, 0x1FF), set(f::last_pid_pointer_index, 0x200)));
  c.push_back(pair("APIC-timer virtualization needs virtual-interrupt delivery", "timer_without_delivery", timer,
                   nothing(), off(control_word::secondary, secondary::virtual_interrupt_delivery)));
  c.push_back(pair("APIC-timer virtualization excludes RDTSC exiting", "timer_and_rdtsc", timer, nothing(),
                   on(control_word::primary, primary::rdtsc_exiting)));
  add_vector_byte(c, "virtual-timer vector", "timer_vector", timer, f::virtual_timer_vector);
}

void add_ept(std::vector<entry_case>& c) {
  const auto eptp = [](u64 value) { return set(f::ept_pointer, value); };
  const change ept = ept_on();
  c.push_back(pair("EPT pointer", "eptp_memory_type_0", ept, eptp(0x5000 | 3 << 3 | 0), eptp(0x5000 | 3 << 3 | 1)));
  c.push_back(pair("EPT pointer", "eptp_memory_type_6", ept, eptp(legal_eptp), eptp(0x5000 | 3 << 3 | 7)));
  c.push_back(pair("EPT pointer", "eptp_walk_of_5", ept, eptp(0x5000 | 4 << 3 | 6), eptp(0x5000 | 5 << 3 | 6)));
  c.push_back(pair("EPT pointer", "eptp_walk_of_4", ept, eptp(legal_eptp), eptp(0x5000 | 2 << 3 | 6)));
  c.push_back(pair("EPT pointer", "eptp_dirty_flags", all(ept, eptp(legal_eptp | 0x40)), nothing(),
                   [](entry_bench& b) { b.caps.ept_vpid &= ~(u64{1} << 21); }));
  c.push_back(pair("EPT pointer", "eptp_shadow_stacks", all(ept, eptp(legal_eptp | 0x80)), nothing(),
                   [](entry_bench& b) { b.caps.ept_vpid &= ~(u64{1} << 23); }));
  for (const unsigned bit : {8u, 9u, 10u, 11u})
    c.push_back(
        pair("EPT pointer", "eptp_bit_" + std::to_string(bit), ept, nothing(), eptp(legal_eptp | u64{1} << bit)));
  c.push_back(pair("EPT pointer", "eptp_width", ept, eptp(last_page | 3 << 3 | 6), eptp(width_end | 3 << 3 | 6)));
  const auto needs = [&](const char* rule, const char* label, const change& with) {
    c.push_back(pair(rule, label, all(ept, with), nothing(), off(control_word::secondary, secondary::enable_ept)));
  };
  needs("PML needs EPT", "pml_without_ept", secondary_on(secondary::enable_pml));
  needs("unrestricted guest needs EPT", "unrestricted_without_ept", secondary_on(secondary::unrestricted_guest));
  needs("mode-based execute control needs EPT", "mbec_without_ept",
        secondary_on(secondary::mode_based_execute_control_for_ept));
  needs("sub-page write permissions need EPT", "spp_without_ept",
        secondary_on(secondary::sub_page_write_permissions_for_ept));
  needs("Intel PT with guest-physical addresses needs EPT", "pt_without_ept", pt_gpa);
  needs("PEBS with guest-physical addresses needs EPT", "pebs_without_ept",
        tertiary_on(tertiary::pebs_uses_guest_physical_addresses));
  needs("HLAT needs EPT", "hlat_without_ept", tertiary_on(tertiary::enable_hlat));
  needs("EPT paging-write control needs EPT", "paging_write_without_ept",
        tertiary_on(tertiary::ept_paging_write_control));
  needs("guest-paging verification needs EPT", "verification_without_ept",
        tertiary_on(tertiary::guest_paging_verification));
  needs("EPTP switching needs EPT", "switching_without_ept",
        all(vm_functions, set(f::vm_function_controls, eptp_switching)));
  c.push_back(
      pair("VM functions: reserved bits", "function_1", vm_functions, nothing(), set(f::vm_function_controls, 2)));
  c.push_back(pair("VM functions: reserved bits", "function_63", vm_functions, nothing(),
                   set(f::vm_function_controls, u64{1} << 63)));
  const change hlat = all(ept, tertiary_on(tertiary::enable_hlat));
  for (const unsigned bit : {0u, 1u, 2u, 5u, 6u, 7u, 8u, 9u, 10u, 11u})
    c.push_back(pair("HLAT pointer", "hlatp_bit_" + std::to_string(bit), hlat, set(f::hlat_pointer, 0x1018),
                     set(f::hlat_pointer, 0x1018 | u64{1} << bit)));
  c.push_back(
      pair("HLAT pointer", "hlatp_width", hlat, set(f::hlat_pointer, last_page), set(f::hlat_pointer, width_end)));
}

}  // namespace

std::vector<entry_case> execution_control_cases() {
  std::vector<entry_case> c;
  add_reserved_bits(c);
  c.push_back(
      pair("CR3-target count", "four_targets", nothing(), set(f::cr3_target_count, 4), set(f::cr3_target_count, 5)));
  const change io = on(control_word::primary, primary::use_io_bitmaps);
  add_page(c, "I/O-bitmap A address", "io_bitmap_a", io, f::io_bitmap_a_address);
  add_page(c, "I/O-bitmap B address", "io_bitmap_b", io, f::io_bitmap_b_address);
  c.push_back(
      pair("I/O-bitmap B address", "io_bitmap_counts_when_used", set(f::io_bitmap_b_address, 1), nothing(), io));
  add_page(c, "MSR-bitmap address", "msr_bitmap", on(control_word::primary, primary::use_msr_bitmaps),
           f::msr_bitmap_address);
  add_page(c, "virtual-APIC address", "virtual_apic", tpr_shadow, f::virtual_apic_address);
  add_interrupts(c);
  c.push_back(pair("VPID is not 0", "vpid", secondary_on(secondary::enable_vpid),
                   set(f::virtual_processor_identifier, 1), set(f::virtual_processor_identifier, 0)));
  add_ept(c);
  add_page(c, "PML address", "pml", all(ept_on(), secondary_on(secondary::enable_pml)), f::pml_address);
  add_page(c, "APIC-access address", "apic_access", secondary_on(secondary::virtualize_apic_accesses),
           f::apic_access_address);
  const change shadowing = secondary_on(secondary::vmcs_shadowing);
  add_page(c, "VMREAD-bitmap address", "vmread_bitmap", shadowing, f::vmread_bitmap_address);
  add_page(c, "VMWRITE-bitmap address", "vmwrite_bitmap", shadowing, f::vmwrite_bitmap_address);
  add_page(c, "virtualization-exception information address", "ve_information",
           secondary_on(secondary::ept_violation_ve), f::virtualization_exception_information_address);
  add_page(c, "sub-page-permission-table pointer", "spp_table",
           all(ept_on(), secondary_on(secondary::sub_page_write_permissions_for_ept)),
           f::sub_page_permission_table_pointer);
  const change pasid = secondary_on(secondary::pasid_translation);
  add_page(c, "low PASID-directory address", "pasid_low", pasid, f::low_pasid_directory_address);
  add_page(c, "high PASID-directory address", "pasid_high", pasid, f::high_pasid_directory_address);
  add_page(c, "EPTP-list address", "eptp_list",
           all(ept_on(), vm_functions, set(f::vm_function_controls, eptp_switching)), f::eptp_list_address);
  c.push_back(pair("TSC multiplier is not 0", "tsc_multiplier", secondary_on(secondary::use_tsc_scaling),
                   set(f::tsc_multiplier, 1), set(f::tsc_multiplier, 0)));
  c.push_back(pair("Intel PT with guest-physical addresses needs RTIT_CTL loaded", "pt_load", pt_gpa, nothing(),
                   off(control_word::vm_entry, vm_entry_control::load_ia32_rtit_ctl)));
  c.push_back(pair("Intel PT with guest-physical addresses needs RTIT_CTL cleared", "pt_clear", pt_gpa, nothing(),
                   off(control_word::vm_exit, vm_exit_control::clear_ia32_rtit_ctl)));
  c.push_back(pair("RTIT_CTL is not loaded while the host traces", "tracing",
                   entry_on(vm_entry_control::load_ia32_rtit_ctl), nothing(),
                   [](entry_bench& b) { b.tracing = true; }));
  c.push_back(pair(
      "RTIT_CTL is not loaded while the host traces", "loading", [](entry_bench& b) { b.tracing = true; }, nothing(),
      entry_on(vm_entry_control::load_ia32_rtit_ctl)));
  return c;
}

std::vector<entry_case> exit_and_entry_control_cases() {
  std::vector<entry_case> c;
  c.push_back(pair("VM-exit controls: reserved bits", "exit_bit_0_must_be_1", nothing(),
                   off(control_word::vm_exit, vm_exit_control::save_debug_controls), off(control_word::vm_exit, 1)));
  c.push_back(pair("VM-exit controls: reserved bits", "exit_control_the_processor_lacks",
                   exit_on(vm_exit_control::clear_uinv), nothing(),
                   [](entry_bench& b) { b.caps.vm_exit &= ~(u64{vm_exit_control::clear_uinv} << 32); }));
  c.push_back(pair("secondary VM-exit controls: reserved bits", "exit_2_bit_4",
                   exit_2_on(vm_exit_control_2::prematurely_busy_shadow_stack), nothing(), exit_2_on(1u << 4)));
  c.push_back(pair("secondary VM-exit controls: reserved bits", "exit_2_counts_when_activated",
                   set(f::secondary_vm_exit_controls, 1u << 4), nothing(),
                   exit_on(vm_exit_control::activate_secondary_controls)));
  c.push_back(pair("saving the preemption timer needs the timer", "save_timer",
                   all(on(control_word::pin, pin_based::activate_vmx_preemption_timer),
                       exit_on(vm_exit_control::save_vmx_preemption_timer_value)),
                   nothing(), off(control_word::pin, pin_based::activate_vmx_preemption_timer)));
  add_list(c, "VM-exit MSR-store list", "msr_store", f::vm_exit_msr_store_count, f::vm_exit_msr_store_address);
  add_list(c, "VM-exit MSR-load list", "msr_load_on_exit", f::vm_exit_msr_load_count, f::vm_exit_msr_load_address);
  add_list(c, "VM-entry MSR-load list", "msr_load_on_entry", f::vm_entry_msr_load_count, f::vm_entry_msr_load_address);
  c.push_back(pair("VM-entry controls: reserved bits", "entry_bit_0_must_be_1", nothing(),
                   off(control_word::vm_entry, vm_entry_control::load_debug_controls), off(control_word::vm_entry, 1)));
  c.push_back(pair("VM-entry controls: reserved bits", "entry_bit_26_must_be_0",
                   entry_on(vm_entry_control::allow_seam_guest_telemetry), nothing(), entry_on(1u << 26)));
  const change in_smm = [](entry_bench& b) { b.in_smm = true; };
  const change outside = [](entry_bench& b) { b.in_smm = false; };
  const change smi_blocked = set(f::guest_interruptibility_state, interruptibility::smi);
  c.push_back(pair("entry to SMM is made from SMM", "enter_smm",
                   all(in_smm, smi_blocked, entry_on(vm_entry_control::entry_to_smm)), nothing(), outside));
  c.back().also = {"interruptibility: no blocking by SMI outside SMM"};
  c.push_back(pair("dual-monitor treatment is deactivated from SMM", "deactivate",
                   all(in_smm, entry_on(vm_entry_control::deactivate_dual_monitor_treatment)), nothing(), outside));
  c.push_back(pair("entry to SMM excludes deactivating dual-monitor treatment", "not_both",
                   all(in_smm, smi_blocked, entry_on(vm_entry_control::entry_to_smm)), nothing(),
                   entry_on(vm_entry_control::deactivate_dual_monitor_treatment)));

  c.push_back(pair("injection: type", "type_2_and_1", nothing(), inject(2, 2), inject(1, 2)));
  c.push_back(pair("injection: type", "other_event_0", nothing(), inject(7, 0), inject(7, 3)));
  c.push_back(pair("injection: type", "other_event_2_is_for_fred", inject(7, 2), nothing(),
                   [](entry_bench& b) { b.caps.vm_entry &= ~(u64{vm_entry_control::load_fred} << 32); }));
  c.push_back(pair("injection: type", "other_event_1_is_for_fred", inject(7, 1), nothing(),
                   [](entry_bench& b) { b.caps.vm_entry &= ~(u64{vm_entry_control::load_fred} << 32); }));
  c.push_back(pair("injection: type", "other_event_0_is_for_mtf", inject(7, 0), nothing(),
                   [](entry_bench& b) { b.caps.primary &= ~(u64{primary::monitor_trap_flag} << 32); }));
  c.push_back(pair("injection: vector", "nmi_is_2", nothing(), inject(2, 2), inject(2, 3)));
  c.push_back(pair("injection: vector", "exception_31", nothing(), inject(3, 31), inject(3, 32)));
  constexpr u64 code = event_bits::error_code;
  for (const unsigned vector : {8u, 10u, 11u, 12u, 13u, 14u, 17u})
    c.push_back(pair("injection: deliver-error-code bit", "vector_" + std::to_string(vector) + "_has_a_code", nothing(),
                     inject(3, vector, code), inject(3, vector)));
  for (const unsigned vector : {0u, 1u, 3u, 4u, 5u, 6u, 7u, 9u, 15u, 16u, 18u, 19u, 20u, 21u, 22u, 31u})
    c.push_back(pair("injection: deliver-error-code bit", "vector_" + std::to_string(vector) + "_has_no_code",
                     nothing(), inject(3, vector), inject(3, vector, code)));
  c.push_back(pair(
      "injection: deliver-error-code bit", "control_protection_by_the_switch",
      [](entry_bench& b) { b.options.cp_has_error_code = true; }, inject(3, 21, code), inject(3, 21)));
  for (const auto& [type, vector] : {std::pair{0, 0x30}, {2, 2}, {4, 13}, {5, 1}, {6, 3}})
    c.push_back(pair("injection: deliver-error-code bit", "type_" + std::to_string(type) + "_has_no_code",
                     set(f::vm_entry_instruction_length, 1), inject(type, vector), inject(type, vector, code)));
  const change any_vector = [](entry_bench& b) { b.caps.basic |= u64{1} << 56; };
  c.push_back(pair("injection: deliver-error-code bit", "any_vector_may_have_a_code_but_an_interrupt_not", any_vector,
                   inject(3, 6, code), inject(0, 0x30, code)));
  c.push_back(pair("injection: deliver-error-code bit", "any_vector_may_do_without", all(any_vector, inject(3, 13)),
                   nothing(), [](entry_bench& b) { b.caps.basic &= ~(u64{1} << 56); }));
  const change real_mode =
      all(guest_32(), unrestricted_on(), set(f::guest_cr0, 0x20), set(f::guest_cs_access_rights, 0x9B),
          set(f::guest_cs_limit, 0xFFFF), [](entry_bench& b) {
            b.set(f::guest_cr4, b.of(f::guest_cr4) & ~u64{0x20});
            b.set(f::guest_rip, 0x7C00);
          });
  c.push_back(pair("injection: deliver-error-code bit", "real_mode_has_no_code", real_mode, inject(3, 13),
                   inject(3, 13, code)));
  c.push_back(pair("injection: deliver-error-code bit", "real_mode_has_no_code_for_any_vector",
                   all(real_mode, any_vector), inject(3, 13), inject(3, 13, code)));
  c.push_back(pair("injection: reserved bits", "bit_12", nothing(), inject(0, 0x30), inject(0, 0x30, 1u << 12)));
  c.push_back(pair("injection: reserved bits", "bit_14", nothing(), inject(0, 0x30), inject(0, 0x30, 1u << 14)));
  c.push_back(pair("injection: reserved bits", "bit_30", nothing(), inject(0, 0x30), inject(0, 0x30, 1u << 30)));
  c.push_back(pair("injection: reserved bits", "invalid_is_ignored", nothing(),
                   set(f::vm_entry_interruption_information, 0x7FFF'FFFF), inject(0, 0x30, 0x7FFF'D000)));
  const change nested_exists = [](entry_bench& b) { b.caps.basic |= u64{1} << 58; };
  c.push_back(pair("injection: reserved bits", "nested_is_for_exceptions", nested_exists,
                   inject(3, 1, event_bits::nested), inject(0, 0x30, event_bits::nested)));
  c.push_back(pair("injection: reserved bits", "nested_is_an_option",
                   all(nested_exists, inject(3, 1, event_bits::nested)), nothing(),
                   [](entry_bench& b) { b.caps.basic &= ~(u64{1} << 58); }));
  c.push_back(pair("injection: error code", "code_16_bits", inject(3, 13, code),
                   set(f::vm_entry_exception_error_code, 0xFFFF), set(f::vm_entry_exception_error_code, 0x1'0000)));
  c.push_back(pair("injection: error code", "code_bit_31", inject(3, 13, code), nothing(),
                   set(f::vm_entry_exception_error_code, 0x8000'0000)));
  for (const auto& [type, vector] : {std::pair{4, 0x80}, {5, 1}, {6, 3}}) {
    const std::string label = "length_of_type_" + std::to_string(type);
    c.push_back(pair("injection: instruction length", label, inject(type, vector),
                     set(f::vm_entry_instruction_length, 15), set(f::vm_entry_instruction_length, 16)));
    c.push_back(pair("injection: instruction length", label + "_0", inject(type, vector), nothing(),
                     [](entry_bench& b) { b.caps.misc &= ~(u64{1} << 30); }));
  }
  c.push_back(pair("injection: instruction length", "length_of_an_interrupt_is_ignored",
                   set(f::vm_entry_instruction_length, 16), inject(0, 0x80), inject(4, 0x80)));
  return c;
}

}  // namespace vmxsys::vmx::entry_testing
