#include <algorithm>
#include <gtest/gtest.h>
#include <vector>

#include "entry_bench.hpp"

// Access rights once more, said the other way round: instead of rules that forbid, the list of all values that are
// allowed, compared with the rules over every value of bits 16:0. SDM Vol. 3C §29.3.1.2.
namespace vmxsys::vmx::entry_testing {
namespace {

constexpr u64 values = 0x2'0000;
constexpr u64 unusable = 0x1'0000;

struct setting {
  bool unrestricted;
  bool ia_32e;
  bool protected_mode;
  u64 ss_dpl;
  u64 rpl;    // of the segment itself
  u64 limit;  // of the segment itself
};

entry_bench bench_of(const setting& s) {
  entry_bench b;
  if (!s.ia_32e) guest_32()(b);
  if (s.unrestricted) unrestricted_on()(b);
  if (!s.protected_mode) b.set(f::guest_cr0, 0x20);
  b.set(f::guest_ss_access_rights, 0xC093 | s.ss_dpl << 5);
  b.set(f::guest_ss_selector, 0x18 | s.ss_dpl);
  b.set(f::guest_cs_selector, 0x10 | s.ss_dpl);
  b.set(f::guest_cs_access_rights, (s.ia_32e ? 0xA09Bu : 0xC09Bu) | s.ss_dpl << 5);
  return b;
}

// Every combination of the bits that are free (AVL, and L and D/B unless told otherwise) and of G as the limit allows.
template <class Add>
void with_free_bits(u64 base, u64 limit, u64 free_bits, Add add) {
  const bool bytes_fit = limit < 0x10'0000;
  const bool pages_fit = (limit & 0xFFF) == 0xFFF;
  for (u64 bits = 0; bits < 0x1'0000; bits += 0x1000) {
    if ((bits & 0x7000 & ~free_bits) != 0) continue;
    if ((bits & 0x8000) != 0 ? !pages_fit : !bytes_fit) continue;
    add(base | bits);
  }
}

std::vector<bool> allowed_cs(const setting& s) {
  std::vector<bool> allowed(values);
  const auto add = [&](u64 type, u64 dpl) {
    for (const u64 also : {u64{0}, unusable})
      with_free_bits(0x90 | type | dpl << 5 | also, s.limit, 0x7000, [&](u64 value) {
        if (!(s.ia_32e && (value & 0x6000) == 0x6000)) allowed[value] = true;
      });
  };
  if (!s.protected_mode && s.ss_dpl != 0) return allowed;
  for (const u64 type : {9, 11}) add(type, s.ss_dpl);
  for (const u64 type : {13, 15})
    for (u64 dpl = 0; dpl <= s.ss_dpl; ++dpl) add(type, dpl);
  if (s.unrestricted && s.ss_dpl == 0) add(3, 0);
  return allowed;
}

std::vector<bool> allowed_ss(const setting& s) {
  std::vector<bool> allowed(values);
  for (u64 dpl = 0; dpl < 4; ++dpl) {
    if (!s.unrestricted && dpl != s.ss_dpl) continue;  // the selector's RPL
    if (!s.protected_mode && dpl != 0) continue;
    if (dpl != s.ss_dpl) continue;  // CS is non-conforming, with that DPL
    for (const u64 type : {3, 7})
      with_free_bits(0x90 | type | dpl << 5, s.limit, 0x7000, [&](u64 value) { allowed[value] = true; });
    for (u64 value = unusable; value < values; ++value)
      if ((value >> 5 & 3) == dpl) allowed[value] = true;
  }
  return allowed;
}

std::vector<bool> allowed_data(const setting& s) {
  std::vector<bool> allowed(values);
  std::fill(allowed.begin() + unusable, allowed.end(), true);
  for (const u64 type : {1, 3, 5, 7, 11, 15})
    for (u64 dpl = 0; dpl < 4; ++dpl)
      if (s.unrestricted || type == 15 || dpl >= s.rpl)
        with_free_bits(0x90 | type | dpl << 5, s.limit, 0x7000, [&](u64 value) { allowed[value] = true; });
  return allowed;
}

std::vector<bool> allowed_system(const setting& s, bool tr) {
  std::vector<bool> allowed(values);
  if (!tr) std::fill(allowed.begin() + unusable, allowed.end(), true);
  std::vector<u64> types{2};
  if (tr) types = s.ia_32e ? std::vector<u64>{11} : std::vector<u64>{3, 11};
  for (const u64 type : types)
    for (u64 dpl = 0; dpl < 4; ++dpl)
      with_free_bits(0x80 | type | dpl << 5, s.limit, 0x7000, [&](u64 value) { allowed[value] = true; });
  return allowed;
}

// The segment rules that look at a field.
std::vector<const entry_check*> rules_about(field rights) {
  std::vector<const entry_check*> rules;
  for (const entry_check_group* group : entry_check_groups())
    for (const entry_check& row : *group)
      if (std::string{row.section} == "SDM Vol. 3C §29.3.1.2" &&
          std::find(row.reads.begin(), row.reads.end(), rights) != row.reads.end())
        rules.push_back(&row);
  return rules;
}

void compare(const setting& s, field selector, field limit, field rights, const std::vector<bool>& allowed) {
  entry_bench b = bench_of(s);
  b.set(selector, (b.of(selector) & ~u64{3}) | s.rpl);
  b.set(limit, s.limit);
  const entry_context context = b.context();
  const auto rules = rules_about(rights);
  ASSERT_GE(rules.size(), 5u);
  unsigned legal = 0;
  for (u64 value = 0; value < values; ++value) {
    b.set(rights, value);
    const bool holds =
        std::all_of(rules.begin(), rules.end(), [&](const entry_check* row) { return row->holds(b.v, context); });
    ASSERT_EQ(holds, allowed[value]) << name_of(rights) << " = " << value << ", unrestricted " << s.unrestricted
                                     << ", IA-32e " << s.ia_32e << ", PE " << s.protected_mode << ", SS.DPL "
                                     << s.ss_dpl << ", RPL " << s.rpl << ", limit " << s.limit;
    legal += holds ? 1 : 0;
  }
  EXPECT_EQ(legal, static_cast<unsigned>(std::count(allowed.begin(), allowed.end(), true)));
}

constexpr u64 limits[] = {0xFFF, 0xFFFF'FFFF, 0xF'FFFE};

TEST(vmx_entry_segment_rights, cs_over_all_values) {
  for (const setting& s : {setting{false, true, true, 0, 0, limits[0]},
                           {false, true, true, 3, 3, limits[1]},
                           {false, false, true, 2, 2, limits[2]},
                           {true, true, true, 0, 1, limits[1]},
                           {true, false, true, 1, 3, limits[0]},
                           {true, false, false, 0, 0, limits[0]}})
    compare(s, f::guest_cs_selector, f::guest_cs_limit, f::guest_cs_access_rights, allowed_cs(s));
}

TEST(vmx_entry_segment_rights, ss_over_all_values) {
  for (const setting& s : {setting{false, true, true, 0, 0, limits[0]},
                           {false, true, true, 3, 3, limits[1]},
                           {false, false, true, 1, 1, limits[2]},
                           {true, true, true, 2, 0, limits[1]},
                           {true, false, false, 0, 3, limits[0]}})
    compare(s, f::guest_ss_selector, f::guest_ss_limit, f::guest_ss_access_rights, allowed_ss(s));
}

TEST(vmx_entry_segment_rights, data_segments_over_all_values) {
  for (const setting& s : {setting{false, true, true, 0, 0, limits[0]},
                           {false, true, true, 3, 2, limits[1]},
                           {false, false, true, 0, 3, limits[2]},
                           {true, true, true, 0, 3, limits[0]}}) {
    compare(s, f::guest_ds_selector, f::guest_ds_limit, f::guest_ds_access_rights, allowed_data(s));
    compare(s, f::guest_gs_selector, f::guest_gs_limit, f::guest_gs_access_rights, allowed_data(s));
  }
}

TEST(vmx_entry_segment_rights, tr_and_ldtr_over_all_values) {
  for (const setting& s : {setting{false, true, true, 0, 0, limits[0]},
                           {false, false, true, 3, 3, limits[1]},
                           {true, false, false, 0, 0, limits[2]}}) {
    compare(s, f::guest_tr_selector, f::guest_tr_limit, f::guest_tr_access_rights, allowed_system(s, true));
    compare(s, f::guest_ldtr_selector, f::guest_ldtr_limit, f::guest_ldtr_access_rights, allowed_system(s, false));
  }
}

}  // namespace
}  // namespace vmxsys::vmx::entry_testing
