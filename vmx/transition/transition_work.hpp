#pragma once
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/processor_state.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::vmx {

/// How much a VM entry or VM exit has to do with this configuration, in countable things: the basis for charging its
/// micro-steps by work. What a processor really pays for each is not documented; the cost per thing is the machine's.
struct transition_work {
  // Entry.
  unsigned control_fields_checked = 0;
  unsigned host_fields_checked = 0;
  unsigned guest_fields_checked = 0;
  unsigned checks_in_memory = 0;  ///< words that checks read from memory: VTPR, the region of the link pointer
  unsigned guest_fields_loaded = 0;
  unsigned events_injected = 0;  ///< 0 or 1
  // Exit.
  unsigned information_fields_written = 0;
  unsigned guest_fields_saved = 0;
  unsigned msrs_stored = 0;
  unsigned host_fields_loaded = 0;
  // Both.
  unsigned msrs_loaded = 0;
  unsigned pdptes_loaded = 0;             ///< from memory: 0 or 4
  unsigned translations_invalidated = 0;  ///< 1 without "enable VPID": those of VPID 0000H go
};

/// Micro-steps in the order in which they are carried out. SDM Vol. 3C §29, §30.
enum class transition_step : std::uint8_t {
  check_controls,
  check_host_state,
  check_guest_state,
  load_guest_state,
  load_guest_pdptes,
  load_guest_msrs,
  invalidate_at_entry,
  inject_event,
  record_information,
  save_guest_state,
  store_guest_msrs,
  load_host_state,
  load_host_pdptes,
  invalidate_at_exit,
  load_host_msrs,
};
inline constexpr std::size_t transition_step_count = static_cast<std::size_t>(transition_step::load_host_msrs) + 1;

struct transition_step_info {
  transition_step step;
  const char* name;
  const char* section;
  bool at_entry, at_exit, at_failed_entry;
  unsigned transition_work::*work;
};
/// By `transition_step`. Contiguous; `transition_step_count` rows.
const transition_step_info* transition_step_table() noexcept;
const char* name_of(transition_step step) noexcept;
inline unsigned work_of(transition_step step, const transition_work& work) noexcept {
  return work.*transition_step_table()[static_cast<std::size_t>(step)].work;
}

/// A group of VMCS fields that VM entry checks, and the configuration in which it does.
struct checked_fields {
  enum class area : std::uint8_t { control, host, guest };
  area where;
  const char* name;
  unsigned fields;
};
const checked_fields* checked_fields_table() noexcept;
std::size_t checked_fields_table_size() noexcept;

/// The work of an entry with this VMCS. Of the PDPTEs in memory it counts those that a guest without PAE paging before
/// needs. Cheap: a look at the controls.
transition_work entry_work(const vmcs& v, const capabilities& caps) noexcept;

/// The work of an exit now; `p` is the guest's state.
transition_work exit_work(const vmcs& v, const processor_state& p, const capabilities& caps) noexcept;

/// The work after a failed entry: two fields recorded, the host state loaded.
transition_work failed_entry_work(const vmcs& v, const capabilities& caps) noexcept;

/// Pages of bitmaps that instructions of this guest may be looked up in: I/O, MSR, VMREAD, VMWRITE. 0 .. 5.
unsigned bitmap_pages(const vmcs& v) noexcept;

}  // namespace vmxsys::vmx
