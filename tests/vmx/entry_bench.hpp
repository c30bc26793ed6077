#pragma once
#include <functional>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include <vmxsys/vmx/transition/entry.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/event.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "flat_memory.hpp"

namespace vmxsys::vmx::entry_testing {

using u64 = std::uint64_t;
using f = field;
using test::flat_memory;

/// Bounds of the processor below: the first physical address and the first linear address that it does not have.
inline constexpr u64 width_end = u64{1} << 46;
inline constexpr u64 canonical_end = u64{1} << 56;

/// A processor that has every control with a name, so that no rule is out of reach.
inline capabilities everything() {
  capabilities c = find_capability_row("sapphire_rapids")->values;
  u64 named[static_cast<std::size_t>(control_word::vm_function) + 1] = {};
  for (std::size_t i = 0; i < control_table_size(); ++i) {
    const control_info& control = control_table()[i];
    named[static_cast<std::size_t>(control.word)] |= u64{1} << control.bit;
  }
  const auto of = [&](control_word word) { return named[static_cast<std::size_t>(word)]; };
  const auto allow = [](u64& a, u64& b, u64 bits) {
    a |= bits << 32;
    b |= bits << 32;
  };
  allow(c.pin, c.true_pin, of(control_word::pin));
  allow(c.primary, c.true_primary, of(control_word::primary));
  allow(c.vm_exit, c.true_vm_exit, of(control_word::vm_exit));
  allow(c.vm_entry, c.true_vm_entry, of(control_word::vm_entry));
  c.secondary = of(control_word::secondary) << 32;
  c.tertiary = of(control_word::tertiary);
  c.vm_exit_2 = of(control_word::vm_exit_2);
  c.cr4_fixed1 |= u64{1} << 32;  // FRED
  c.ept_vpid |= u64{1} << 23 | u64{1} << 8;
  c.physical_address_width = 46;
  return c;
}

/// A VMCS and everything its entry checks look at; starts as the minimal VMCS. Registers are those of a 64-bit host.
struct entry_bench {
  static constexpr physical_address vmcs_address = 0x8000;

  capabilities caps;
  entry_options options{};
  entry_features features;
  bool long_mode = true;
  bool in_smm = false;
  bool tracing = false;
  bool pae_paging = false;
  u64 cr3 = 0;
  flat_memory memory;
  vmcs v;

  explicit entry_bench(const capabilities& c = everything())
      : caps{c}, features{entry_features_of(c)}, v{make_minimal_vmcs(c)} {
    memory.write(vmcs_address, caps.revision());
  }

  entry_context context() const {
    entry_context x{caps, memory, options, features};
    x.set_long_mode(long_mode);
    x.set_in_smm(in_smm);
    x.set_tracing(tracing);
    x.set_paging(pae_paging, cr3);
    x.set_current_vmcs(vmcs_address);
    return x;
  }
  entry_result check() { return check_entry_fields(v, context()); }
  /// Without memory of earlier checks.
  entry_result check_afresh() {
    v.forget_checks();
    return check();
  }
  /// The names of all rules that do not hold.
  std::vector<std::string> broken() const {
    std::vector<std::string> names;
    const entry_context x = context();
    for (const entry_check_group* group : entry_check_groups())
      for (const entry_check& row : *group)
        if (!row.holds(v, x)) names.push_back(row.name);
    return names;
  }

