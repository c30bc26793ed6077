#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "fault_gate.hpp"
#include "guest_instruction.hpp"

namespace vmxsys::vmx {

// Which instructions of a guest exit, which fault first, and which execute differently. SDM Vol. 3C §28.1, §28.3.

/// `execute`: no exit. Unless the effect says otherwise the instruction does what it does outside VMX operation, with
/// the faults that come after an exit.
enum class instruction_verdict : std::uint8_t { execute, fault_ud, fault_gp, vm_exit };

/// How an instruction that executes differs from its execution outside VMX operation.
enum class instruction_effect : std::uint8_t {
  as_usual,
  deliver_value,          ///< the destination gets `value`: MOV from CR0 and CR4, SMSW, RDTSC, RDTSCP, RDMSR 10H
  load_control_register,  ///< the control register becomes `value`: MOV to CR0 and CR4, CLTS, LMSW
  nothing,                ///< it ends without effect: masked CLTS, MWAIT that may not sleep, WRMSR 79H
  wait,                   ///< TPAUSE, UMWAIT: `value` cycles at most; RFLAGS.CF by `limited`
  tpr_shadow,             ///< MOV CR8 acts on the virtual-APIC page
  virtual_x2apic,         ///< RDMSR and WRMSR 800H to 8FFH: APIC virtualization decides
  apic_timer,             ///< RDMSR and WRMSR 6E0H: APIC-timer virtualization
  virtual_spec_ctrl,      ///< RDMSR and WRMSR 48H: the IA32_SPEC_CTRL mask and shadow
  shadow_vmcs,            ///< VMREAD and VMWRITE act on the VMCS that the link pointer names
  vm_function,            ///< VMFUNC: function EAX, which may itself exit with the same reason
};

/// `reason`, `qualification` and `instruction_length` belong to vm_exit, the rest to execute.
struct instruction_outcome {
  instruction_verdict verdict = instruction_verdict::execute;
  instruction_effect effect = instruction_effect::as_usual;
  exit_reason reason = exit_reason::cpuid;
  bool limited = false;  ///< `wait`: the operating system's limit ends it
  std::uint8_t instruction_length = 0;
  std::uint64_t qualification = 0;
  std::uint64_t value = 0;
};

/// What the manual leaves to the processor.
struct instruction_switches {
  /// WRMSR of IA32_BIOS_UPDT_TRIG (79H) that the MSR bitmap lets through: exits all the same, or does nothing.
  bool microcode_update_exits = false;
};

/// What a rule decides from.
struct instruction_context {
  const vmcs& v;
  const capabilities& caps;
  const physical_memory& memory;
  const guest_instruction& i;
  const instruction_switches& switches;
};

/// A control bit; `none` for no control.
struct control_bit {
  control_word word = control_word::none;
  std::uint8_t bit = 0;
};

/// One row: an instruction, the faults that come before its exit, and when it exits. Gates are asked in order.
struct instruction_rule {
  mnemonic what;
  const char* name;
  const char* section;
  bool may_exit;  ///< false: it only changes its behaviour; `reason` then means nothing
  exit_reason reason;
  control_bit enable;  ///< #UD before everything else unless this control is 1
  std::array<fault_gate, 3> gates;
  /// The exit comes even before the gates (MOV DR).
  bool exit_first;
  const char* exits_if;   ///< for people
  const char* otherwise;  ///< for people: what an execution without exit does; "as usual", or "-" where it always exits
  /// `vm_exit` with the qualification; the entry point adds reason and length.
  instruction_outcome (*decide)(const instruction_context& context);
};

/// All rows, in the order of `mnemonic`. Contiguous; `mnemonic_count` rows.
const instruction_rule* instruction_table() noexcept;
const instruction_rule& rule_of(mnemonic what) noexcept;
const char* name_of(mnemonic what) noexcept;

/// What an instruction of the guest does: executes (perhaps differently), faults before it could exit, or exits.
instruction_outcome decide(const vmcs& v, const capabilities& caps, const physical_memory& memory,
                           const guest_instruction& instruction, const instruction_switches& switches = {});

/// The exit information of an outcome `vm_exit`. The guest-linear address is set for INS, OUTS and LMSW from memory.
exit_info exit_of(const instruction_outcome& outcome, const guest_instruction& instruction) noexcept;

}  // namespace vmxsys::vmx
