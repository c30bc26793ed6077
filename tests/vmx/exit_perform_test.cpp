#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

#include <vmxsys/vmx/transition/entry.hpp>
#include <vmxsys/vmx/transition/vm_exit.hpp>
#include <vmxsys/vmx/vmcs/active_vmcs_store.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

#include "exit_state_fields.hpp"
#include "flat_memory.hpp"

namespace vmxsys::vmx {
namespace {

constexpr physical_address region = 0x1000;
constexpr physical_address store_list = 0x8000;
constexpr physical_address load_list = 0x9000;
constexpr std::uint32_t bad_msr = 0x830;

/// Says at each access what has happened so far.
class watching_msrs final : public msr_interface {
 public:
  watching_msrs(const vmcs*& v, const processor_state& p) : v_{v}, p_{p} {}
  bool read_msr(std::uint32_t, std::uint64_t& value) override {
    value = 0x77;
    note("store");
    return true;
  }
  bool write_msr(std::uint32_t, std::uint64_t) override {
    note("load");
    return true;
  }
  std::vector<std::string> log;

 private:
  void note(const char* what) {
    std::string text = what;
    if (v_->read(field::exit_reason) != 0) text += " recorded";
    if (v_->read(field::guest_rip) == 0x4444) text += " saved";
    if (p_.rip == v_->read(field::host_rip)) text += " host";
    log.push_back(text);
  }
  const vmcs*& v_;
  const processor_state& p_;
};

class vmx_exit_perform : public ::testing::Test {
 protected:
  void SetUp() override {
    memory.write<std::uint32_t>(region, caps.revision());
    state.current = &store.activate(region, 0, memory);
    state.current_vmcs = region;
    state.mode = operation::non_root;
    minimal_vmcs_options o;
    o.host_rip = 0xFFFF'8000'0000'1000;
    o.host_rsp = 0x7000;
    o.guest_rip = 0x4440;
    *state.current = make_minimal_vmcs(caps, o);
    v().set_launch(launch_state::launched);
    load_guest_state(v(), p, caps);
    p.rip = 0x4444;
    v().write(field::vm_entry_interruption_information, 0x8000'0030);
    exit.reason = exit_reason::pause;
    exit.instruction_length = 2;
    current = state.current;
  }
  vmcs& v() { return *state.current; }
  void list(field address, field count, physical_address at, const std::vector<std::uint32_t>& msr_indexes) {
    v().write(address, at);
    v().write(count, msr_indexes.size());
    for (const std::uint32_t index : msr_indexes) {
      memory.write<std::uint64_t>(at, index);
      at += 16;
    }
  }
  void stores(const std::vector<std::uint32_t>& msr_indexes) {
    list(field::vm_exit_msr_store_address, field::vm_exit_msr_store_count, store_list, msr_indexes);
  }
  void loads(const std::vector<std::uint32_t>& msr_indexes) {
    list(field::vm_exit_msr_load_address, field::vm_exit_msr_load_count, load_list, msr_indexes);
  }
  void make_host_32() {
    v().write(field::primary_vm_exit_controls,
              v().read(field::primary_vm_exit_controls) & ~std::uint64_t{vm_exit_control::host_address_space_size});
    v().write(field::host_cr4, 0x2020);
    v().write(field::host_cr3, 0x5000);
    p.efer = 0;
  }
  void expect_abort(const exit_outcome& outcome, vmx_abort abort) {
    const auto number = static_cast<std::uint32_t>(abort);
    EXPECT_FALSE(outcome);
    EXPECT_EQ(outcome.abort, abort) << name_of(outcome.abort);
    EXPECT_EQ(memory.physical_memory::read<std::uint32_t>(region + 4), number) << "the indicator in memory";
    EXPECT_EQ(v().abort_indicator(), number);
    EXPECT_EQ(p.activity, activity_state::shutdown);
    EXPECT_EQ(p.vmx_abort, number);
    EXPECT_NE(state.mode, operation::non_root);
  }

  capabilities caps = find_capability_row("cascade_lake_sp")->values;
  test::flat_memory memory;
  active_vmcs_store store;
  vmx_state state;
  vmx_unit unit{state, caps, memory, store};
  processor_state p;
  const vmcs* current = nullptr;
  watching_msrs msrs{current, p};
  exit_info exit;
};

TEST_F(vmx_exit_perform, a_plain_exit) {
  const exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit);
  EXPECT_TRUE(outcome);
  EXPECT_EQ(state.mode, operation::root);
  EXPECT_EQ(v().read(field::exit_reason), 40u);
  EXPECT_EQ(v().read(field::vm_exit_instruction_length), 2u);
  EXPECT_EQ(v().read(field::guest_rip), 0x4444u);
  EXPECT_EQ(v().read(field::vm_entry_interruption_information), 0x30u) << "the valid bit is cleared";
  EXPECT_EQ(p.rip, 0xFFFF'8000'0000'1000u);
  EXPECT_EQ(p.rsp, 0x7000u);
  EXPECT_EQ(p.rflags, 2u);
  EXPECT_EQ(p.vmx_abort, 0u);
  EXPECT_EQ(v().abort_indicator(), 0u);
  EXPECT_EQ(v().launch(), launch_state::launched);
  EXPECT_TRUE(msrs.log.empty());
}

TEST_F(vmx_exit_perform, the_steps_come_in_the_order_of_the_manual) {
  stores({0x10, 0x174});
  loads({0x175});
  const exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit);
  EXPECT_TRUE(outcome);
  EXPECT_EQ(msrs.log,
            (std::vector<std::string>{"store recorded saved", "store recorded saved", "load recorded saved host"}));
  EXPECT_EQ(memory.physical_memory::read<std::uint64_t>(store_list + 8), 0x77u);
  EXPECT_EQ(outcome.stored.done, 2u);
  EXPECT_EQ(outcome.loaded.done, 1u);
}

TEST_F(vmx_exit_perform, the_situation_reaches_the_saved_state) {
  exit.reason = exit_reason::apic_write;
  perform_vm_exit(unit, p, msrs, exit, {4, false, false});
  EXPECT_EQ(v().read(field::guest_rip), 0x4448u);
}

TEST_F(vmx_exit_perform, nmi_blocking) {
  exit = {};
  exit.interruption_information = 0x8000'0202;
  perform_vm_exit(unit, p, msrs, exit);
  EXPECT_TRUE(p.nmi_blocking) << "an NMI that exits blocks the next";
  EXPECT_FALSE(v().any(field::guest_interruptibility_state, interruptibility::nmi)) << "it was not blocked before";
}

TEST_F(vmx_exit_perform, other_exits_leave_nmi_blocking_as_it_was) {
  for (const bool blocked : {false, true}) {
    p.nmi_blocking = blocked;
    perform_vm_exit(unit, p, msrs, exit);
    EXPECT_EQ(p.nmi_blocking, blocked);
  }
}

TEST_F(vmx_exit_perform, abort_1_saving_guest_msrs) {
  stores({0x174, bad_msr});
  loads({0x175});
  const exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit);
  expect_abort(outcome, vmx_abort::saving_guest_msrs);
  EXPECT_EQ(outcome.stored.failed, 2u);
  EXPECT_EQ(outcome.stored.fault, msr_entry_fault::x2apic);
  EXPECT_EQ(outcome.work.msrs_stored, 1u);
  EXPECT_EQ(outcome.work.host_fields_loaded, 0u);
  EXPECT_EQ(v().read(field::guest_rip), 0x4444u) << "the guest had been saved";
  EXPECT_EQ(p.rip, 0x4444u) << "the host was not loaded";
  EXPECT_EQ(msrs.log.size(), 1u);
}

TEST_F(vmx_exit_perform, abort_2_host_pdptes) {
  make_host_32();
  memory.write<std::uint64_t>(0x5008, 0x2003);  // present, bit 1 reserved
  const exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit);
  expect_abort(outcome, vmx_abort::host_pdptes);
  EXPECT_EQ(outcome.work.msrs_loaded, 0u);
}

