#pragma once
#include <gtest/gtest.h>
#include <map>
#include <string>

#include <vmxsys/vmx/instructions/instruction_table.hpp>
#include <vmxsys/vmx/instructions/invalidation.hpp>
#include <vmxsys/vmx/instructions/vm_function.hpp>
#include <vmxsys/vmx/vmcs/active_vmcs_store.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "flat_memory.hpp"

namespace vmxsys::vmx::test {

inline constexpr physical_address vmxon_region = 0x1000;
inline constexpr physical_address region_a = 0x2000;
inline constexpr physical_address region_b = 0x3000;
inline constexpr physical_address shadow_region = 0x4000;
inline constexpr physical_address read_bitmap = 0x5000;
inline constexpr physical_address write_bitmap = 0x6000;
inline constexpr physical_address eptp_list = 0x7000;
inline constexpr std::uint64_t legal_eptp = 0x10'0000 | 3 << 3 | 6;
inline constexpr unsigned bench_address_width = 46;

/// Both are one VMCS, but for the VM-instruction error field if `but_the_error`.
inline void expect_same_vmcs(const vmcs& a, const vmcs& b, bool but_the_error, const std::string& what) {
  EXPECT_EQ(a.launch(), b.launch()) << what;
  EXPECT_EQ(a.revision(), b.revision()) << what;
  EXPECT_EQ(a.is_shadow(), b.is_shadow()) << what;
  EXPECT_EQ(a.abort_indicator(), b.abort_indicator()) << what;
  for (const field_info& row : field_table)
    if (!but_the_error || row.encoding != field::vm_instruction_error)
      EXPECT_EQ(a.read(row.encoding), b.read(row.encoding)) << what << ": " << row.name;
}

/// One logical processor with memory, regions A and B, a shadow VMCS, bitmaps and an EPTP list, outside VMX operation.
class instruction_bench {
 public:
  instruction_bench() {
    for (const physical_address region : {vmxon_region, region_a, region_b}) memory.write(region, caps.revision());
    memory.write(shadow_region, caps.revision() | vmcs_region::shadow_bit);
    memory.write(eptp_list, legal_eptp);
    memory.write(eptp_list + 8 * 511, legal_eptp);
  }
  instruction_bench(const instruction_bench&) = delete;
  instruction_bench& operator=(const instruction_bench&) = delete;

  // These put the state there whatever the mode and the capabilities are, so that a test may break things first.
  void enter_root() {
    state.mode = operation::root;
    state.vmxon_pointer = vmxon_region;
  }
  void load(physical_address region) {
    store.deactivate(region);
    state.current = &store.activate(region, 0, memory);
    state.current_vmcs = region;
  }
  void make_current(physical_address region) {
    enter_root();
    load(region);
  }
  void set(field f, std::uint64_t value) { state.current->write(f, value); }
  void forget_current() {
    state.current = nullptr;
    state.current_vmcs = no_vmcs;
  }
  /// In the guest of region A, with these secondary controls.
  void enter_guest(std::uint64_t secondary_controls) {
    if (state.mode == operation::off) enter_root();
    if (!state.has_current()) load(region_a);
    for (const auto& [f, value] : minimal_vmcs_fields(caps)) set(f, value);
    set(field::primary_processor_based_controls, primary::activate_secondary_controls);
    set(field::secondary_processor_based_controls, secondary_controls);
    state.mode = operation::non_root;
  }
  /// The same with VMCS shadowing, all encodings open.
  void enter_shadowing_guest() {
    enter_guest(secondary::vmcs_shadowing);
    set(field::vmread_bitmap_address, read_bitmap);
    set(field::vmwrite_bitmap_address, write_bitmap);
    set(field::vmcs_link_pointer, shadow_region);
  }
  /// The same with EPT and EPTP switching.
  void enter_switching_guest() {
    enter_guest(secondary::enable_ept | secondary::enable_vm_functions);
    set(field::ept_pointer, legal_eptp);
    set(field::vm_function_controls, vm_function_control::eptp_switching);
    set(field::eptp_list_address, eptp_list);
  }
  void set_bitmap_bit(physical_address bitmap, std::uint64_t encoding) {
    const physical_address byte = bitmap + (encoding >> 3);
    memory.write(byte, static_cast<std::uint8_t>(memory.read<std::uint8_t>(byte) | 1u << (encoding & 7)));
  }

