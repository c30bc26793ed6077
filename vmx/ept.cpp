#include <vmxsys/vmx/ept.hpp>
#include <vmxsys/vmx/non_root.hpp>

namespace vmxsys::vmx {

namespace {

using u64 = std::uint64_t;

constexpr u64 write_back = 6;
constexpr unsigned entry_bytes = 8;
constexpr unsigned max_levels = 5;

constexpr unsigned page_shift(unsigned level) { return 12 + 9 * (level - 1); }

bool maps_page(u64 entry, unsigned level) { return level == 1 || (level <= 3 && (entry & ept_entry::maps_page) != 0); }

// SDM Vol. 3C §31.3.3.1. The entry is present.
bool malformed(u64 entry, unsigned level, const capabilities& caps) {
  const u64 rights = entry & ept_entry::rights;
  if (rights == ept_entry::write || rights == (ept_entry::write | ept_entry::execute)) return true;
  if (rights == ept_entry::execute && !caps.ept_vpid_has(ept_vpid_cap::execute_only)) return true;

  u64 reserved = ept_entry::address & ~((u64{1} << caps.physical_address_width) - 1);
  if (maps_page(entry, level)) {
    if (level == 2 && !caps.ept_vpid_has(ept_vpid_cap::page_2m)) return true;
    if (level == 3 && !caps.ept_vpid_has(ept_vpid_cap::page_1g)) return true;
    const u64 type = (entry & ept_entry::memory_type) >> 3;
    if (type == 2 || type == 3 || type == 7) return true;
    reserved |= ((u64{1} << page_shift(level)) - 1) & ept_entry::address;
  } else {
    reserved |= ept_entry::memory_type | ept_entry::ignore_pat | ept_entry::maps_page;
  }
  return (entry & reserved) != 0;
}

struct effective_access {
  u64 wanted;         // in the format of an entry's rights
  u64 qualification;  // of a violation, without bits 5:3
  bool writes;
};

effective_access effect_of(const ept_access& a, bool flags, const capabilities& caps) {
  namespace q = ept_violation;
  const bool to_paging_structure = a.linear_address_valid && !a.final_translation;
  const bool counts_as_write = flags && to_paging_structure;
  effective_access e{};
  e.writes = a.write || counts_as_write;
  e.wanted = (a.read || counts_as_write ? ept_entry::read : 0) | (e.writes ? ept_entry::write : 0) |
             (a.fetch ? ept_entry::execute : 0);
  e.qualification = e.wanted;  // bits 2:0 have the same order
  if (a.linear_address_valid) {
    e.qualification |= q::linear_address_valid;
    if (a.final_translation) {
      e.qualification |= q::final_translation;
      if (caps.ept_vpid_has(ept_vpid_cap::advanced_exit_information))
        e.qualification |= (a.user_page ? q::user_page : 0) | (a.writable_page ? q::writable_page : 0) |
                           (a.execute_disable_page ? q::execute_disable_page : 0);
    }
  }
  e.qualification |= (a.nmi_unblocking ? q::nmi_unblocking : 0) | (a.shadow_stack ? q::shadow_stack : 0) |
                     (a.asynchronous ? q::asynchronous : 0);
  return e;
}

struct visited_entry {
  physical_address at;
  u64 value;
};

ept_result violation(ept_result r, const effective_access& e, u64 rights) {
  r.outcome = ept_outcome::violation;
  r.qualification = e.qualification | rights << ept_violation::rights_shift;
  return r;
}

bool log_must_have_room(log_full_test test, bool sets_any_flag, bool sets_dirty) {
  switch (test) {
    case log_full_test::setting_dirty:
      return sets_dirty;
    case log_full_test::setting_any_flag:
      return sets_any_flag;
    case log_full_test::every_access:
      return true;
  }
  return true;
}

}  // namespace

bool eptp_legal(std::uint64_t eptp, const capabilities& caps) noexcept {
  const u64 type = eptp & eptp_bits::memory_type;
  const u64 length = ((eptp & eptp_bits::walk_length) >> 3) + 1;
  const bool type_ok = (type == 0 && caps.ept_vpid_has(ept_vpid_cap::uncacheable)) ||
                       (type == write_back && caps.ept_vpid_has(ept_vpid_cap::write_back));
  const bool length_ok = (length == 4 && caps.ept_vpid_has(ept_vpid_cap::walk_length_4)) ||
                         (length == 5 && caps.ept_vpid_has(ept_vpid_cap::walk_length_5));
  u64 reserved = 0xF00;
  if (!caps.ept_vpid_has(ept_vpid_cap::accessed_and_dirty)) reserved |= eptp_bits::accessed_and_dirty;
  if (!caps.ept_vpid_has(ept_vpid_cap::supervisor_shadow_stack)) reserved |= eptp_bits::supervisor_shadow_stack;
  return type_ok && length_ok && (eptp & reserved) == 0 && eptp >> caps.physical_address_width == 0;
}

ept_context ept_context_of(const vmcs& v) noexcept {
  ept_context context;
  context.eptp = v.read(field::ept_pointer);
  context.log_modifications = (secondary_controls(v) & secondary::enable_pml) != 0;
  context.log_address = v.read(field::pml_address);
  context.log_index = static_cast<std::uint16_t>(v.read(field::pml_index));
  return context;
}

ept_result walk_ept(const ept_context& context, const capabilities& caps, physical_memory& memory,
                    const ept_access& access) {
  const bool flags = (context.eptp & eptp_bits::accessed_and_dirty) != 0;
  const effective_access wanted = effect_of(access, flags, caps);
  const u64 gpa = access.guest_physical;
  const auto levels = static_cast<unsigned>((context.eptp & eptp_bits::walk_length) >> 3) + 1;

  ept_result r;
  r.log_index = context.log_index;
  if (gpa >> (page_shift(levels) + 9) != 0) return violation(r, wanted, 0);

  visited_entry visited[max_levels + 1];
  u64 table = context.eptp & ept_entry::address;
  u64 allowed = ept_entry::rights;
  unsigned level = levels;
  for (;; --level) {
    visited_entry& entry = visited[level];
    entry.at = table + entry_bytes * (gpa >> page_shift(level) & 511);
    entry.value = memory.read<u64>(entry.at);
    r.level = static_cast<std::uint8_t>(level);
    ++r.references;
    if ((entry.value & ept_entry::rights) == 0) return violation(r, wanted, 0);
    if (malformed(entry.value, level, caps)) {
      r.outcome = ept_outcome::misconfiguration;
      return r;
    }
    allowed &= entry.value;
    if (maps_page(entry.value, level)) break;
    table = entry.value & ept_entry::address;
  }
  if ((wanted.wanted & ~allowed) != 0) return violation(r, wanted, allowed);

  const u64 leaf = visited[level].value;
  if (flags) {
    const bool sets_dirty = wanted.writes && (leaf & ept_entry::dirty) == 0;
    bool sets_any = sets_dirty;
    for (unsigned l = level; l <= levels; ++l) sets_any = sets_any || (visited[l].value & ept_entry::accessed) == 0;

    if (context.log_modifications && context.log_index > 511 &&
        log_must_have_room(context.log_test, sets_any, sets_dirty)) {
      r.outcome = ept_outcome::log_full;
      r.qualification = access.nmi_unblocking ? ept_violation::nmi_unblocking : 0;
      return r;
    }
    for (unsigned l = levels; l >= level; --l) {
      u64 value = visited[l].value | ept_entry::accessed;
      if (l == level && sets_dirty) value |= ept_entry::dirty;
      if (value == visited[l].value) continue;
      memory.write(visited[l].at, value);
      ++r.flag_updates;
    }
    if (sets_dirty && context.log_modifications) {
      memory.write(context.log_address + entry_bytes * context.log_index, gpa & ~u64{0xFFF});
      --r.log_index;  // 0 becomes FFFFH
      r.logged = true;
    }
  }

  const u64 offset = (u64{1} << page_shift(level)) - 1;
  r.outcome = ept_outcome::translated;
  r.host_physical = (leaf & ept_entry::address & ~offset) | (gpa & offset);
  r.page_size = offset + 1;
  r.memory_type = static_cast<std::uint8_t>((leaf & ept_entry::memory_type) >> 3);
  r.ignore_pat = (leaf & ept_entry::ignore_pat) != 0;
  return r;
}

ept_result translate_guest_physical(vmcs& v, const capabilities& caps, physical_memory& memory,
                                    const ept_access& access, log_full_test log_test) {
  ept_context context = ept_context_of(v);
  context.log_test = log_test;
  const ept_result r = walk_ept(context, caps, memory, access);
  if (r.logged) v.write(field::pml_index, r.log_index);
  return r;
}

}  // namespace vmxsys::vmx
