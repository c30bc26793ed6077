#include "entry_bench.hpp"

// The two sides of every rule about guest segment and descriptor-table registers. SDM Vol. 3C §29.3.1.2, §29.3.1.3.
namespace vmxsys::vmx::entry_testing {
namespace {

entry_case pair(const char* rule, std::string label, change prepare, change good, change bad) {
  return {rule, std::move(label), ending::exit_33, std::move(prepare), std::move(good), std::move(bad)};
}

struct segment {
  const char* name;
  field selector, base, limit, rights;
};
const segment cs{"cs", f::guest_cs_selector, f::guest_cs_base, f::guest_cs_limit, f::guest_cs_access_rights};
const segment ss{"ss", f::guest_ss_selector, f::guest_ss_base, f::guest_ss_limit, f::guest_ss_access_rights};
const segment ds{"ds", f::guest_ds_selector, f::guest_ds_base, f::guest_ds_limit, f::guest_ds_access_rights};
const segment es{"es", f::guest_es_selector, f::guest_es_base, f::guest_es_limit, f::guest_es_access_rights};
const segment fs{"fs", f::guest_fs_selector, f::guest_fs_base, f::guest_fs_limit, f::guest_fs_access_rights};
const segment gs{"gs", f::guest_gs_selector, f::guest_gs_base, f::guest_gs_limit, f::guest_gs_access_rights};
const segment code_and_data[] = {cs, ss, ds, es, fs, gs};
const segment data[] = {ds, es, fs, gs};

constexpr u64 unusable = 0x1'0000;

// A flat, usable segment where the minimal VMCS has an unusable one.
change flat(const segment& s) {
  return all(set(s.limit, 0xFFFF'FFFF), set(s.rights, s.name == cs.name ? 0xA09B : 0xC093));
}

void add_canonical(std::vector<entry_case>& cases, const char* rule, const std::string& label, const change& prepare,
                   field where) {
  cases.push_back(pair(rule, label + "_lower_half", prepare, set(where, canonical_end - 1), set(where, canonical_end)));
  cases.push_back(
      pair(rule, label + "_upper_half", prepare, set(where, ~u64{0} << 56), set(where, (~u64{0} << 56) - 1)));
}

void add_selectors(std::vector<entry_case>& c) {
  c.push_back(pair("guest TR selector: TI", "tr_ti", nothing(), set(f::guest_tr_selector, 0xFFFB),
                   set(f::guest_tr_selector, 4)));
  const change ldt = all(set(f::guest_ldtr_access_rights, 0x82), set(f::guest_ldtr_limit, 0));
  c.push_back(pair("guest LDTR selector: TI", "ldtr_ti", ldt, set(f::guest_ldtr_selector, 0xFFFB),
                   set(f::guest_ldtr_selector, 4)));
  c.push_back(pair("guest LDTR selector: TI", "ldtr_ti_counts_when_usable",
                   all(set(f::guest_ldtr_selector, 4), set(f::guest_ldtr_limit, 0)), nothing(),
                   set(f::guest_ldtr_access_rights, 0x82)));
  c.push_back(pair("guest SS.RPL equals CS.RPL", "rpl", nothing(), set(f::guest_cs_selector, 0x10),
                   set(f::guest_cs_selector, 0x13)));
  c.push_back(pair("guest SS.RPL equals CS.RPL", "rpl_free_for_an_unrestricted_guest",
                   all(unrestricted_on(), set(f::guest_cs_selector, 0x13)), nothing(),
                   off(control_word::secondary, secondary::unrestricted_guest)));
}

void add_bases(std::vector<entry_case>& c) {
  for (const segment& s : code_and_data) {
    const u64 paragraph = 16;
    c.push_back(pair("virtual-8086 bases", s.name + std::string{"_v86_base"}, guest_v86(), nothing(),
                     [=](entry_bench& b) { b.set(s.base, b.of(s.base) + paragraph); }));
    c.push_back(pair("virtual-8086 bases", s.name + std::string{"_v86_selector"}, guest_v86(), nothing(),
                     [=](entry_bench& b) { b.set(s.selector, b.of(s.selector) + 1); }));
    c.push_back(
        pair("virtual-8086 limits", s.name + std::string{"_v86_limit"}, guest_v86(), nothing(), set(s.limit, 0xFFFE)));
    c.push_back(pair("virtual-8086 limits", s.name + std::string{"_v86_limit_high"}, guest_v86(), nothing(),
                     set(s.limit, 0x1'FFFF)));
    c.push_back(pair("virtual-8086 access rights", s.name + std::string{"_v86_rights"}, guest_v86(), nothing(),
                     set(s.rights, 0x93)));
    c.push_back(pair("virtual-8086 access rights", s.name + std::string{"_v86_unusable"}, guest_v86(), nothing(),
                     flip(s.rights, unusable)));
  }
  for (const segment& s : {fs, gs})
    add_canonical(c, "guest TR, FS and GS bases", s.name + std::string{"_base_even_if_unusable"}, nothing(), s.base);
  add_canonical(c, "guest TR, FS and GS bases", "tr_base", nothing(), f::guest_tr_base);
  const change ldt = all(set(f::guest_ldtr_access_rights, 0x82), set(f::guest_ldtr_limit, 0));
  add_canonical(c, "guest LDTR base", "ldtr_base", ldt, f::guest_ldtr_base);
  c.push_back(pair("guest LDTR base", "ldtr_base_counts_when_usable",
                   all(set(f::guest_ldtr_base, canonical_end), set(f::guest_ldtr_limit, 0)), nothing(),
                   set(f::guest_ldtr_access_rights, 0x82)));
  c.push_back(pair("guest CS base", "cs_base", nothing(), set(f::guest_cs_base, 0xFFFF'FFFF),
                   set(f::guest_cs_base, u64{1} << 32)));
  for (const segment& s : {ss, ds, es}) {
    c.push_back(pair("guest SS, DS and ES bases", s.name + std::string{"_base"}, flat(s), set(s.base, 0xFFFF'FFFF),
                     set(s.base, u64{1} << 32)));
    c.push_back(pair("guest SS, DS and ES bases", s.name + std::string{"_base_counts_when_usable"},
                     all(flat(s), set(s.base, ~u64{0}), flip(s.rights, unusable)), nothing(),
                     flip(s.rights, unusable)));
  }
}

void add_types(std::vector<entry_case>& c) {
  for (const auto& [good, bad] : {std::pair{9, 8}, {11, 10}, {13, 12}, {15, 14}, {11, 3}, {11, 1}, {9, 0}, {15, 7}})
    c.push_back(pair("guest CS type", "cs_type_" + std::to_string(good) + "_and_" + std::to_string(bad), nothing(),
                     set(cs.rights, 0xA090 | static_cast<u64>(good)), set(cs.rights, 0xA090 | static_cast<u64>(bad))));
  c.push_back(pair("guest CS type", "cs_type_3_of_an_unrestricted_guest",
                   all(unrestricted_on(), set(cs.rights, 0xA093)), nothing(),
                   off(control_word::secondary, secondary::unrestricted_guest)));
  for (const auto& [good, bad] : {std::pair{3, 2}, {7, 6}, {3, 1}, {7, 5}, {7, 15}, {3, 11}})
    c.push_back(pair("guest SS type", "ss_type_" + std::to_string(good) + "_and_" + std::to_string(bad), nothing(),
                     set(ss.rights, 0xC090 | static_cast<u64>(good)), set(ss.rights, 0xC090 | static_cast<u64>(bad))));
  c.push_back(pair("guest SS type", "ss_type_counts_when_usable", set(ss.rights, unusable | 0xC092), nothing(),
                   flip(ss.rights, unusable)));
  for (const segment& s : data) {
    for (const auto& [good, bad] :
         {std::pair{1, 0}, {3, 2}, {5, 4}, {7, 6}, {11, 10}, {11, 9}, {15, 13}, {15, 14}, {1, 8}})
      c.push_back(pair("guest DS, ES, FS and GS types",
                       s.name + ("_type_" + std::to_string(good) + "_and_" + std::to_string(bad)), flat(s),
                       set(s.rights, 0xC090 | static_cast<u64>(good)), set(s.rights, 0xC090 | static_cast<u64>(bad))));
    c.push_back(pair("guest DS, ES, FS and GS types", s.name + std::string{"_type_counts_when_usable"},
                     all(flat(s), set(s.rights, unusable | 0xC092)), nothing(), flip(s.rights, unusable)));
  }
}

void add_rights(std::vector<entry_case>& c) {
  for (const segment& s : code_and_data) {
    const std::string name = s.name;
    c.push_back(pair("guest segments: S", name + "_s", flat(s), nothing(), flip(s.rights, 0x10)));
    c.push_back(pair("guest segments: P", name + "_p", flat(s), nothing(), flip(s.rights, 0x80)));
    for (const unsigned bit : {8u, 11u, 17u, 31u})
      c.push_back(pair("guest segments: reserved bits", name + "_bit_" + std::to_string(bit), flat(s),
                       flip(s.rights, 0x1000), flip(s.rights, u64{1} << bit)));
    c.push_back(pair("guest segments: granularity", name + "_bytes_up_to_fffff", all(flat(s), flip(s.rights, 0x8000)),
                     set(s.limit, 0xF'FFFF), set(s.limit, 0x10'0FFF)));
    c.push_back(pair("guest segments: granularity", name + "_pages_end_in_fff", flat(s), set(s.limit, 0xFFF),
                     set(s.limit, 0xFFE)));
    c.push_back(pair("guest segments: granularity", name + "_pages_end_in_fff_up_to_the_top", flat(s),
                     set(s.limit, 0xFFFF'FFFF), set(s.limit, 0xFFFF'F7FF)));
    if (s.name == cs.name) continue;
    c.push_back(pair("guest segments: S", name + "_s_counts_when_usable", all(flat(s), flip(s.rights, 0x10 | unusable)),
                     nothing(), flip(s.rights, unusable)));
    c.push_back(pair("guest segments: P", name + "_p_counts_when_usable", all(flat(s), flip(s.rights, 0x80 | unusable)),
                     nothing(), flip(s.rights, unusable)));
    c.push_back(pair("guest segments: reserved bits", name + "_reserved_counts_when_usable",
                     all(flat(s), flip(s.rights, 0x100 | unusable)), nothing(), flip(s.rights, unusable)));
    c.push_back(pair("guest segments: granularity", name + "_granularity_counts_when_usable",
                     all(flat(s), set(s.limit, 0), flip(s.rights, unusable)), nothing(), flip(s.rights, unusable)));
  }
  // CS is always loaded: "unusable" does not save it.
  c.push_back(
      pair("guest segments: P", "cs_p_even_if_unusable", flip(cs.rights, unusable), nothing(), flip(cs.rights, 0x80)));
  c.push_back(
      pair("guest segments: S", "cs_s_even_if_unusable", flip(cs.rights, unusable), nothing(), flip(cs.rights, 0x10)));
  c.push_back(pair("guest segments: granularity", "cs_granularity_even_if_unusable", flip(cs.rights, unusable),
                   nothing(), set(cs.limit, 0)));
  c.push_back(pair("guest CS.D in 64-bit mode", "l_and_d", nothing(), nothing(), flip(cs.rights, 0x4000)));
  c.push_back(pair("guest CS.D in 64-bit mode", "d_alone_is_compatibility_mode",
                   all(set(cs.rights, 0xC09B), set(f::guest_rip, 0x1000)), nothing(), flip(cs.rights, 0x2000)));
  c.push_back(pair("guest CS.D in 64-bit mode", "l_and_d_of_a_32_bit_guest", all(guest_32(), set(cs.rights, 0xE09B)),
                   nothing(), entry_on(vm_entry_control::ia_32e_mode_guest)));
}

change privilege(u64 level) {
  return all(set(ss.selector, 0x18 | level), set(cs.selector, 0x10 | level), set(ss.rights, 0xC093 | level << 5),
             set(cs.rights, 0xA09B | level << 5));
}

void add_privilege(std::vector<entry_case>& c) {
  const auto cs_rights = [](u64 type, u64 dpl) { return set(cs.rights, 0xA090 | type | dpl << 5); };
  for (const u64 type : {9, 11})
    for (const u64 dpl : {0, 1, 3})
      c.push_back(pair("guest CS.DPL", "cs_type_" + std::to_string(type) + "_dpl_" + std::to_string(dpl) + "_at_cpl_2",
                       privilege(2), cs_rights(type, 2), cs_rights(type, dpl)));
  for (const u64 type : {13, 15}) {
    c.push_back(pair("guest CS.DPL", "conforming_" + std::to_string(type) + "_at_cpl_2", privilege(2),
                     cs_rights(type, 2), cs_rights(type, 3)));
    c.push_back(pair("guest CS.DPL", "conforming_" + std::to_string(type) + "_below_cpl", privilege(2),
                     cs_rights(type, 0), cs_rights(type, 3)));
  }
  c.push_back(pair("guest CS.DPL", "type_3_has_dpl_0", all(unrestricted_on(), set(cs.rights, 0xA093)), nothing(),
                   cs_rights(3, 1)));
  for (const u64 level : {0, 1, 2, 3})
    c.push_back(pair("guest SS.DPL equals RPL", "ss_rpl_" + std::to_string(level), privilege(level), nothing(),
                     all(set(ss.selector, 0x18 | (level ^ 1)), set(cs.selector, 0x10 | (level ^ 1)))));
  c.push_back(pair("guest SS.DPL equals RPL", "ss_dpl_even_if_unusable",
                   all(privilege(3), set(ss.rights, unusable | 3u << 5)), nothing(),
                   all(set(ss.selector, 0x1A), set(cs.selector, 0x12))));
  c.push_back(pair("guest SS.DPL equals RPL", "ss_rpl_free_for_an_unrestricted_guest",
                   all(unrestricted_on(), privilege(3), set(ss.selector, 0x18), set(cs.selector, 0x10)), nothing(),
                   off(control_word::secondary, secondary::unrestricted_guest)));
  c.push_back(pair("guest SS.DPL is 0 with a data CS or in real mode", "data_cs",
                   all(unrestricted_on(), set(cs.rights, 0xA093)), nothing(), set(ss.rights, 0xC0B3)));
  c.push_back(pair("guest SS.DPL is 0 with a data CS or in real mode", "real_mode",
                   all(guest_32(), unrestricted_on(), set(f::guest_cr0, 0x20), set(cs.rights, 0xC09B)), nothing(),
                   all(set(ss.rights, 0xC0B3), set(cs.rights, 0xC0BB))));
  const auto no_limit = [](const segment& s) { return all(flat(s), set(s.selector, 3)); };
  for (const segment& s : data) {
    for (const auto& [good, bad] : {std::pair{3, 2}, {3, 0}})
      c.push_back(pair("guest DS, ES, FS and GS DPLs", s.name + ("_dpl_" + std::to_string(bad)), no_limit(s),
                       set(s.rights, 0xC093 | static_cast<u64>(good) << 5),
                       set(s.rights, 0xC093 | static_cast<u64>(bad) << 5)));
    c.push_back(pair("guest DS, ES, FS and GS DPLs", s.name + std::string{"_readable_code_11"}, no_limit(s),
                     set(s.rights, 0xC09F), set(s.rights, 0xC09B)));
    c.push_back(pair("guest DS, ES, FS and GS DPLs", s.name + std::string{"_dpl_counts_when_usable"},
                     all(no_limit(s), set(s.rights, unusable | 0xC093)), nothing(), flip(s.rights, unusable)));
    c.push_back(pair("guest DS, ES, FS and GS DPLs", s.name + std::string{"_dpl_free_for_an_unrestricted_guest"},
                     all(no_limit(s), unrestricted_on()), nothing(),
                     off(control_word::secondary, secondary::unrestricted_guest)));
  }
}

void add_system(std::vector<entry_case>& c) {
  const field tr = f::guest_tr_access_rights;
  const field ldtr = f::guest_ldtr_access_rights;
  for (const u64 type : {0, 1, 2, 3, 7, 9, 10, 15})
    c.push_back(
        pair("guest TR type", "tr_type_" + std::to_string(type), nothing(), set(tr, 0x8B), set(tr, 0x80 | type)));
  c.push_back(pair("guest TR type", "busy_16_bit_tss_of_a_32_bit_guest", all(guest_32(), set(tr, 0x83)), nothing(),
                   entry_on(vm_entry_control::ia_32e_mode_guest)));
  c.push_back(pair("guest TR: S", "tr_s", nothing(), nothing(), set(tr, 0x9B)));
  c.push_back(pair("guest TR: P", "tr_p", nothing(), nothing(), set(tr, 0x0B)));
  for (const unsigned bit : {8u, 11u, 17u, 31u}) {
    c.push_back(pair("guest TR: reserved bits", "tr_bit_" + std::to_string(bit), nothing(), set(tr, 0x708B),
                     set(tr, 0x8B | u64{1} << bit)));
    c.push_back(pair("guest LDTR: reserved bits", "ldtr_bit_" + std::to_string(bit), set(f::guest_ldtr_limit, 0),
                     set(ldtr, 0x7082), set(ldtr, 0x82 | u64{1} << bit)));
  }
  c.push_back(pair("guest TR: granularity", "tr_bytes", nothing(), set(f::guest_tr_limit, 0xF'FFFF),
                   set(f::guest_tr_limit, 0x10'0FFF)));
  c.push_back(pair("guest TR: granularity", "tr_pages", all(set(tr, 0x808B), set(f::guest_tr_limit, 0xFFF)), nothing(),
                   set(f::guest_tr_limit, 0xFFE)));
  c.push_back(pair("guest TR is usable", "tr_unusable", nothing(), nothing(), flip(tr, unusable)));
  const change ldt = all(set(ldtr, 0x82), set(f::guest_ldtr_limit, 0xFF));
  for (const u64 type : {0, 1, 3, 6, 10})
    c.push_back(pair("guest LDTR type", "ldtr_type_" + std::to_string(type), ldt, nothing(), set(ldtr, 0x80 | type)));
  c.push_back(pair("guest LDTR: S", "ldtr_s", ldt, nothing(), set(ldtr, 0x92)));
  c.push_back(pair("guest LDTR: P", "ldtr_p", ldt, nothing(), set(ldtr, 0x02)));
  c.push_back(pair("guest LDTR: granularity", "ldtr_bytes", ldt, set(f::guest_ldtr_limit, 0xF'FFFF),
                   set(f::guest_ldtr_limit, 0x10'0FFF)));
  c.push_back(pair("guest LDTR: granularity", "ldtr_pages", all(set(ldtr, 0x8082), set(f::guest_ldtr_limit, 0xFFF)),
                   nothing(), set(f::guest_ldtr_limit, 0xFFE)));
  // An unusable LDTR may hold anything.
  for (const auto& [rule, rights] : {std::pair<const char*, u64>{"guest LDTR type", 0x83},
                                     {"guest LDTR: S", 0x92},
                                     {"guest LDTR: P", 0x02},
                                     {"guest LDTR: reserved bits", 0x182}})
    c.push_back(pair(rule, "counts_when_usable_" + std::to_string(rights), all(ldt, set(ldtr, rights | unusable)),
                     nothing(), set(ldtr, rights)));
  c.push_back(pair("guest LDTR: granularity", "ldtr_granularity_counts_when_usable",
                   all(set(f::guest_ldtr_limit, 0xFFE), set(ldtr, 0x8082 | unusable)), nothing(), set(ldtr, 0x8082)));
  for (const field base : {f::guest_gdtr_base, f::guest_idtr_base})
    add_canonical(c, "guest GDTR and IDTR bases", name_of(base), nothing(), base);
  for (const field limit : {f::guest_gdtr_limit, f::guest_idtr_limit})
    c.push_back(
        pair("guest GDTR and IDTR limits", name_of(limit), nothing(), set(limit, 0xFFFF), set(limit, 0x1'0000)));
}

}  // namespace

std::vector<entry_case> segment_cases() {
  std::vector<entry_case> c;
  add_selectors(c);
  add_bases(c);
  add_types(c);
  add_rights(c);
  add_privilege(c);
  add_system(c);
  return c;
}

}  // namespace vmxsys::vmx::entry_testing
