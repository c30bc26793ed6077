#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "instruction_bench.hpp"
#include "row_tests.hpp"

// Every row of every instruction's table: a state in which only that row does not hold, and where a number is
// concerned, its neighbour in which it does.
namespace vmxsys::vmx {
namespace {

using test::instruction_bench;
using i = vmx_instruction;
using kind = outcome_kind;
using error = instruction_error;
using change = std::function<void(instruction_bench&)>;
using B = instruction_bench;

struct scenario {
  vmx_instruction which;
  std::string row;
  outcome_kind kind;
  instruction_error number;
  std::vector<change> fails;   ///< each alone makes the row fail
  std::vector<change> passes;  ///< each alone leaves the row holding (later rows may fail)
};

void PrintTo(const scenario& s, std::ostream* out) { *out << info_of(s.which).mnemonic << ": " << s.row; }

constexpr i all[] = {i::invept,  i::invvpid, i::vmcall,   i::vmclear, i::vmfunc, i::vmlaunch, i::vmptrld,
                     i::vmptrst, i::vmread,  i::vmresume, i::vmwrite, i::vmxoff, i::vmxon};

bool has(std::initializer_list<i> list, i which) {
  for (const i each : list)
    if (each == which) return true;
  return false;
}

constexpr std::uint64_t width = std::uint64_t{1} << test::bench_address_width;

void allow_32_bit_regions_only(B& b) { b.caps.basic |= std::uint64_t{1} << 48; }

void add_front(std::vector<scenario>& out) {
  for (const i which : all) {
    if (which == i::vmfunc) continue;
    if (which != i::vmxon)
      out.push_back(
          {which, "in VMX operation", kind::fault_ud, error::none, {[](B& b) { b.state.mode = operation::off; }}, {}});
    out.push_back(
        {which, "CR0.PE is 1", kind::fault_ud, error::none, {[](B& b) { b.mode.cr0 &= ~std::uint64_t{1}; }}, {}});
    out.push_back({which,
                   "not in virtual-8086 mode",
                   kind::fault_ud,
                   error::none,
                   {[](B& b) { b.mode.virtual_8086 = true; }},
                   {}});
    out.push_back({which,
                   "not in compatibility mode",
                   kind::fault_ud,
                   error::none,
                   {[](B& b) { b.mode.code_64_bit = false; }},
                   {[](B& b) { b.mode.long_mode = b.mode.code_64_bit = false; }}});
    if (!has({i::vmread, i::vmwrite}, which))
      out.push_back({which,
                     "not in non-root operation",
                     kind::vm_exit,
                     error::none,
                     {[](B& b) { b.state.mode = operation::non_root; }},
                     {}});
    out.push_back({which,
                   "CPL is 0",
                   kind::fault_gp,
                   error::none,
                   {[](B& b) { b.mode.cpl = 1; }, [](B& b) { b.mode.cpl = 3; }},
                   {[](B& b) { b.mode.cpl = 0; }}});
    if (has({i::invept, i::invvpid, i::vmclear, i::vmptrld, i::vmptrst, i::vmread, i::vmwrite, i::vmxon}, which))
      out.push_back(
          {which,
           "the memory operand can be accessed",
           kind::operand_fault,
           error::none,
           {[](B& b) { b.fault = operand_fault::page_fault; },
            [](B& b) { b.fault = operand_fault::general_protection; },
            [](B& b) { b.fault = operand_fault::stack_segment; },
            [](B& b) { b.fault = operand_fault::alignment_check; }, [](B& b) { b.fault = operand_fault::vm_exit; }},
           {}});
  }
}

void add_vmxon(std::vector<scenario>& out) {
  const auto gp = [&](const char* row, std::vector<change> fails, std::vector<change> passes) {
    out.push_back({i::vmxon, row, kind::fault_gp, error::none, std::move(fails), std::move(passes)});
  };
  out.push_back({i::vmxon, "CR4.VMXE is 1", kind::fault_ud, error::none, {[](B& b) { b.mode.cr4 = 0x20; }}, {}});
  out.push_back({i::vmxon,
                 "not in root operation",
                 kind::fail_valid,
                 error::vmxon_in_root,
                 {[](B& b) { b.make_current(test::region_a); }},
                 {}});
  gp("A20 is not masked", {[](B& b) { b.mode.a20_masked = true; }}, {});
  gp("CR0 obeys the fixed bits",
     {[](B& b) { b.mode.cr0 = 0x8000'0011; },               // NE is 0
      [](B& b) { b.mode.cr0 = 0x31; },                      // PG is 0
      [](B& b) { b.mode.cr0 |= std::uint64_t{1} << 32; }},  // above FIXED1
     {[](B& b) { b.mode.cr0 = 0x8000'0021; }, [](B& b) { b.mode.cr0 = 0xFFFF'FFFF; }});
  gp("CR4 obeys the fixed bits", {[](B& b) { b.mode.cr4 |= 1u << 19; }},  // beyond FIXED1 of this row
     {[](B& b) { b.mode.cr4 = 0x2000; }, [](B& b) { b.mode.cr4 = b.caps.cr4_fixed1; }});
  gp("IA32_FEATURE_CONTROL is locked", {[](B& b) { b.state.feature_control = feature_control_bits::vmx_outside_smx; }},
     {});
  gp("IA32_FEATURE_CONTROL enables VMX",
     {[](B& b) { b.state.feature_control = feature_control_bits::lock | feature_control_bits::vmx_inside_smx; },
      [](B& b) { b.mode.inside_smx = true; }},
     {[](B& b) {
       b.mode.inside_smx = true;
       b.state.feature_control = feature_control_bits::lock | feature_control_bits::vmx_inside_smx;
     }});
  out.push_back({i::vmxon,
                 "the revision identifier is the processor's",
                 kind::fail_invalid,
                 error::none,
                 {[](B& b) { b.memory.write(test::vmxon_region, b.caps.revision() + 1); },
                  [](B& b) { b.memory.write(test::vmxon_region, std::uint32_t{0}); }},
                 {}});
  out.push_back({i::vmxon,
                 "bit 31 of the region's first word is 0",
                 kind::fail_invalid,
                 error::none,
                 {[](B& b) { b.memory.write(test::vmxon_region, b.caps.revision() | vmcs_region::shadow_bit); }},
                 {}});
}

void add_regions(std::vector<scenario>& out) {
  struct region_rows {
    i which;
    outcome_kind kind;
    error bad_address, vmxon_pointer;
  };
  for (const region_rows r :
       {region_rows{i::vmxon, kind::fail_invalid, error::none, error::none},
        region_rows{i::vmclear, kind::fail_valid, error::vmclear_invalid_address, error::vmclear_vmxon_pointer},
        region_rows{i::vmptrld, kind::fail_valid, error::vmptrld_invalid_address, error::vmptrld_vmxon_pointer}}) {
    out.push_back({r.which,
                   "the region is aligned",
                   r.kind,
                   r.bad_address,
                   {[](B& b) { b.operand += 1; }, [](B& b) { b.operand += 0x800; }, [](B& b) { b.operand -= 1; }},
                   {[](B& b) { b.operand += 0x1000; }}});
    out.push_back({r.which,
                   "the region is within the address width",
                   r.kind,
                   r.bad_address,
                   {[](B& b) { b.operand = width; }, [](B& b) { b.operand = ~std::uint64_t{0xFFF}; },
                    [](B& b) {
                      allow_32_bit_regions_only(b);
                      b.operand = std::uint64_t{1} << 32;
                    }},
                   {[](B& b) { b.operand = width - 0x1000; }, [](B& b) { b.operand = std::uint64_t{1} << 32; },
                    [](B& b) {
                      allow_32_bit_regions_only(b);
                      b.operand = 0xFFFF'F000;
                    }}});
    if (r.which != i::vmxon)
      out.push_back({r.which,
                     "the region is not the VMXON region",
                     kind::fail_valid,
                     r.vmxon_pointer,
                     {[](B& b) { b.operand = test::vmxon_region; }},
                     {}});
  }
  out.push_back({i::vmptrld,
                 "the revision identifier is the processor's",
                 kind::fail_valid,
                 error::vmptrld_wrong_revision,
                 {[](B& b) { b.memory.write(test::region_b, b.caps.revision() ^ 1); },
                  [](B& b) { b.memory.write(test::region_b, b.caps.revision() ^ 0x4000'0000); }},
                 {}});
  out.push_back({i::vmptrld,
                 "a shadow VMCS only with VMCS shadowing",
                 kind::fail_valid,
                 error::vmptrld_wrong_revision,
                 {[](B& b) {
                   b.caps.secondary &= ~(std::uint64_t{secondary::vmcs_shadowing} << 32);
                   b.operand = test::shadow_region;
                 }},
                 {[](B& b) { b.operand = test::shadow_region; },
                  [](B& b) { b.caps.secondary &= ~(std::uint64_t{secondary::vmcs_shadowing} << 32); }}});
}

void add_access(std::vector<scenario>& out) {
  for (const i which : {i::vmread, i::vmwrite}) {
    const bool reads = which == i::vmread;
    out.push_back({which,
                   "in the guest: VMCS shadowing",
                   kind::vm_exit,
                   error::none,
                   {[](B& b) { b.enter_guest(0); },
                    [](B& b) {
                      b.enter_shadowing_guest();
                      b.set(field::primary_processor_based_controls, 0);  // not activated
                    }},
                   {[](B& b) { b.enter_shadowing_guest(); }}});
    out.push_back({which,
                   "in the guest: bits 63:15 of the encoding are 0",
                   kind::vm_exit,
                   error::none,
                   {[](B& b) {
                      b.enter_shadowing_guest();
                      b.operand = 0x8000;
                    },
                    [](B& b) {
                      b.enter_shadowing_guest();
                      b.operand = std::uint64_t{1} << 63;
                    }},
                   {[](B& b) {
                      b.enter_shadowing_guest();
                      b.operand = 0x7FFF;
                    },
                    [](B& b) { b.operand = 0x8000; }}});
    const physical_address bitmap = reads ? test::read_bitmap : test::write_bitmap;
    const physical_address other = reads ? test::write_bitmap : test::read_bitmap;
    const auto in_bitmap = [](physical_address page, unsigned offset) {
      return [=](B& b) {
        b.enter_shadowing_guest();
        b.set_bitmap_bit(page, b.operand + offset);
      };
    };
    out.push_back(
        {which,
         reads ? "in the guest: the bit of the VMREAD bitmap is 0" : "in the guest: the bit of the VMWRITE bitmap is 0",
         kind::vm_exit,
         error::none,
         {in_bitmap(bitmap, 0),
          [bitmap](B& b) {  // the last bit of the page
            b.enter_shadowing_guest();
            b.operand = 0x7FFF;
            b.set_bitmap_bit(bitmap, 0x7FFF);
          }},
         {in_bitmap(other, 0), in_bitmap(bitmap, 1), in_bitmap(bitmap, 8)}});
    out.push_back({which,
                   "there is a current VMCS, in the guest a VMCS link pointer",
                   kind::fail_invalid,
                   error::none,
                   {[](B& b) { b.forget_current(); },
                    [](B& b) {
                      b.enter_shadowing_guest();
                      b.set(field::vmcs_link_pointer, no_vmcs);
                    }},
                   {[](B& b) { b.enter_shadowing_guest(); }}});
    out.push_back(
        {which,
         "the field exists",
         kind::fail_valid,
         error::unsupported_component,
         {[](B& b) { b.operand = 0x681F; },  // high access to a field without halves
          [](B& b) { b.operand = 0x000C; },  // one index too many
          [](B& b) { b.operand = 0x1000; },  // reserved bit 12
          [](B& b) { b.operand = 0x8000 | 0x681E; }, [](B& b) { b.operand = std::uint64_t{1} << 32 | 0x681E; },
          [](B& b) {
            b.enter_shadowing_guest();
            b.operand = 0x681F;
          },
          [](B& b) {
            b.caps.secondary &= ~(std::uint64_t{secondary::pause_loop_exiting} << 32);
            b.operand = encoding_of(field::ple_gap);
          }},
         {[](B& b) { b.operand = encoding_of(field::ple_gap); },
          [](B& b) {  // the register has 32 bits there
            b.mode.long_mode = b.mode.code_64_bit = false;
            b.operand = std::uint64_t{1} << 32 | 0x681E;
          }}});
  }
  const auto read_only = [](B& b) {
    b.caps.misc &= ~(std::uint64_t{1} << 29);
    b.operand = encoding_of(field::exit_reason);
  };
  out.push_back({i::vmwrite,
                 "the field may be written",
                 kind::fail_valid,
                 error::vmwrite_read_only,
                 {read_only,
                  [read_only](B& b) {
                    b.enter_shadowing_guest();
                    read_only(b);
                  }},
                 {[](B& b) { b.operand = encoding_of(field::exit_reason); },
                  [](B& b) { b.caps.misc &= ~(std::uint64_t{1} << 29); }}});
}

void add_entry(std::vector<scenario>& out) {
  for (const i which : {i::vmlaunch, i::vmresume}) {
    out.push_back(
        {which, "there is a current VMCS", kind::fail_invalid, error::none, {[](B& b) { b.forget_current(); }}, {}});
    out.push_back({which,
                   "the current VMCS is not a shadow VMCS",
                   kind::fail_invalid,
                   error::none,
                   {[](B& b) {
                     b.load(test::shadow_region);
                     b.state.current->set_launch(launch_state::launched);
                   }},
                   {}});
    out.push_back({which,
                   "events are not blocked by MOV SS",
                   kind::fail_valid,
                   error::entry_blocked_by_mov_ss,
                   {[](B& b) { b.mode.mov_ss_blocking = true; }},
                   {}});
  }
  out.push_back({i::vmlaunch,
                 "the launch state is clear",
                 kind::fail_valid,
                 error::vmlaunch_not_clear,
                 {[](B& b) { b.state.current->set_launch(launch_state::launched); }},
                 {}});
  out.push_back({i::vmresume,
                 "the launch state is launched",
                 kind::fail_valid,
                 error::vmresume_not_launched,
                 {[](B& b) { b.state.current->set_launch(launch_state::clear); }},
                 {}});
  out.push_back({i::vmresume,
                 "no VMXOFF since VMLAUNCH",
                 kind::fail_valid,
                 error::vmresume_after_vmxoff,
                 {[](B& b) { b.state.current->note_vmxoff(); }},
                 {}});
}

void add_invalidation(std::vector<scenario>& out) {
  const auto without_cap = [](unsigned bit) { return [bit](B& b) { b.caps.ept_vpid &= ~(std::uint64_t{1} << bit); }; };
  const auto bad = [&](i which, const char* row, std::vector<change> fails, std::vector<change> passes) {
    out.push_back(
        {which, row, kind::fail_valid, error::invalid_invalidation_operand, std::move(fails), std::move(passes)});
  };
  for (const i which : {i::invept, i::invvpid})
    out.push_back({which,
                   "the descriptor can be read, where that comes before its type",
                   kind::operand_fault,
                   error::none,
                   {[](B& b) {
                     b.unit.choices.descriptor_before_type = true;
                     b.fault = operand_fault::page_fault;
                     b.operand = 9;
                   }},
                   {[](B& b) { b.unit.choices.descriptor_before_type = true; }}});
  out.push_back({i::invept,
                 "the processor has INVEPT",
                 kind::fault_ud,
                 error::none,
                 {without_cap(20), [](B& b) { b.caps.secondary &= ~(std::uint64_t{secondary::enable_ept} << 32); }},
                 {}});
  out.push_back({i::invvpid,
                 "the processor has INVVPID",
                 kind::fault_ud,
                 error::none,
                 {without_cap(32), [](B& b) { b.caps.secondary &= ~(std::uint64_t{secondary::enable_vpid} << 32); }},
                 {}});
  bad(i::invept, "the type is supported",
      {[](B& b) { b.operand = 0; }, [](B& b) { b.operand = 3; }, [](B& b) { b.operand |= std::uint64_t{1} << 32; },
       without_cap(25),
       [without_cap](B& b) {
         b.operand = 2;
         without_cap(26)(b);
       }},
      {[](B& b) { b.operand = 2; }, without_cap(26),
       [](B& b) {  // a 32-bit register
         b.mode.long_mode = b.mode.code_64_bit = false;
         b.operand |= std::uint64_t{1} << 32;
       }});
  bad(i::invept, "the EPTP is one that VM entry accepts", {[](B& b) { b.operand_2 = 0; }},
      {[](B& b) {  // not looked at
        b.operand = 2;
        b.operand_2 = 0;
      }});
  bad(i::invept, "bits 127:64 of the descriptor are 0, where that is checked", {[](B& b) {
        b.unit.choices.invept_checks_reserved_bits = true;
        b.operand_3 = 1;
      }},
      {[](B& b) { b.operand_3 = 1; }, [](B& b) { b.unit.choices.invept_checks_reserved_bits = true; }});
  std::vector<change> unsupported{[](B& b) { b.operand = 4; }, [](B& b) { b.operand = std::uint64_t{1} << 32; }};
  std::vector<change> supported;
  for (unsigned type = 0; type < 4; ++type) {
    unsupported.push_back([=](B& b) {
      b.operand = type;
      without_cap(40 + type)(b);
    });
    supported.push_back([=](B& b) {
      b.operand = type;
      for (unsigned other = 0; other < 4; ++other)
        if (other != type) without_cap(40 + other)(b);
    });
  }
  bad(i::invvpid, "the type is supported", unsupported, supported);
  bad(i::invvpid, "bits 63:16 of the descriptor are 0",
      {[](B& b) { b.operand_2 = 0x1'0001; }, [](B& b) { b.operand_2 |= std::uint64_t{1} << 63; },
       [](B& b) {  // every type
         b.operand = 2;
         b.operand_2 = 0x1'0000;
       }},
      {[](B& b) { b.operand_2 = 0xFFFF; }});
  std::vector<change> vpid_0;
  for (const unsigned type : {0u, 1u, 3u})
    vpid_0.push_back([=](B& b) {
      b.operand = type;
      b.operand_2 = 0;
    });
  bad(i::invvpid, "the VPID is not 0", vpid_0, {[](B& b) {
        b.operand = 2;
        b.operand_2 = 0;
      }});
  const auto address = [](unsigned type, std::uint64_t linear) {
    return [=](B& b) {
      b.operand = type;
      b.operand_3 = linear;
    };
  };
  bad(i::invvpid, "the linear address is canonical",
      {address(0, 0x8000'0000'0000), address(0, 0xFFFF'7FFF'FFFF'FFFF),
       // LAM would ignore these bits of a pointer, INVVPID does not.
       address(0, 0x4000'0000'0000'1000),
       [](B& b) {
         b.caps.linear_address_width = 57;
         b.operand_3 = std::uint64_t{1} << 56;
       }},
      {address(0, 0x7FFF'FFFF'FFFF), address(0, 0xFFFF'8000'0000'0000), address(1, 0x8000'0000'0000), [](B& b) {
         b.caps.linear_address_width = 57;
         b.operand_3 = (std::uint64_t{1} << 56) - 1;
       }});
}

void add_vmfunc(std::vector<scenario>& out) {
  const auto exits = [&](const char* row, std::vector<change> fails, std::vector<change> passes) {
    out.push_back({i::vmfunc, row, kind::vm_exit, error::none, std::move(fails), std::move(passes)});
  };
  out.push_back({i::vmfunc,
                 "in non-root operation",
                 kind::fault_ud,
                 error::none,
                 {[](B& b) { b.state.mode = operation::root; }, [](B& b) { b.state.mode = operation::off; }},
                 {}});
  out.push_back({i::vmfunc,
                 "VM functions are enabled",
                 kind::fault_ud,
                 error::none,
                 {[](B& b) { b.set(field::secondary_processor_based_controls, secondary::enable_ept); },
                  [](B& b) { b.set(field::primary_processor_based_controls, 0); }},
                 {}});
  out.push_back({i::vmfunc,
                 "EAX is below 64",
                 kind::fault_ud,
                 error::none,
                 {[](B& b) { b.operand = 64; }, [](B& b) { b.operand = 0xFFFF'FFFF; }},
                 {[](B& b) { b.operand = 63; }}});
  exits("the VM function is enabled",
        {[](B& b) { b.set(field::vm_function_controls, 0); }, [](B& b) { b.operand = 1; }, [](B& b) { b.operand = 63; },
         [](B& b) {  // no such function, whatever the field says
           b.operand = 1;
           b.set(field::vm_function_controls, 3);
         }},
        {});
  exits("ECX is below 512", {[](B& b) { b.operand_2 = 512; }, [](B& b) { b.operand_2 = 0xFFFF'FFFF; }},
        {[](B& b) { b.operand_2 = 511; }});
  exits("the EPTP is one that VM entry accepts",
        {[](B& b) { b.operand_2 = 1; },  // an entry of 0
         [](B& b) { b.memory.write(test::eptp_list, test::legal_eptp | 0x100); }},
        {});
  exits("the EPTP keeps the page-walk length", {[](B& b) {
          b.caps.ept_vpid |= ept_vpid_cap::walk_length_5;
          b.memory.write(test::eptp_list, (test::legal_eptp & ~std::uint64_t{7 << 3}) | 4 << 3);
        }},
        {[](B& b) {  // other bits may differ
          b.memory.write(test::eptp_list, (test::legal_eptp & ~std::uint64_t{7}) | 1u << 6 | 0x5'0000'0000);
        }});
}

const std::vector<scenario>& scenarios() {
  static const std::vector<scenario> list = [] {
    std::vector<scenario> out;
    add_front(out);
    add_vmxon(out);
    add_regions(out);
    add_access(out);
    add_entry(out);
    add_invalidation(out);
    add_vmfunc(out);
    const change nothing = [](B&) {};
    out.push_back(
        {i::vmcall, "there is an SMM monitor to call", kind::fail_valid, error::vmcall_in_root, {nothing}, {}});
    return out;
  }();
  return list;
}

std::size_t position_of(vmx_instruction which, const std::string& row) {
  const vmx_instruction_info& info = info_of(which);
  for (std::size_t n = 0; n < info.check_count; ++n)
    if (row == info.checks[n].name) return n;
  ADD_FAILURE() << info.mnemonic << " has no row " << row;
  return info.check_count;
}

class vmx_instruction_check : public testing::TestWithParam<scenario> {};

TEST_P(vmx_instruction_check, decides) {
  const scenario& s = GetParam();
  const vmx_instruction_info& info = info_of(s.which);
  const std::string label = std::string{info.mnemonic} + ": " + s.row;
  ASSERT_FALSE(s.fails.empty());
  for (const change& breaks : s.fails) {
    instruction_bench b;
    b.prepare(s.which);
    breaks(b);
    const auto before = b.take();
    const instruction_check* expected = first_failing_check(info, b.call());
    const vmx_outcome outcome = b.execute(s.which);
    ASSERT_NE(outcome.check, nullptr) << label;
    EXPECT_EQ(outcome.check, s.row) << label;
    ASSERT_NE(expected, nullptr) << label;
    EXPECT_EQ(expected->name, s.row) << label;
    EXPECT_EQ(outcome.kind, s.kind) << label;
    EXPECT_EQ(outcome.error, s.number) << label;
    EXPECT_EQ(outcome.value, 0u) << label;
    if (s.kind == kind::vm_exit) EXPECT_EQ(outcome.reason, info.reason) << label;
    EXPECT_EQ(outcome.fault, s.kind == kind::operand_fault ? b.fault : operand_fault::none) << label;
    EXPECT_EQ(b.what.kind, invalidation_kind::none) << label;
    b.expect_unchanged(before, s.number, label);
  }
  for (const change& holds : s.passes) {
    instruction_bench b;
    b.prepare(s.which);
    holds(b);
    const vmx_outcome outcome = b.execute(s.which);
    if (outcome.check != nullptr) EXPECT_GT(position_of(s.which, outcome.check), position_of(s.which, s.row)) << label;
  }
}

INSTANTIATE_TEST_SUITE_P(rows, vmx_instruction_check, testing::ValuesIn(scenarios()),
                         [](const testing::TestParamInfo<scenario>& test) {
                           std::string name = std::string{info_of(test.param.which).mnemonic} + "_" + test.param.row;
                           for (char& c : name)
                             if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
                           return name;
                         });

// Two rows that fail at once: the one that stands first decides.
TEST(vmx_instruction_order, the_earlier_of_two_failing_rows_decides) {
  std::size_t pairs = 0;
  for (const scenario& first : scenarios())
    for (const scenario& second : scenarios()) {
      if (first.which != second.which) continue;
      const std::size_t at = position_of(first.which, first.row);
      if (at >= position_of(second.which, second.row)) continue;
      for (const change& one : first.fails)
        for (const change& other : second.fails) {
          instruction_bench b;
          b.prepare(first.which);
          other(b);
          if (b.state.current == nullptr && first.which != i::vmxon) continue;  // `one` may need a VMCS
          one(b);
          const instruction_check* deciding = first_failing_check(info_of(first.which), b.call());
          ASSERT_NE(deciding, nullptr);
          // The second state may undo the first (both set the operand, say), never the other way round.
          if (deciding->name != first.row) continue;
          ++pairs;
          const vmx_outcome outcome = b.execute(first.which);
          EXPECT_EQ(outcome.kind, first.kind)
              << info_of(first.which).mnemonic << ": " << first.row << " | " << second.row;
          ASSERT_NE(outcome.check, nullptr);
          EXPECT_EQ(outcome.check, first.row);
        }
    }
  EXPECT_GT(pairs, 2000u);
}

// The orders the manual insists on, spelled out.
TEST(vmx_instruction_order, mode_then_guest_then_cpl_then_operand_then_value) {
  for (const i which : {i::vmclear, i::vmptrld, i::vmptrst, i::invvpid}) {
    instruction_bench b;
    b.prepare(which);
    b.operand = 1;  // no aligned address; a supported type
    b.operand_2 = 0;
    b.fault = operand_fault::page_fault;
    b.mode.cpl = 3;
    b.mode.virtual_8086 = true;
    b.state.mode = operation::non_root;
    EXPECT_EQ(b.execute(which).kind, kind::fault_ud);
    b.mode.virtual_8086 = false;
    EXPECT_EQ(b.execute(which).kind, kind::vm_exit) << "at CPL 3, with a bad operand";
    b.state.mode = operation::root;
    EXPECT_EQ(b.execute(which).kind, kind::fault_gp);
    b.mode.cpl = 0;
    EXPECT_EQ(b.execute(which).kind, kind::operand_fault);
    b.fault = operand_fault::none;
    EXPECT_EQ(b.execute(which).kind, which == i::vmptrst ? kind::succeed : kind::fail_valid);
  }
}

TEST(vmx_instruction_order, vmxon_in_root_operation_does_not_read_its_operand) {
  instruction_bench b;
  b.make_current(test::region_a);
  b.fault = operand_fault::page_fault;
  b.mode.a20_masked = true;
  EXPECT_EQ(b.execute(i::vmxon).error, error::vmxon_in_root);
  b.mode.cpl = 1;
  EXPECT_EQ(b.execute(i::vmxon).kind, kind::fault_gp);
}

TEST(vmx_instruction_order, vmread_faults_after_the_field_and_vmwrite_before) {
  for (const bool guest : {false, true}) {
    instruction_bench b;
    b.make_current(test::region_a);
    if (guest) b.enter_shadowing_guest();
    b.fault = operand_fault::page_fault;
    b.operand = 0x681F;
    EXPECT_EQ(b.execute(i::vmread).error, error::unsupported_component);
    EXPECT_EQ(b.execute(i::vmwrite).kind, kind::operand_fault);
    b.operand = encoding_of(field::guest_rip);
    EXPECT_EQ(b.execute(i::vmread).kind, kind::operand_fault);
    b.set(field::vmcs_link_pointer, no_vmcs);
    if (!guest) b.forget_current();
    EXPECT_EQ(b.execute(i::vmread).kind, kind::fail_invalid);
    EXPECT_EQ(b.execute(i::vmwrite).kind, kind::fail_invalid) << "the pointer comes before the source";
  }
}

TEST(vmx_instruction_order, the_type_of_an_invalidation_and_the_fault_of_its_descriptor) {
  for (const i which : {i::invept, i::invvpid}) {
    instruction_bench b;
    b.prepare(which);
    b.operand = 9;
    b.fault = operand_fault::page_fault;
    EXPECT_EQ(b.execute(which).error, error::invalid_invalidation_operand);
    b.unit.choices.descriptor_before_type = true;
    EXPECT_EQ(b.execute(which).kind, kind::operand_fault);
    b.fault = operand_fault::none;
    EXPECT_EQ(b.execute(which).error, error::invalid_invalidation_operand);
  }
}

TEST(vmx_instruction_order, without_a_current_vmcs_every_failure_is_invalid) {
  for (const scenario& s : scenarios()) {
    if (s.kind != kind::fail_valid || has({i::vmread, i::vmwrite, i::vmlaunch, i::vmresume}, s.which)) continue;
    instruction_bench b;
    b.prepare(s.which);
    s.fails.front()(b);
    b.forget_current();
    const vmx_outcome outcome = b.execute(s.which);
    EXPECT_EQ(outcome.kind, kind::fail_invalid) << s.row;
    EXPECT_EQ(outcome.error, error::none);
    ASSERT_NE(outcome.check, nullptr) << s.row;
    EXPECT_EQ(outcome.check, s.row);
  }
}

TEST(vmx_instruction_table, is_in_order_and_its_rows_are_complete) {
  ASSERT_EQ(vmx_instruction_table_size(), std::size(all));
  for (const i which : all) {
    const vmx_instruction_info& info = vmx_instruction_table()[static_cast<std::size_t>(which)];
    EXPECT_EQ(&info, &info_of(which));
    EXPECT_EQ(info.instruction, which);
    EXPECT_STREQ(info.mnemonic, name_of(info.reason)) << "exits are named after the instruction";
    for (const instruction_check& check : info) {
      EXPECT_EQ(std::string{check.section}.rfind("SDM Vol. 3C §", 0), 0u) << check.name;
      EXPECT_EQ(check.failure == kind::fail_valid, check.error != error::none) << check.name;
      EXPECT_NE(check.failure, kind::succeed);
      if (check.error != error::none)
        EXPECT_TRUE(find_instruction_error(static_cast<unsigned>(check.error))->reachable) << check.name;
    }
  }
}

TEST(vmx_instruction_rows, every_check_has_a_test) {
  std::vector<std::string> rows;
  for (const i which : all)
    for (const instruction_check& check : info_of(which))
      rows.push_back(std::string{info_of(which).mnemonic} + ": " + check.name);
  std::vector<testing_rows::row_test> list;
  for (const scenario& s : scenarios())
    list.push_back({std::string{info_of(s.which).mnemonic} + ": " + s.row, "vmx_instruction_check.decides"});
  testing_rows::expect_rows_tested(rows, list);
}

}  // namespace
}  // namespace vmxsys::vmx
