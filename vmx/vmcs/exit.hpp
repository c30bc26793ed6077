#pragma once
#include <cstddef>
#include <cstdint>

#include "vmcs.hpp"

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

/// What the exit qualification of a reason holds (SDM Vol. 3C §30.2.1); formats in `exit_qualification.hpp`.
/// `unspecified`: the manual pages this table was made from say nothing; it is recorded as given.
enum class qualification_kind : std::uint8_t {
  none,       ///< the processor writes 0
  exception,  ///< #DB: what was met, #PF: the linear address, other exceptions and NMIs: 0
  vector,     ///< bits 7:0
  task_switch,
  linear_address,
  displacement,  ///< of the memory operand, sign-extended; 0 for a register operand
  control_register,
  debug_register,
  io,
  one_bit,        ///< bit 0; which of two instructions, or what the reason says
  entry_failure,  ///< 0, 2 PDPTE, 3 NMI with blocking by STI, 4 VMCS link pointer
  list_index,     ///< of the bad entry of the VM-entry MSR-load list, from 1
  apic_access,
  apic_offset,  ///< page offset of the write, bits 11:0
  ept_violation,
  nmi_unblocking,  ///< bit 12
  msr_index,
  unspecified,
};

/// When the VM-exit instruction length (440CH) is defined, besides exits during the delivery of a software event, for
/// which it always is (SDM Vol. 3C §30.2.5).
enum class length_rule : std::uint8_t {
  never,
  instruction,         ///< always: an instruction caused the exit
  software_exception,  ///< INT1, INT3 and INTO
  task_switch,         ///< by CALL, IRET or JMP
};

/// Which format the VM-exit instruction information (440EH) has; `instruction_information.hpp` describes them.
enum class information_kind : std::uint8_t {
  none,
  string_io,         ///< INS, OUTS
  invalidation,      ///< INVEPT, INVPCID, INVVPID
  descriptor_table,  ///< SGDT, SIDT, LGDT, LIDT
  segment,           ///< SLDT, STR, LLDT, LTR
  sized_register,    ///< RDRAND, RDSEED, TPAUSE, UMWAIT
  memory,            ///< VMCLEAR, VMPTRLD, VMPTRST, VMXON, XSAVES, XRSTORS
  vmread_vmwrite,
  two_registers,  ///< LOADIWKEY, URDMSR, UWRMSR
  one_register,   ///< RDMSR and WRMSRNS with an immediate
};

/// The value of RFLAGS.RF in the saved RFLAGS (SDM Vol. 3C §30.3.3).
enum class resume_flag_rule : std::uint8_t {
  clear,        ///< an instruction exit, even if RF was 1
  image,        ///< as in the RFLAGS image had the event been delivered
  memory,       ///< 1; during event delivery as in that event's image
  task_switch,  ///< by an instruction 0; through a task gate in the IDT as in that event's image
  unchanged,
};

/// One row of the table of exit reasons.
struct exit_reason_info {
  exit_reason reason;
  const char* name;      ///< as the SDM spells it
  const char* kvm_name;  ///< as KVM's kvm_exit trace event prints it; nullptr where KVM prints the number
  exit_class kind;
  qualification_kind qualification;
  length_rule length;
  information_kind information;
  resume_flag_rule resume_flag;
  const char* condition;  ///< the control or the situation that makes it happen, in short
};

/// Ordered by number. Contiguous; `exit_reason_table_size` rows.
const exit_reason_info* exit_reason_table() noexcept;
std::size_t exit_reason_table_size() noexcept;
/// nullptr for a reserved number. Constant time.
const exit_reason_info* find_exit_reason(std::uint32_t basic_reason) noexcept;
const char* name_of(exit_reason reason) noexcept;
/// The trace name, or nullptr.
const char* kvm_name_of(exit_reason reason) noexcept;
/// The trace name, or the manual's where KVM prints the number.
const char* trace_name_of(exit_reason reason) noexcept;
exit_class class_of(exit_reason reason) noexcept;