  /// The state and the operands with which an instruction succeeds (VMCALL: reaches its last check).
  void prepare(vmx_instruction which) {
    using i = vmx_instruction;
    if (which == i::vmxon) {
      operand = vmxon_region;
      return;
    }
    if (which == i::vmfunc) {
      enter_switching_guest();
      operand = operand_2 = 0;
      return;
    }
    make_current(region_a);
    switch (which) {
      case i::vmclear:
      case i::vmptrld:
        operand = region_b;
        break;
      case i::vmread:
      case i::vmwrite:
        operand = encoding_of(field::guest_rip);
        operand_2 = 0x1234;
        break;
      case i::vmresume:
        state.current->set_launch(launch_state::launched);
        break;
      case i::invept:
        operand = 1;
        operand_2 = legal_eptp;
        break;
      case i::invvpid:
        operand = 0;
        operand_2 = 1;
        operand_3 = 0x1000;
        break;
      default:
        break;
    }
  }

  vmx_outcome execute(vmx_instruction which) {
    using i = vmx_instruction;
    switch (which) {
      case i::invept: {
        const invalidation_outcome outcome = invept(unit, mode, operand, {operand_2, operand_3}, fault);
        what = outcome.what;
        return outcome;
      }
      case i::invvpid: {
        const invalidation_outcome outcome = invvpid(unit, mode, operand, {operand_2, operand_3}, fault);
        what = outcome.what;
        return outcome;
      }
      case i::vmcall:
        return vmcall(unit, mode);
      case i::vmclear:
        return vmclear(unit, mode, operand, fault);
      case i::vmfunc:
        return vmfunc(unit, mode, static_cast<std::uint32_t>(operand), static_cast<std::uint32_t>(operand_2));
      case i::vmlaunch:
        return vmlaunch_basics(state, mode);
      case i::vmptrld:
        return vmptrld(unit, mode, operand, fault);
      case i::vmptrst:
        return vmptrst(unit, mode, fault);
      case i::vmread:
        return vmread(unit, mode, operand, fault);
      case i::vmresume:
        return vmresume_basics(state, mode);
      case i::vmwrite:
        return vmwrite(unit, mode, operand, operand_2, fault);
      case i::vmxoff:
        return vmxoff(unit, mode);
      default:
        return vmxon(unit, mode, operand, fault);
    }
  }
  instruction_call call() { return {state, mode, &unit, operand, operand_2, operand_3, fault}; }

  /// What an instruction that does not succeed may not change.
  struct snapshot {
    vmx_state state;
    std::map<physical_address, vmcs> active;
    flat_memory memory;
  };
  snapshot take() {
    snapshot s{state, {}, memory};
    for (const physical_address region : {region_a, region_b, shadow_region})
      if (const vmcs* v = store.find(region)) s.active.emplace(region, *v);
    return s;
  }
  /// `number`: the error that has been written to the current VMCS, `none` for none.
  void expect_unchanged(const snapshot& before, instruction_error number, const std::string& what_failed) {
    const snapshot after = take();
    EXPECT_EQ(after.state.mode, before.state.mode) << what_failed;
    EXPECT_EQ(after.state.current_vmcs, before.state.current_vmcs) << what_failed;
    EXPECT_EQ(after.state.current, before.state.current) << what_failed;
    EXPECT_EQ(after.state.vmxon_pointer, before.state.vmxon_pointer) << what_failed;
    EXPECT_EQ(after.state.latched_init, before.state.latched_init) << what_failed;
    EXPECT_EQ(after.state.feature_control, before.state.feature_control) << what_failed;
    EXPECT_TRUE(after.memory == before.memory) << what_failed;
    ASSERT_EQ(after.active.size(), before.active.size()) << what_failed;
    for (const auto& [region, v] : after.active) {
      const bool written = number != instruction_error::none && region == after.state.current_vmcs;
      expect_same_vmcs(v, before.active.at(region), written, what_failed);
      if (written) EXPECT_EQ(v.read(field::vm_instruction_error), static_cast<std::uint64_t>(number)) << what_failed;
    }
  }

  capabilities caps = find_capability_row("cascade_lake_sp")->values;
  flat_memory memory;
  active_vmcs_store store;
  vmx_state state;
  execution_mode mode;
  vmx_unit unit{state, caps, memory, store, 0};
  std::uint64_t operand = 0;
  std::uint64_t operand_2 = 0;
  std::uint64_t operand_3 = 0;
  operand_fault fault = operand_fault::none;
  invalidation what;  ///< of the last INVEPT or INVVPID
};

}  // namespace vmxsys::vmx::test