  u64 of(field where) const { return v.read(where); }
  void set(field where, u64 value) { v.write(where, value); }
  /// Turns controls on, and what activates their word.
  void on(control_word word, u64 bits) {
    set(field_of(word), of(field_of(word)) | bits);
    if (word == control_word::secondary) on(control_word::primary, primary::activate_secondary_controls);
    if (word == control_word::tertiary) on(control_word::primary, primary::activate_tertiary_controls);
    if (word == control_word::vm_exit_2) on(control_word::vm_exit, vm_exit_control::activate_secondary_controls);
  }
  void off(control_word word, u64 bits) { set(field_of(word), of(field_of(word)) & ~bits); }
};

/// Something done to a bench.
using change = std::function<void(entry_bench&)>;

inline change nothing() {
  return [](entry_bench&) {};
}
inline change set(field where, u64 value) {
  return [=](entry_bench& b) { b.set(where, value); };
}
/// Bits of a field inverted.
inline change flip(field where, u64 bits) {
  return [=](entry_bench& b) { b.set(where, b.of(where) ^ bits); };
}
inline change on(control_word word, u64 bits) {
  return [=](entry_bench& b) { b.on(word, bits); };
}
inline change off(control_word word, u64 bits) {
  return [=](entry_bench& b) { b.off(word, bits); };
}
inline change secondary_on(u64 bits) { return on(control_word::secondary, bits); }
inline change tertiary_on(u64 bits) { return on(control_word::tertiary, bits); }
inline change exit_on(u64 bits) { return on(control_word::vm_exit, bits); }
inline change exit_2_on(u64 bits) { return on(control_word::vm_exit_2, bits); }
inline change entry_on(u64 bits) { return on(control_word::vm_entry, bits); }
template <class T>
change poke(physical_address at, T value) {
  return [=](entry_bench& b) { b.memory.write(at, value); };
}
template <class... C>
change all(C... changes) {
  return [list = std::vector<change>{changes...}](entry_bench& b) {
    for (const change& one : list) one(b);
  };
}

inline constexpr u64 legal_eptp = 0x5000 | 3 << 3 | 6;
inline change ept_on() { return all(secondary_on(secondary::enable_ept), set(f::ept_pointer, legal_eptp)); }
inline change unrestricted_on() { return all(ept_on(), secondary_on(secondary::unrestricted_guest)); }
inline change inject(u64 type, u64 vector, u64 more = 0) {
  return set(f::vm_entry_interruption_information, event_bits::valid | type << 8 | vector | more);
}

/// The minimal VMCS with a 32-bit host. The guest is not in IA-32e mode then.
inline change host_32() {
  return [](entry_bench& b) {
    b.long_mode = false;
    b.off(control_word::vm_exit, vm_exit_control::host_address_space_size);
    b.set(f::host_rip, 0x8100'0000);
    b.set(f::host_rsp, 0x8200'0000);
    b.set(f::host_ia32_efer, 0);
    b.off(control_word::vm_entry, vm_entry_control::ia_32e_mode_guest);
    b.set(f::guest_ia32_efer, 0);
    b.set(f::guest_cs_access_rights, 0xC09B);
    b.set(f::guest_rip, 0x8000'0000);
  };
}
/// A 32-bit guest with paging (PAE on: the minimal CR4 has it).
inline change guest_32() {
  return [](entry_bench& b) {
    b.off(control_word::vm_entry, vm_entry_control::ia_32e_mode_guest);
    b.set(f::guest_ia32_efer, 0);
    b.set(f::guest_cs_access_rights, 0xC09B);
    b.set(f::guest_rip, 0x8000'0000);
  };
}
inline change guest_v86() {
  return all(guest_32(), [](entry_bench& b) {
    b.set(f::guest_rflags, b.of(f::guest_rflags) | rflags_bits::vm);
    u64 selector = 0x100;
    for (const auto& [sel, base, limit, rights] :
         {std::array{f::guest_cs_selector, f::guest_cs_base, f::guest_cs_limit, f::guest_cs_access_rights},
          std::array{f::guest_ss_selector, f::guest_ss_base, f::guest_ss_limit, f::guest_ss_access_rights},
          std::array{f::guest_ds_selector, f::guest_ds_base, f::guest_ds_limit, f::guest_ds_access_rights},
          std::array{f::guest_es_selector, f::guest_es_base, f::guest_es_limit, f::guest_es_access_rights},
          std::array{f::guest_fs_selector, f::guest_fs_base, f::guest_fs_limit, f::guest_fs_access_rights},
          std::array{f::guest_gs_selector, f::guest_gs_base, f::guest_gs_limit, f::guest_gs_access_rights}}) {
      b.set(sel, selector);
      b.set(base, selector << 4);
      b.set(limit, 0xFFFF);
      b.set(rights, 0xF3);
      selector += 0x101;
    }
    b.set(f::guest_rip, 0x7C00);
  });
}

/// What a broken rule leads to.
enum class ending : std::uint8_t { error_7, error_8, exit_33 };

/// A pair on the two sides of one rule: after `prepare` and `good` the entry succeeds, after `bad` it fails by this
/// rule and no other is broken.
struct entry_case {
  std::string rule;
  std::string label;  ///< letters, digits, underscores
  ending how;
  change prepare;
  change good;
  change bad;
  u64 qualification = 0;
  std::vector<std::string> also{};  ///< later rules that cannot but break as well
};

std::vector<entry_case> execution_control_cases();
std::vector<entry_case> exit_and_entry_control_cases();
std::vector<entry_case> host_cases();
std::vector<entry_case> register_cases();
std::vector<entry_case> segment_cases();
std::vector<entry_case> non_register_cases();

inline std::vector<entry_case> all_entry_cases() {
  std::vector<entry_case> cases;
  for (const auto& make : {execution_control_cases, exit_and_entry_control_cases, host_cases, register_cases,
                           segment_cases, non_register_cases})
    for (entry_case& one : make()) cases.push_back(std::move(one));
  return cases;
}

}  // namespace vmxsys::vmx::entry_testing