TEST_F(vmx_exit_perform, a_pae_host_gets_its_pdptes) {
  make_host_32();
  memory.write<std::uint64_t>(0x5008, 0x2001);
  const exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit);
  EXPECT_TRUE(outcome);
  EXPECT_EQ(p.pdpte[1], 0x2001u);
  EXPECT_EQ(outcome.work.pdptes_loaded, 4u);
}

TEST_F(vmx_exit_perform, abort_3_corrupted_vmcs) {
  v() = vmcs{caps.revision() ^ 1};
  exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit);
  expect_abort(outcome, vmx_abort::corrupted_vmcs);
  EXPECT_EQ(v().read(field::exit_reason), 0u) << "nothing was recorded";
  EXPECT_EQ(outcome.work.information_fields_written, 0u);
  EXPECT_EQ(p.rip, 0x4444u);
  v() = vmcs{caps.revision(), true};
  EXPECT_TRUE(vmcs_corrupted(unit)) << "a shadow VMCS";
  v() = vmcs{caps.revision()};
  EXPECT_FALSE(vmcs_corrupted(unit));
}

TEST_F(vmx_exit_perform, abort_4_loading_host_msrs) {
  loads({0x174, 0x175, 0xC000'0100});
  const exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit);
  expect_abort(outcome, vmx_abort::loading_host_msrs);
  EXPECT_EQ(outcome.loaded.failed, 3u);
  EXPECT_EQ(outcome.work.msrs_loaded, 2u);
  EXPECT_NE(outcome.work.host_fields_loaded, 0u);
  EXPECT_EQ(p.rip, 0xFFFF'8000'0000'1000u) << "the host had been loaded";
}

TEST_F(vmx_exit_perform, abort_5_machine_check_during_the_exit) {
  const exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit, {0, false, true});
  expect_abort(outcome, vmx_abort::machine_check);
  EXPECT_EQ(v().read(field::guest_rip), 0x4444u);
  EXPECT_EQ(p.rip, 0x4444u);
}

TEST_F(vmx_exit_perform, abort_6_leaving_ia_32e_mode) {
  make_host_32();
  p.efer = 0x500;
  const exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit);
  expect_abort(outcome, vmx_abort::leaving_ia_32e_mode);
  EXPECT_EQ(p.rip, 0x4444u);
}

