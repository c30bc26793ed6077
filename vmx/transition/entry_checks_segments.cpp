#include <vmxsys/vmx/vmcs/processor_state.hpp>

#include "detail/entry_checks.hpp"

// SDM Vol. 3C §29.3.1.2 and §29.3.1.3: guest segment and descriptor-table registers.
namespace vmxsys::vmx::entry_checks {

namespace {

constexpr const char* section = "SDM Vol. 3C §29.3.1.2";
constexpr const char* tables = "SDM Vol. 3C §29.3.1.3";

constexpr entry_check row(const char* name, field_list fields, rule holds) {
  return guest(name, section, once, fields, holds);
}

struct segment_fields {
  field selector, base, limit, rights;
};
constexpr segment_fields es{field::guest_es_selector, field::guest_es_base, field::guest_es_limit,
                            field::guest_es_access_rights};
constexpr segment_fields cs{field::guest_cs_selector, field::guest_cs_base, field::guest_cs_limit,
                            field::guest_cs_access_rights};
constexpr segment_fields ss{field::guest_ss_selector, field::guest_ss_base, field::guest_ss_limit,
                            field::guest_ss_access_rights};
constexpr segment_fields ds{field::guest_ds_selector, field::guest_ds_base, field::guest_ds_limit,
                            field::guest_ds_access_rights};
constexpr segment_fields fs{field::guest_fs_selector, field::guest_fs_base, field::guest_fs_limit,
                            field::guest_fs_access_rights};
constexpr segment_fields gs{field::guest_gs_selector, field::guest_gs_base, field::guest_gs_limit,
                            field::guest_gs_access_rights};
constexpr segment_fields ldtr{field::guest_ldtr_selector, field::guest_ldtr_base, field::guest_ldtr_limit,
                              field::guest_ldtr_access_rights};
constexpr segment_fields tr{field::guest_tr_selector, field::guest_tr_base, field::guest_tr_limit,
                            field::guest_tr_access_rights};
constexpr segment_fields code_and_data[] = {cs, ss, ds, es, fs, gs};
constexpr segment_fields data[] = {ds, es, fs, gs};

constexpr field rflags = field::guest_rflags;  // of which these rows see VM only

constexpr u64 selector_ti = 1u << 2;
constexpr u64 read_write_data = 3;  // type: read/write, accessed

u64 rights(V v, const segment_fields& s) { return v.read(s.rights); }
u64 type_of_segment(V v, const segment_fields& s) { return rights(v, s) & access_rights::type; }
u64 dpl(V v, const segment_fields& s) { return rights(v, s) >> 5 & 3; }
u64 rpl(V v, const segment_fields& s) { return v.read(s.selector) & 3; }
bool usable(V v, const segment_fields& s) { return (rights(v, s) & access_rights::unusable) == 0; }

bool granularity_ok(V v, const segment_fields& s) {
  const u64 limit = v.read(s.limit);
  const bool pages = (rights(v, s) & access_rights::granularity) != 0;
  if ((limit & 0xFFF) != 0xFFF && pages) return false;
  return limit >> 20 == 0 || pages;
}

// CS and the usable ones of SS, DS, ES, FS, GS, outside virtual-8086 mode.
template <class Test>
bool all_code_and_data(V v, Test test) {
  if (v86(v)) return true;
  for (const segment_fields& s : code_and_data)
    if ((s.selector == cs.selector || usable(v, s)) && !test(s)) return false;
  return true;
}

template <class Test>
bool all_data(V v, Test test) {
  if (v86(v)) return true;
  for (const segment_fields& s : data)
    if (usable(v, s) && !test(s)) return false;
  return true;
}

template <class Test>
bool all_in_v86(V v, Test test) {
  if (!v86(v)) return true;
  for (const segment_fields& s : code_and_data)
    if (!test(s)) return false;
  return true;
}

bool cs_type_ok(V v, C) {
  if (v86(v)) return true;
  const u64 type = type_of_segment(v, cs);
  return type == 9 || type == 11 || type == 13 || type == 15 || (type == read_write_data && unrestricted(v));
}

bool cs_dpl_ok(V v, C) {
  if (v86(v)) return true;
  const u64 type = type_of_segment(v, cs);
  if (type == read_write_data) return dpl(v, cs) == 0;
  return type < 12 ? dpl(v, cs) == dpl(v, ss) : dpl(v, cs) <= dpl(v, ss);
}

bool ss_dpl_is_0_where_it_must(V v, C) {
  const bool must = type_of_segment(v, cs) == read_write_data || !v.any(field::guest_cr0, cr0_pe);
  return v86(v) || !must || dpl(v, ss) == 0;
}

bool data_bases_ok(V v, C) {
  for (const segment_fields& s : {ss, ds, es})
    if (usable(v, s) && !upper_half_zero(v, s.base)) return false;
  return true;
}

constexpr field_list all_rights = reads<rflags, cs.rights, ss.rights, ds.rights, es.rights, fs.rights, gs.rights>;

constexpr entry_check rows[] = {
    row("guest TR selector: TI", reads<tr.selector>, [](V v, C) { return !v.any(tr.selector, selector_ti); }),
    row("guest LDTR selector: TI", reads<ldtr.rights, ldtr.selector>,
        [](V v, C) { return !usable(v, ldtr) || !v.any(ldtr.selector, selector_ti); }),
    row("guest SS.RPL equals CS.RPL", reads<rflags, primary_word, secondary_word, ss.selector, cs.selector>,
        [](V v, C) { return v86(v) || unrestricted(v) || rpl(v, ss) == rpl(v, cs); }),

    row("virtual-8086 bases",
        reads<rflags, cs.selector, ss.selector, ds.selector, es.selector, fs.selector, gs.selector, cs.base, ss.base,
              ds.base, es.base, fs.base, gs.base>,
        [](V v, C) {
          return all_in_v86(v, [&](const segment_fields& s) { return v.read(s.base) == v.read(s.selector) << 4; });
        }),
    row("guest TR, FS and GS bases", reads<tr.base, fs.base, gs.base>,
        [](V v, C c) { return canonical(v, tr.base, c) && canonical(v, fs.base, c) && canonical(v, gs.base, c); }),
    row("guest LDTR base", reads<ldtr.rights, ldtr.base>,
        [](V v, C c) { return !usable(v, ldtr) || canonical(v, ldtr.base, c); }),
    row("guest CS base", reads<cs.base>, [](V v, C) { return upper_half_zero(v, cs.base); }),
    row("guest SS, DS and ES bases", reads<ss.rights, ds.rights, es.rights, ss.base, ds.base, es.base>, data_bases_ok),

    row("virtual-8086 limits", reads<rflags, cs.limit, ss.limit, ds.limit, es.limit, fs.limit, gs.limit>,
        [](V v, C) { return all_in_v86(v, [&](const segment_fields& s) { return v.read(s.limit) == 0xFFFF; }); }),
    row("virtual-8086 access rights", all_rights,
        [](V v, C) { return all_in_v86(v, [&](const segment_fields& s) { return rights(v, s) == 0xF3; }); }),

    row("guest CS type", reads<rflags, primary_word, secondary_word, cs.rights>, cs_type_ok),
    row("guest SS type", reads<rflags, ss.rights>,
        [](V v, C) {
          const u64 type = type_of_segment(v, ss);
          return v86(v) || !usable(v, ss) || type == 3 || type == 7;
        }),
    row("guest DS, ES, FS and GS types", reads<rflags, ds.rights, es.rights, fs.rights, gs.rights>,
        [](V v, C) {
          return all_data(v, [&](const segment_fields& s) {
            const u64 type = type_of_segment(v, s);
            return (type & 1) != 0 && ((type & 8) == 0 || (type & 2) != 0);  // accessed; code is readable
          });
        }),
    row("guest segments: S", all_rights,
        [](V v, C) {
          return all_code_and_data(
              v, [&](const segment_fields& s) { return (rights(v, s) & access_rights::code_or_data) != 0; });
        }),
    row("guest CS.DPL", reads<rflags, cs.rights, ss.rights>, cs_dpl_ok),
    row("guest SS.DPL equals RPL", reads<rflags, primary_word, secondary_word, ss.rights, ss.selector>,
        [](V v, C) { return v86(v) || unrestricted(v) || dpl(v, ss) == rpl(v, ss); }),
    row("guest SS.DPL is 0 with a data CS or in real mode", reads<rflags, cs.rights, ss.rights, field::guest_cr0>,
        ss_dpl_is_0_where_it_must),
    row("guest DS, ES, FS and GS DPLs",
        reads<rflags, primary_word, secondary_word, ds.rights, es.rights, fs.rights, gs.rights, ds.selector,
              es.selector, fs.selector, gs.selector>,
        [](V v, C) {
          return unrestricted(v) || all_data(v, [&](const segment_fields& s) {
                   constexpr u64 last_non_conforming = 11;
                   return type_of_segment(v, s) > last_non_conforming || dpl(v, s) >= rpl(v, s);
                 });
        }),
    row("guest segments: P", all_rights,
        [](V v, C) {
          return all_code_and_data(
              v, [&](const segment_fields& s) { return (rights(v, s) & access_rights::present) != 0; });
        }),
    row("guest segments: reserved bits", all_rights,
        [](V v, C) {
          return all_code_and_data(
              v, [&](const segment_fields& s) { return (rights(v, s) & access_rights::reserved) == 0; });
        }),
    row("guest CS.D in 64-bit mode", reads<rflags, entry_controls_word, cs.rights>,
        [](V v, C) {
          return v86(v) || !ia_32e_guest(v) || (rights(v, cs) & access_rights::long_mode) == 0 ||
                 (rights(v, cs) & access_rights::default_big) == 0;
        }),
    row("guest segments: granularity",
        reads<rflags, cs.rights, ss.rights, ds.rights, es.rights, fs.rights, gs.rights, cs.limit, ss.limit, ds.limit,
              es.limit, fs.limit, gs.limit>,
        [](V v, C) { return all_code_and_data(v, [&](const segment_fields& s) { return granularity_ok(v, s); }); }),

    row("guest TR type", reads<entry_controls_word, tr.rights>,
        [](V v, C) {
          constexpr u64 busy_16_bit = 3;
          constexpr u64 busy = 11;
          const u64 type = type_of_segment(v, tr);
          return type == busy || (type == busy_16_bit && !ia_32e_guest(v));
        }),
    row("guest TR: S", reads<tr.rights>, [](V v, C) { return (rights(v, tr) & access_rights::code_or_data) == 0; }),
    row("guest TR: P", reads<tr.rights>, [](V v, C) { return (rights(v, tr) & access_rights::present) != 0; }),
    row("guest TR: reserved bits", reads<tr.rights>,
        [](V v, C) { return (rights(v, tr) & access_rights::reserved) == 0; }),
    row("guest TR: granularity", reads<tr.rights, tr.limit>, [](V v, C) { return granularity_ok(v, tr); }),
    row("guest TR is usable", reads<tr.rights>, [](V v, C) { return usable(v, tr); }),

    row("guest LDTR type", reads<ldtr.rights>,
        [](V v, C) {
          constexpr u64 ldt = 2;
          return !usable(v, ldtr) || type_of_segment(v, ldtr) == ldt;
        }),
    row("guest LDTR: S", reads<ldtr.rights>,
        [](V v, C) { return !usable(v, ldtr) || (rights(v, ldtr) & access_rights::code_or_data) == 0; }),
    row("guest LDTR: P", reads<ldtr.rights>,
        [](V v, C) { return !usable(v, ldtr) || (rights(v, ldtr) & access_rights::present) != 0; }),
    row("guest LDTR: reserved bits", reads<ldtr.rights>,
        [](V v, C) { return !usable(v, ldtr) || (rights(v, ldtr) & access_rights::reserved) == 0; }),
    row("guest LDTR: granularity", reads<ldtr.rights, ldtr.limit>,
        [](V v, C) { return !usable(v, ldtr) || granularity_ok(v, ldtr); }),

    guest("guest GDTR and IDTR bases", tables, once, reads<field::guest_gdtr_base, field::guest_idtr_base>,
          [](V v, C c) { return canonical(v, field::guest_gdtr_base, c) && canonical(v, field::guest_idtr_base, c); }),
    guest(
        "guest GDTR and IDTR limits", tables, once, reads<field::guest_gdtr_limit, field::guest_idtr_limit>,
        [](V v, C) { return v.read(field::guest_gdtr_limit) <= 0xFFFF && v.read(field::guest_idtr_limit) <= 0xFFFF; }),
};

}  // namespace

const entry_check_group guest_segments = group<rows>("guest segment and descriptor-table registers");

}  // namespace vmxsys::vmx::entry_checks
