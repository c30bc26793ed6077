#include "detail/instruction_forms.hpp"

#include <vmxsys/cpu/program/system_instruction.hpp>
#include <vmxsys/vmx/vmcs/controls_in_effect.hpp>

namespace vmxsys::cpu {

using vmx::mnemonic;

instruction_form form_of(const instruction& i) {
  switch (i.code) {
    case opcode::hlt:
      return {mnemonic::hlt, 1};
    case opcode::pause:
      return {mnemonic::pause, 2};
    case opcode::cpuid:
      return {mnemonic::cpuid, 2};
    case opcode::rdtsc:
      return {mnemonic::rdtsc, 2};
    case opcode::rdmsr:
      return {mnemonic::rdmsr, 2};
    case opcode::wrmsr:
      return {mnemonic::wrmsr, 2};
    case opcode::vmcall:
      return {mnemonic::vmcall, 3};
    case opcode::vmxon:
      return {mnemonic::vmxon, 3};
    case opcode::vmxoff:
      return {mnemonic::vmxoff, 3};
    case opcode::vmclear:
      return {mnemonic::vmclear, 3};
    case opcode::vmptrld:
      return {mnemonic::vmptrld, 3};
    case opcode::vmptrst:
      return {mnemonic::vmptrst, 3};
    case opcode::vmread:
      return {mnemonic::vmread, 3};
    case opcode::vmwrite:
      return {mnemonic::vmwrite, 3};
    case opcode::vmlaunch:
      return {mnemonic::vmlaunch, 3};
    case opcode::vmresume:
      return {mnemonic::vmresume, 3};
    default: {
      const auto& s = static_cast<const system_instruction&>(i);
      return {s.what.what, s.what.length};
    }
  }
}

bool looks_in_a_bitmap(const vmx::vmcs& v, mnemonic what) {
  switch (what) {
    case mnemonic::rdmsr:
    case mnemonic::wrmsr:
      return (vmx::primary_controls(v) & vmx::primary::use_msr_bitmaps) != 0;
    case mnemonic::in:
    case mnemonic::out:
    case mnemonic::ins:
    case mnemonic::outs:
      return (vmx::primary_controls(v) & vmx::primary::use_io_bitmaps) != 0;
    case mnemonic::vmread:
    case mnemonic::vmwrite:
      return (vmx::secondary_controls(v) & vmx::secondary::vmcs_shadowing) != 0;
    default:
      return false;
  }
}

cycles cost_of(mnemonic what, const instruction_costs& cost) {
  switch (what) {
    case mnemonic::invept:
    case mnemonic::invvpid:
      return cost.invalidate_translations;
    case mnemonic::vmread:
      return cost.vmread;
    case mnemonic::vmwrite:
      return cost.vmwrite;
    case mnemonic::vmfunc:
      return cost.vmfunc;
    case mnemonic::mov_to_cr0:
    case mnemonic::mov_to_cr3:
    case mnemonic::mov_to_cr4:
    case mnemonic::mov_to_cr8:
    case mnemonic::mov_from_cr0:
    case mnemonic::mov_from_cr3:
    case mnemonic::mov_from_cr4:
    case mnemonic::mov_from_cr8:
    case mnemonic::clts:
    case mnemonic::lmsw:
    case mnemonic::smsw:
      return cost.control_register;
    case mnemonic::mov_to_dr:
    case mnemonic::mov_from_dr:
      return cost.debug_register;
    case mnemonic::in:
    case mnemonic::out:
    case mnemonic::ins:
    case mnemonic::outs:
      return cost.io;
    case mnemonic::lgdt:
    case mnemonic::lidt:
    case mnemonic::sgdt:
    case mnemonic::sidt:
    case mnemonic::lldt:
    case mnemonic::ltr:
    case mnemonic::sldt:
    case mnemonic::str:
      return cost.descriptor_table;
    case mnemonic::invlpg:
    case mnemonic::invpcid:
      return cost.invalidate_page;
    case mnemonic::wbinvd:
    case mnemonic::wbnoinvd:
    case mnemonic::invd:
      return cost.wbinvd;
    case mnemonic::xsetbv:
      return cost.xsetbv;
    case mnemonic::rdpmc:
      return cost.rdpmc;
    case mnemonic::rdrand:
    case mnemonic::rdseed:
      return cost.random;
    case mnemonic::monitor:
    case mnemonic::umonitor:
      return cost.monitor;
    case mnemonic::mwait:
    case mnemonic::tpause:
    case mnemonic::umwait:
      return cost.user_wait;
    case mnemonic::xsaves:
      return cost.xsave;
    case mnemonic::xrstors:
      return cost.xrstor;
    default:
      return cost.rdtsc;  // RDTSCP, RDPID and what this machine does not have
  }
}

bool implemented(mnemonic what) {
  switch (what) {
    case mnemonic::getsec:
    case mnemonic::seamcall:
    case mnemonic::tdcall:
    case mnemonic::rdmsrlist:
    case mnemonic::wrmsrlist:
    case mnemonic::urdmsr:
    case mnemonic::uwrmsr:
    case mnemonic::encls:
    case mnemonic::enclv:
    case mnemonic::pconfig:
    case mnemonic::pbndkb:
    case mnemonic::loadiwkey:
    case mnemonic::enqcmd:
    case mnemonic::enqcmds:
    case mnemonic::rsm:
    case mnemonic::rdmsr_immediate:
    case mnemonic::wrmsrns_immediate:
      return false;
    default:
      return true;
  }
}

std::uint32_t length_of(const instruction& i) {
  return has_rule(i.code) && i.code != opcode::guest_access ? form_of(i).length : 3;
}

}  // namespace vmxsys::cpu