TEST_F(vmx_exit_perform, a_failed_store_beats_later_aborts) {
  make_host_32();
  p.efer = 0x500;
  stores({bad_msr});
  expect_abort(perform_vm_exit(unit, p, msrs, exit), vmx_abort::saving_guest_msrs);
}

TEST_F(vmx_exit_perform, names_of_aborts) {
  for (unsigned n = 1; n <= vmx_abort_count; ++n) {
    const vmx_abort_info& row = vmx_abort_table()[n - 1];
    EXPECT_EQ(static_cast<unsigned>(row.abort), n);
    EXPECT_EQ(name_of(row.abort), row.name);
  }
  EXPECT_STREQ(name_of(vmx_abort::none), "none");
  EXPECT_STREQ(name_of(static_cast<vmx_abort>(7)), "none");
}

// ---- failed entries ------------------------------------------------------------------------------------------------

TEST_F(vmx_exit_perform, a_failed_entry_records_two_fields_and_loads_the_host) {
  state.mode = operation::root;
  v().set_launch(launch_state::clear);
  stores({bad_msr});  // not looked at
  loads({0x175});
  v().write(field::vm_exit_instruction_length, 9);
  v().write(field::guest_rip, 0x1111);
  const vmcs before = v();
  exit_info failure;
  failure.reason = exit_reason::entry_failure_guest_state;
  failure.qualification = 4;
  failure.entry_failure = true;
  p.rflags = 0x246;
  const exit_outcome outcome = perform_failed_entry(unit, p, msrs, failure, false);
  EXPECT_TRUE(outcome);
  EXPECT_EQ(v().read(field::exit_reason), 0x8000'0021u);
  EXPECT_EQ(v().read(field::exit_qualification), 4u);
  for (const field_info& f : field_table)
    if (f.encoding != field::exit_reason && f.encoding != field::exit_qualification)
      EXPECT_EQ(v().read(f.encoding), before.read(f.encoding)) << f.name;
  EXPECT_EQ(v().launch(), launch_state::clear);
  EXPECT_EQ(state.mode, operation::root);
  EXPECT_EQ(p.rip, 0xFFFF'8000'0000'1000u);
  EXPECT_EQ(p.rflags, 2u);
  EXPECT_EQ(msrs.log.size(), 1u);
  EXPECT_EQ(outcome.work.information_fields_written, 2u);
  EXPECT_EQ(outcome.work.guest_fields_saved, 0u);
  EXPECT_EQ(outcome.work.msrs_loaded, 1u);
}

TEST_F(vmx_exit_perform, a_failed_entry_restores_nmi_blocking) {
  const exit_info failure = failed_msr_load_exit({0, 1, msr_entry_fault::x2apic});
  for (const bool before : {false, true}) {
    p.nmi_blocking = !before;  // the guest's, already loaded
    perform_failed_entry(unit, p, msrs, failure, before);
    EXPECT_EQ(p.nmi_blocking, before);
    EXPECT_EQ(v().read(field::exit_reason), 0x8000'0022u);
    EXPECT_EQ(v().read(field::exit_qualification), 1u);
  }
}

TEST_F(vmx_exit_perform, a_failed_entry_can_abort_too) {
  loads({bad_msr});
  expect_abort(perform_failed_entry(unit, p, msrs, failed_machine_check_exit(), false), vmx_abort::loading_host_msrs);
  EXPECT_EQ(v().read(field::exit_reason), 0x8000'0029u);
}

// ---- the pieces and the whole --------------------------------------------------------------------------------------

TEST_F(vmx_exit_perform, the_pieces_in_order_make_the_whole) {
  stores({0x10});
  loads({0x175});
  const vmcs v0 = v();
  processor_state p1 = p;
  const transition_work planned = exit_work(v(), p, caps);
  const exit_outcome outcome = perform_vm_exit(unit, p, msrs, exit);
  const vmcs whole = v();
  v() = v0;
  record_exit(v(), exit);
  save_guest_state(v(), p1, caps, exit);
  EXPECT_TRUE(store_guest_msrs(v(), memory, msrs, caps));
  EXPECT_EQ(switch_to_host(unit, p1), vmx_abort::none);
  EXPECT_TRUE(load_host_msrs(v(), memory, msrs, caps));
  for (const field_info& f : field_table) EXPECT_EQ(v().read(f.encoding), whole.read(f.encoding)) << f.name;
  for (const test::guest_field& f : test::guest_fields()) EXPECT_EQ(f.get(p1), f.get(p)) << name_of(f.where);
  for (std::size_t i = 0; i < transition_step_count; ++i) {
    const auto step = static_cast<transition_step>(i);
    EXPECT_EQ(work_of(step, planned), work_of(step, outcome.work)) << name_of(step);
  }
}

TEST_F(vmx_exit_perform, an_exit_can_be_entered_again) {
  v().write(field::vm_entry_interruption_information, 0);
  p.rflags = 0x202;
  entry_context context{caps, memory};
  for (int i = 0; i < 3; ++i) {
    perform_vm_exit(unit, p, msrs, exit);
    const entry_result entry = check_entry_fields(v(), context);
    EXPECT_TRUE(entry) << entry.check;
    load_guest_state(v(), p, caps);
    EXPECT_EQ(p.rip, 0x4444u);
  }
}

}  // namespace
}  // namespace vmxsys::vmx
