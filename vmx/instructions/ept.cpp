#include "ept.hpp"

#include <iterator>

#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::vmx {

namespace {

using u64 = std::uint64_t;

constexpr u64 write_back = 6;
constexpr unsigned entry_bytes = 8;
constexpr unsigned max_levels = 5;
constexpr unsigned log_entries = 512;

constexpr unsigned page_shift(unsigned level) { return 12 + 9 * (level - 1); }

bool maps_page(u64 entry, unsigned level) { return level == 1 || (level <= 3 && (entry & ept_entry::maps_page) != 0); }

constexpr u64 address_bits_from(unsigned bit) { return ept_entry::address & ~((u64{1} << bit) - 1); }

constexpr ept_entry_check entry_checks[] = {
    {"writes are allowed only with reads",
     [](u64 entry, unsigned, const capabilities&) {
       return (entry & ept_entry::write) == 0 || (entry & ept_entry::read) != 0;
     }},
    {"execute-only translations are supported",
     [](u64 entry, unsigned, const capabilities& caps) {
       return (entry & ept_entry::rights) != ept_entry::execute || caps.ept_vpid_has(ept_vpid_cap::execute_only);
     }},
    {"the address is within the physical-address width",
     [](u64 entry, unsigned, const capabilities& caps) {
       return (entry & address_bits_from(caps.physical_address_width)) == 0;
     }},
    {"reserved bits of an entry that refers to a table",
     [](u64 entry, unsigned level, const capabilities&) {
       constexpr u64 reserved = ept_entry::memory_type | ept_entry::ignore_pat | ept_entry::maps_page;
       return maps_page(entry, level) || (entry & reserved) == 0;
     }},
    {"2-MByte pages are supported",
     [](u64 entry, unsigned level, const capabilities& caps) {
       return level != 2 || !maps_page(entry, level) || caps.ept_vpid_has(ept_vpid_cap::page_2m);
     }},
    {"1-GByte pages are supported",
     [](u64 entry, unsigned level, const capabilities& caps) {
       return level != 3 || !maps_page(entry, level) || caps.ept_vpid_has(ept_vpid_cap::page_1g);
     }},
    {"a large page is aligned",
     [](u64 entry, unsigned level, const capabilities&) {
       return !maps_page(entry, level) || (entry & ept_entry::address & ~address_bits_from(page_shift(level))) == 0;
     }},
    {"the memory type of a page",
     [](u64 entry, unsigned level, const capabilities&) {
       const u64 type = (entry & ept_entry::memory_type) >> 3;
       return !maps_page(entry, level) || (type != 2 && type != 3 && type != 7);
     }},
};

// The entry is present. nullptr: nothing wrong with it.
const char* malformation(u64 entry, unsigned level, const capabilities& caps) {
  for (const ept_entry_check& check : entry_checks)
    if (!check.holds(entry, level, caps)) return check.name;
  return nullptr;
}

constexpr u64 length_of(u64 eptp) { return ((eptp & eptp_bits::walk_length) >> 3) + 1; }

constexpr eptp_check pointer_checks[] = {
    {"memory type",
     [](u64 eptp, const capabilities& caps) {
       const u64 type = eptp & eptp_bits::memory_type;
       return (type == 0 && caps.ept_vpid_has(ept_vpid_cap::uncacheable)) ||
              (type == write_back && caps.ept_vpid_has(ept_vpid_cap::write_back));
     }},
    {"page-walk length",
     [](u64 eptp, const capabilities& caps) {
       const u64 length = length_of(eptp);
       return (length == 4 && caps.ept_vpid_has(ept_vpid_cap::walk_length_4)) ||
              (length == 5 && caps.ept_vpid_has(ept_vpid_cap::walk_length_5));
     }},
    {"accessed and dirty flags are supported",
     [](u64 eptp, const capabilities& caps) {
       return (eptp & eptp_bits::accessed_and_dirty) == 0 || caps.ept_vpid_has(ept_vpid_cap::accessed_and_dirty);
     }},
    {"supervisor shadow-stack control is supported",
     [](u64 eptp, const capabilities& caps) {
       return (eptp & eptp_bits::supervisor_shadow_stack) == 0 ||
              caps.ept_vpid_has(ept_vpid_cap::supervisor_shadow_stack);
     }},
    {"reserved bits 11:8", [](u64 eptp, const capabilities&) { return (eptp & 0xF00) == 0; }},
    {"physical-address width",
     [](u64 eptp, const capabilities& caps) { return eptp >> caps.physical_address_width == 0; }},
};

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

struct finished_walk {
  const visited_entry* visited;  // by level
  unsigned leaf;
  unsigned levels;
  bool writes;
};

// Accessed and dirty flags and the page-modification log; SDM Vol. 3C §31.3.5, §31.3.6. False: the log is full.
bool set_flags(const ept_context& context, physical_memory& memory, const ept_access& access, const finished_walk& walk,
               ept_result& r) {
  const bool sets_dirty = walk.writes && (walk.visited[walk.leaf].value & ept_entry::dirty) == 0;
  bool sets_any = sets_dirty;
  for (unsigned level = walk.leaf; level <= walk.levels; ++level)
    sets_any = sets_any || (walk.visited[level].value & ept_entry::accessed) == 0;

  if (context.log_modifications && context.log_index >= log_entries &&
      log_must_have_room(context.log_test, sets_any, sets_dirty)) {
    r.outcome = ept_outcome::log_full;
    r.qualification = access.nmi_unblocking ? ept_violation::nmi_unblocking : 0;
    return false;
  }
  for (unsigned level = walk.levels; level >= walk.leaf; --level) {
    const visited_entry& entry = walk.visited[level];
    const u64 dirty = level == walk.leaf && sets_dirty ? ept_entry::dirty : 0;
    const u64 value = entry.value | ept_entry::accessed | dirty;
    if (value == entry.value) continue;
    memory.write(entry.at, value);
    ++r.flag_updates;
  }
  if (sets_dirty && context.log_modifications) {
    memory.write(context.log_address + entry_bytes * context.log_index, access.guest_physical & ~u64{0xFFF});
    --r.log_index;  // 0 becomes FFFFH
    r.logged = true;
  }
  return true;
}

}  // namespace

const eptp_check* eptp_check_table() noexcept { return pointer_checks; }
std::size_t eptp_check_table_size() noexcept { return std::size(pointer_checks); }

bool eptp_legal(std::uint64_t eptp, const capabilities& caps) noexcept {
  for (const eptp_check& check : pointer_checks)
    if (!check.holds(eptp, caps)) return false;
  return true;
}

const ept_entry_check* ept_entry_check_table() noexcept { return entry_checks; }
std::size_t ept_entry_check_table_size() noexcept { return std::size(entry_checks); }

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
  const auto levels = static_cast<unsigned>(length_of(context.eptp));

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
    r.check = malformation(entry.value, level, caps);
    if (r.check != nullptr) {
      r.outcome = ept_outcome::misconfiguration;
      return r;
    }
    allowed &= entry.value;
    if (maps_page(entry.value, level)) break;
    table = entry.value & ept_entry::address;
  }
  if ((wanted.wanted & ~allowed) != 0) return violation(r, wanted, allowed);
  if (flags && !set_flags(context, memory, access, {visited, level, levels, wanted.writes}, r)) return r;

  const u64 leaf = visited[level].value;
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
