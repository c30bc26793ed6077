#pragma once
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

namespace vmxsys::vmx {

/// Bits of the EPT pointer, field 201AH; SDM Vol. 3C §27.6.11.
namespace eptp_bits {
inline constexpr std::uint64_t memory_type = 7;        ///< 0 uncacheable, 6 write-back
inline constexpr std::uint64_t walk_length = 7u << 3;  ///< the length minus 1
inline constexpr std::uint64_t accessed_and_dirty = 1u << 6;
inline constexpr std::uint64_t supervisor_shadow_stack = 1u << 7;
}  // namespace eptp_bits

/// One rule for EPT pointers; SDM Vol. 3C §29.2.1.1.
struct eptp_check {
  const char* name;
  bool (*holds)(std::uint64_t eptp, const capabilities& caps);
};
/// Contiguous; `eptp_check_table_size` rows. Bit 7 counts as reserved where IA32_VMX_EPT_VPID_CAP does not report
/// supervisor shadow-stack control.
const eptp_check* eptp_check_table() noexcept;
std::size_t eptp_check_table_size() noexcept;

/// Would VM entry with "enable EPT" accept this EPT pointer? INVEPT and EPTP switching ask the same.
bool eptp_legal(std::uint64_t eptp, const capabilities& caps) noexcept;

/// Bits of an EPT paging-structure entry; SDM Vol. 3C §31.3.2.
namespace ept_entry {
inline constexpr std::uint64_t read = 1u << 0;
inline constexpr std::uint64_t write = 1u << 1;
inline constexpr std::uint64_t execute = 1u << 2;
inline constexpr std::uint64_t rights = 7;             ///< all 0: not present
inline constexpr std::uint64_t memory_type = 7u << 3;  ///< of an entry that maps a page; 2, 3 and 7 are reserved
inline constexpr std::uint64_t ignore_pat = 1u << 6;
inline constexpr std::uint64_t maps_page = 1u << 7;  ///< in the levels of 1-GByte and 2-MByte pages
inline constexpr std::uint64_t accessed = 1u << 8;
inline constexpr std::uint64_t dirty = 1u << 9;
inline constexpr std::uint64_t address = 0x000F'FFFF'FFFF'F000;
}  // namespace ept_entry

/// One rule for entries that are present; breaking it is an EPT misconfiguration. SDM Vol. 3C §31.3.3.1. `level`: 5
/// .. 1.
struct ept_entry_check {
  const char* name;
  bool (*holds)(std::uint64_t entry, unsigned level, const capabilities& caps);
};
/// In the order in which they are looked at. Contiguous; `ept_entry_check_table_size` rows.
const ept_entry_check* ept_entry_check_table() noexcept;
std::size_t ept_entry_check_table_size() noexcept;

/// Bits of the exit qualification of EPT violations; SDM Vol. 3C §30.2.1, table for EPT violations.
namespace ept_violation {
inline constexpr std::uint64_t read = 1u << 0;
inline constexpr std::uint64_t write = 1u << 1;
inline constexpr std::uint64_t fetch = 1u << 2;
inline constexpr unsigned rights_shift = 3;  ///< bits 5:3: what all entries of the walk allow
inline constexpr std::uint64_t linear_address_valid = 1u << 7;
inline constexpr std::uint64_t final_translation = 1u << 8;
inline constexpr std::uint64_t user_page = 1u << 9;
inline constexpr std::uint64_t writable_page = 1u << 10;
inline constexpr std::uint64_t execute_disable_page = 1u << 11;
inline constexpr std::uint64_t nmi_unblocking = 1u << 12;
inline constexpr std::uint64_t shadow_stack = 1u << 13;
inline constexpr std::uint64_t asynchronous = 1u << 16;
}  // namespace ept_violation

/// One access of a guest to its physical memory.
struct ept_access {
  std::uint64_t guest_physical = 0;
  bool read = true;  ///< a read-modify-write sets both
  bool write = false;
  bool fetch = false;
  /// The access belongs to a linear address. False: a load of PDPTEs, for example.
  bool linear_address_valid = false;
  /// It is to what the linear address translates to; false: to a paging-structure entry on the way there. With accessed
  /// and dirty flags for EPT the latter counts as a write.
  bool final_translation = false;
  bool user_page = false;             ///< the guest's paging: U/S of all levels
  bool writable_page = false;         ///< the guest's paging: R/W of all levels
  bool execute_disable_page = false;  ///< the guest's paging: XD of any level
  bool nmi_unblocking = false;        ///< the instruction is an IRET that has unblocked NMIs
  bool shadow_stack = false;
  bool asynchronous = false;  ///< not by an instruction (trace output, …)
};

/// What an access to guest-physical memory comes to. `translated`: the access goes to `host_physical`. `violation`,
/// `misconfiguration` and `log_full` are VM exits with reasons 48, 49 and 62; nothing in memory has changed.
enum class ept_outcome : std::uint8_t { translated, violation, misconfiguration, log_full };

struct ept_result {
  ept_outcome outcome = ept_outcome::violation;
  std::uint8_t level = 0;         ///< of the entry that decided, 5 .. 1; 0: none was read
  std::uint8_t references = 0;    ///< entries read
  std::uint8_t flag_updates = 0;  ///< entries written back (locked) for their accessed or dirty flag
  std::uint8_t memory_type = 0;   ///< translated: of the entry that maps the page
  bool ignore_pat = false;        ///< translated: that type counts alone
  bool logged = false;            ///< an entry was written to the page-modification log
  physical_address host_physical = 0;
  std::uint64_t page_size = 0;      ///< translated: 4096, 2 or 1 times 2^20 or 2^30 bytes
  std::uint64_t qualification = 0;  ///< of the VM exit
  std::uint16_t log_index = 0;      ///< the PML index afterwards
  const char* check = nullptr;      ///< misconfiguration: the row of `ept_entry_check_table`
};

/// When a walk with page-modification logging looks whether the log is full. SDM Vol. 3C §31.3.6 speaks of setting an
/// accessed or dirty flag; only the setting of a dirty flag writes an entry; one emulator looks at every access.
enum class log_full_test : std::uint8_t { setting_dirty, setting_any_flag, every_access };

/// What a walk depends on besides the access: the fields of the VMCS, and a choice.
struct ept_context {
  std::uint64_t eptp = 0;
  bool log_modifications = false;  ///< "enable PML"
  physical_address log_address = 0;
  std::uint16_t log_index = 0;  ///< 511 counts down; above 511 the log is full
  log_full_test log_test = log_full_test::setting_dirty;
};

/// The fields of a VMCS that uses EPT.
ept_context ept_context_of(const vmcs& v) noexcept;

/// Walks the EPT paging structures for one access; SDM Vol. 3C §31.3. `context.eptp` must be legal. At each level an
/// entry that is not present is a violation and one that is malformed a misconfiguration; whether all entries together
/// allow the access is judged last. With accessed and dirty flags enabled, a walk that succeeds sets them in memory
/// (one that fails sets none) and logs the page where the dirty flag was clear. A guest-physical address wider than the
/// walk translates is a violation without a reference.
///
/// Not modelled: mode-based execute control, sub-page write permissions, guest-paging verification, paging-write and
/// supervisor shadow-stack control; their bits are ignored. Nor is conversion to virtualization exceptions.
ept_result walk_ept(const ept_context& context, const capabilities& caps, physical_memory& memory,
                    const ept_access& access);

/// The same for the current VMCS of a guest: takes the fields from it and writes the PML index back.
ept_result translate_guest_physical(vmcs& v, const capabilities& caps, physical_memory& memory,
                                    const ept_access& access, log_full_test log_test = log_full_test::setting_dirty);

}  // namespace vmxsys::vmx
