#pragma once
#include <vmxsys/vmx/vmcs.hpp>

#include <cstddef>
#include <cstdint>

namespace vmxsys::vmx {

/// Basic exit reasons, SDM Vol. 3D, appendix C. 35, 38, 42, 71, 82 and 83 are reserved.
enum class exit_reason : std::uint16_t {
  exception_or_nmi = 0,
  external_interrupt = 1,
  triple_fault = 2,
  init_signal = 3,
  startup_ipi = 4,
  io_smi = 5,
  other_smi = 6,
  interrupt_window = 7,
  nmi_window = 8,
  task_switch = 9,
  cpuid = 10,
  getsec = 11,
  hlt = 12,
  invd = 13,
  invlpg = 14,
  rdpmc = 15,
  rdtsc = 16,
  rsm = 17,
  vmcall = 18,
  vmclear = 19,
  vmlaunch = 20,
  vmptrld = 21,
  vmptrst = 22,
  vmread = 23,
  vmresume = 24,
  vmwrite = 25,
  vmxoff = 26,
  vmxon = 27,
  control_register_access = 28,
  mov_dr = 29,
  io_instruction = 30,
  rdmsr = 31,
  wrmsr = 32,
  entry_failure_guest_state = 33,
  entry_failure_msr_loading = 34,
  mwait = 36,
  monitor_trap_flag = 37,
  monitor = 39,
  pause = 40,
  entry_failure_machine_check = 41,
  tpr_below_threshold = 43,
  apic_access = 44,
  virtualized_eoi = 45,
  gdtr_or_idtr_access = 46,
  ldtr_or_tr_access = 47,
  ept_violation = 48,
  ept_misconfiguration = 49,
  invept = 50,
  rdtscp = 51,
  preemption_timer = 52,
  invvpid = 53,
  wbinvd = 54,
  xsetbv = 55,
  apic_write = 56,
  rdrand = 57,
  invpcid = 58,
  vmfunc = 59,
  encls = 60,
  rdseed = 61,
  page_modification_log_full = 62,
  xsaves = 63,
  xrstors = 64,
  pconfig = 65,
  spp_event = 66,
  umwait = 67,
  tpause = 68,
  loadiwkey = 69,
  enclv = 70,
  enqcmd_pasid_failure = 72,
  enqcmds_pasid_failure = 73,
  bus_lock = 74,
  instruction_timeout = 75,
  seamcall = 76,
  tdcall = 77,
  rdmsrlist = 78,
  wrmsrlist = 79,
  urdmsr = 80,
  uwrmsr = 81,
  rdmsr_immediate = 84,
  wrmsrns_immediate = 85,
};

/// How an exit relates to the instruction it interrupts; it decides which RIP is saved (SDM Vol. 3C §30.3.3).
/// `fault`: the instruction has not executed, RIP points at it. `trap`: it has, RIP points past it. `event`: what would
/// have been pushed had the event been delivered. `entry_failure`: no guest instruction was reached, nothing is saved.
enum class exit_class : std::uint8_t { fault, trap, event, entry_failure };

struct exit_reason_info {
  exit_reason reason;
  const char* name;      ///< as the SDM spells it
  const char* kvm_name;  ///< as KVM's kvm_exit trace event prints it; nullptr where KVM prints the number
  exit_class kind;
};

/// Ordered by number. Contiguous; `exit_reason_table_size` rows.
const exit_reason_info* exit_reason_table() noexcept;
std::size_t exit_reason_table_size() noexcept;
/// nullptr for a reserved number. Constant time.
const exit_reason_info* find_exit_reason(std::uint32_t basic_reason) noexcept;
const char* name_of(exit_reason reason) noexcept;
/// The trace name, or nullptr.
const char* kvm_name_of(exit_reason reason) noexcept;
exit_class class_of(exit_reason reason) noexcept;

/// Bits 31:16 of the exit-reason field (SDM Vol. 3C §27.9.1).
namespace exit_reason_flag {
inline constexpr std::uint32_t prematurely_busy_shadow_stack = 1u << 25;
inline constexpr std::uint32_t bus_lock = 1u << 26;
inline constexpr std::uint32_t enclave = 1u << 27;
inline constexpr std::uint32_t pending_mtf = 1u << 28;
inline constexpr std::uint32_t from_root = 1u << 29;
inline constexpr std::uint32_t entry_failure = 1u << 31;
}  // namespace exit_reason_flag

/// Everything a VM exit says about its cause; SDM Vol. 3C §30.2. The interruption words are in the format of
/// `event.hpp`; 0 means "not valid". Reasons without a qualification leave it 0, which is what the processor writes.
struct exit_info {
  exit_reason reason = exit_reason::exception_or_nmi;
  std::uint64_t qualification = 0;
  std::uint32_t interruption_information = 0;
  std::uint32_t interruption_error_code = 0;
  std::uint32_t idt_vectoring_information = 0;
  std::uint32_t idt_vectoring_error_code = 0;
  std::uint32_t instruction_length = 0;  ///< bytes, 0 .. 15; meaningful for fault-class instruction exits
  bool entry_failure = false;            ///< bit 31 of the exit reason
  std::uint64_t guest_linear_address = 0;
  std::uint64_t guest_physical_address = 0;
};

/// Writes the exit-information fields. For a real exit also clears the valid bit of the VM-entry interruption
/// information (SDM Vol. 3C §30.2). For a failed entry (`entry_failure`) writes the exit reason and the qualification
/// and leaves everything else, the valid bit included, as it was (§29.8). Guest state is the caller's to save.
void record_exit(vmcs& v, const exit_info& exit) noexcept;

/// Reads the fields back, as a hypervisor would with VMREADs.
exit_info read_exit(const vmcs& v) noexcept;

}  // namespace vmxsys::vmx