/// Bits 31:16 of the exit-reason field (SDM Vol. 3C §27.9.1); the others are 0.
namespace exit_reason_flag {
inline constexpr std::uint32_t prematurely_busy_shadow_stack = 1u << 25;
inline constexpr std::uint32_t bus_lock = 1u << 26;
inline constexpr std::uint32_t enclave = 1u << 27;
inline constexpr std::uint32_t pending_mtf = 1u << 28;
inline constexpr std::uint32_t from_root = 1u << 29;
inline constexpr std::uint32_t entry_failure = 1u << 31;
/// What `exit_info::flags` may hold.
inline constexpr std::uint32_t in_exit_info =
    prematurely_busy_shadow_stack | bus_lock | enclave | pending_mtf | from_root;
}  // namespace exit_reason_flag

/// Everything a VM exit says about its cause; SDM Vol. 3C §30.2. The interruption words are in the format of
/// `event.hpp`; 0 means "not valid". Fields that the reason leaves undefined are recorded as 0, see `recorded`.
struct exit_info {
  exit_reason reason = exit_reason::exception_or_nmi;
  bool entry_failure = false;  ///< bit 31 of the exit reason
  std::uint32_t interruption_information = 0;
  std::uint64_t qualification = 0;
  std::uint32_t interruption_error_code = 0;
  std::uint32_t idt_vectoring_information = 0;
  std::uint32_t idt_vectoring_error_code = 0;
  std::uint32_t instruction_length = 0;  ///< bytes, 0 .. 15; see `length_defined`
  std::uint64_t guest_linear_address = 0;
  std::uint64_t guest_physical_address = 0;
  std::uint32_t instruction_information = 0;  ///< 440EH, for reasons with an `information_kind`
  std::uint32_t flags = 0;                    ///< exit_reason_flag::in_exit_info
};

/// The instruction length is defined for this exit. SDM Vol. 3C §30.2.5.
bool length_defined(const exit_info& exit) noexcept;
/// The guest-linear address is: LMSW from memory, INS and OUTS, EPT violations with bit 7 of the qualification, SPP
/// events. SDM Vol. 3C §30.2.1.
bool linear_address_defined(const exit_info& exit) noexcept;
/// The guest-physical address is: EPT violations and misconfigurations, SPP events. SDM Vol. 3C §30.2.1.
bool physical_address_defined(const exit_info& exit) noexcept;

/// What the processor writes of all this: fields that the reason does not define, and the qualification of a reason
/// without one, are 0. (The manual calls only the latter 0 and the others undefined. A fixed 0 keeps runs repeatable
/// and makes software that relies on an undefined field fail early.)
exit_info recorded(const exit_info& exit) noexcept;

/// An IRET had ended the blocking by NMI (or by virtual NMI) when the exit happened: bit 12 of the interruption
/// information (exceptions but #DF) or of the qualification (EPT violation, PML full, SPP event) tells the hypervisor
/// to set the blocking again. Nothing during event delivery and for other reasons. SDM Vol. 3C §30.2.3.
void note_nmi_unblocking(exit_info& exit) noexcept;

/// Writes the exit-information fields, as `recorded` says. For a real exit also clears the valid bit of the VM-entry
/// interruption information (SDM Vol. 3C §30.2). For a failed entry (`entry_failure`) writes the exit reason and the
/// qualification and leaves everything else, the valid bit included, as it was (§29.8). The guest state is
/// `save_guest_state`'s.
void record_exit(vmcs& v, const exit_info& exit) noexcept;
/// How many exit-information fields that is.
constexpr unsigned recorded_fields(const exit_info& exit) noexcept { return exit.entry_failure ? 2 : 10; }

/// Reads the fields back, as a hypervisor would with VMREADs.
exit_info read_exit(const vmcs& v) noexcept;

}  // namespace vmxsys::vmx
