#include "msr_list.hpp"

#include <iterator>

namespace vmxsys::vmx {

namespace {

constexpr std::uint32_t fs_base = 0xC000'0100;
constexpr std::uint32_t gs_base = 0xC000'0101;
constexpr std::uint32_t smm_monitor_ctl = 0x9B;
constexpr std::uint32_t smbase = 0x9E;
constexpr std::uint32_t bios_updt_trig = 0x79;
constexpr std::uint32_t bios_sign_id = 0x8B;

constexpr msr_entry_rule table[] = {
    {msr_entry_fault::list_too_long, "the list is longer than recommended", true, true},
    {msr_entry_fault::reserved_bits, "bits 63:32 of the entry are not 0", true, true},
    {msr_entry_fault::x2apic, "an x2APIC MSR", true, true},
    {msr_entry_fault::fs_or_gs_base, "FS_BASE or GS_BASE", false, true},
    {msr_entry_fault::smm_only, "an MSR of system-management mode", true, true},
    {msr_entry_fault::model_specific, "an MSR excluded for model-specific reasons", true, true},
    {msr_entry_fault::access, "RDMSR or WRMSR would cause #GP", true, true},
};

msr_entry_fault check_common(const msr_entry& entry) {
  if (entry.reserved != 0) return msr_entry_fault::reserved_bits;
  if (entry.index >> 8 == 8) return msr_entry_fault::x2apic;
  return msr_entry_fault::none;
}

msr_entry_fault check_microcode(const msr_entry& entry, const exit_options& options) {
  const bool microcode = entry.index == bios_updt_trig || entry.index == bios_sign_id;
  return microcode && !options.microcode_msrs_in_lists ? msr_entry_fault::model_specific : msr_entry_fault::none;
}

// Calls process(entry address, entry) for each, until one fails.
template <class Process>
msr_list_result process_list(const physical_memory& memory, physical_address list, std::uint32_t count,
                             const capabilities& caps, Process process) {
  msr_list_result result;
  if (count == 0) return result;  // nearly every list of nearly every VMCS
  const std::uint32_t limit = msr_entries_processed(count, caps);
  for (; result.done < limit; ++result.done) {
    const physical_address at = list + std::uint64_t{msr_entry_bytes} * result.done;
    result.fault = process(at, memory.read<msr_entry>(at));
    if (result.fault != msr_entry_fault::none) break;
  }
  if (result.done == limit && limit < count) result.fault = msr_entry_fault::list_too_long;
  if (result.fault != msr_entry_fault::none) result.failed = result.done + 1;
  return result;
}

std::uint32_t count_of(const vmcs& v, field f) { return static_cast<std::uint32_t>(v.read(f)); }

}  // namespace

static_assert(sizeof(msr_entry) == msr_entry_bytes, "the layout in memory");

const msr_entry_rule* msr_entry_table() noexcept { return table; }
std::size_t msr_entry_table_size() noexcept { return std::size(table); }

const char* name_of(msr_entry_fault fault) noexcept {
  for (const msr_entry_rule& row : table)
    if (row.fault == fault) return row.name;
  return "none";
}

msr_entry_fault check_msr_store(const msr_entry& entry, const exit_options& options) noexcept {
  if (const msr_entry_fault fault = check_common(entry); fault != msr_entry_fault::none) return fault;
  if (entry.index == smbase) return msr_entry_fault::smm_only;
  return check_microcode(entry, options);
}

msr_entry_fault check_msr_load(const msr_entry& entry, const exit_options& options) noexcept {
  if (const msr_entry_fault fault = check_common(entry); fault != msr_entry_fault::none) return fault;
  if (entry.index == fs_base || entry.index == gs_base) return msr_entry_fault::fs_or_gs_base;
  if (entry.index == smm_monitor_ctl) return msr_entry_fault::smm_only;
  return check_microcode(entry, options);
}

msr_list_result store_msrs(physical_memory& memory, physical_address list, std::uint32_t count, msr_interface& msrs,
                           const capabilities& caps, const exit_options& options) {
  return process_list(memory, list, count, caps, [&](physical_address at, const msr_entry& entry) {
    if (const msr_entry_fault fault = check_msr_store(entry, options); fault != msr_entry_fault::none) return fault;
    std::uint64_t value = 0;
    if (!msrs.read_msr(entry.index, value)) return msr_entry_fault::access;
    memory.write(at + offsetof(msr_entry, value), value);
    return msr_entry_fault::none;
  });
}

msr_list_result load_msrs(const physical_memory& memory, physical_address list, std::uint32_t count,
                          msr_interface& msrs, const capabilities& caps, const exit_options& options) {
  return process_list(memory, list, count, caps, [&](physical_address, const msr_entry& entry) {
    if (const msr_entry_fault fault = check_msr_load(entry, options); fault != msr_entry_fault::none) return fault;
    return msrs.write_msr(entry.index, entry.value) ? msr_entry_fault::none : msr_entry_fault::access;
  });
}

msr_list_result store_guest_msrs(const vmcs& v, physical_memory& memory, msr_interface& msrs, const capabilities& caps,
                                 const exit_options& options) {
  return store_msrs(memory, v.read(field::vm_exit_msr_store_address), count_of(v, field::vm_exit_msr_store_count), msrs,
                    caps, options);
}

msr_list_result load_host_msrs(const vmcs& v, const physical_memory& memory, msr_interface& msrs,
                               const capabilities& caps, const exit_options& options) {
  return load_msrs(memory, v.read(field::vm_exit_msr_load_address), count_of(v, field::vm_exit_msr_load_count), msrs,
                   caps, options);
}

msr_list_result load_guest_msrs(const vmcs& v, const physical_memory& memory, msr_interface& msrs,
                                const capabilities& caps, const exit_options& options) {
  return load_msrs(memory, v.read(field::vm_entry_msr_load_address), count_of(v, field::vm_entry_msr_load_count), msrs,
                   caps, options);
}

exit_info failed_msr_load_exit(const msr_list_result& result) noexcept {
  exit_info exit;
  exit.reason = exit_reason::entry_failure_msr_loading;
  exit.qualification = result.failed;
  exit.entry_failure = true;
  return exit;
}

}  // namespace vmxsys::vmx
