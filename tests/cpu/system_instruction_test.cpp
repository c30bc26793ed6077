#include <vmxsys/cpu/core/msr_file.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>
#include <vmxsys/vmx/transition/msr_list.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>

#include "rig.hpp"

// Instructions that VMX has rules for, awaited by a guest, and what its hypervisor sees of them. The rules themselves
// are tested in tests/vmx; here it is shown that the CPU obeys them.
namespace vmxsys::cpu::testing {
namespace {

using vmx::exit_reason;
using vmx::field;
namespace primary = vmx::primary;
namespace secondary = vmx::secondary;

/// Enters the guest until it calls VMCALL, skipping what exits; keeps every exit.
struct guest_rig : vmx_rig {
  using vmx_rig::vmx_rig;
  std::vector<vmx::exit_info> seen;

  void run_both(rig::code guest_body, std::function<void(const vmx::exit_info&)> handle = {}) {
    run_guest(std::move(guest_body));
    run_host([this, handle]() -> program {
      vmx::exit_info exit = co_await isa::vmlaunch();
      for (;;) {
        if (exit.reason == exit_reason::vmcall || exit.entry_failure) co_return;
        seen.push_back(exit);
        if (handle) handle(exit);
        if (exit.instruction_length != 0) {
          const std::uint64_t rip = co_await isa::vmread(field::guest_rip);
          co_await isa::vmwrite(field::guest_rip, rip + exit.instruction_length);
        }
        exit = co_await isa::vmresume();
      }
    });
    hw.run_until(cycles{3'000'000});
    EXPECT_TRUE(done);
    hw.check_accounting();
  }
  std::uint64_t& reg(gpr r) { return guest->reg(r); }
};

TEST(system_instructions, cr0_is_masked_and_shadowed) {
  guest_rig r;
  r.setup.more.insert(r.setup.more.end(), {{field::cr0_guest_host_mask, 1u << 3}, {field::cr0_read_shadow, 0}});
  std::uint64_t first = 0, second = 0;
  r.run_both([&]() -> program {
    first = co_await isa::mov_from_cr(0);
    co_await isa::mov_to_cr(0, first | 2);  // MP is the guest's own
    second = co_await isa::mov_from_cr(0);
    co_await isa::mov_to_cr(0, second | 8, gpr::rsi);  // TS is the host's: differs from the shadow
    co_await isa::clts();                              // TS masked, shadow clear: nothing
    co_await isa::vmcall(0, 0);
  });
  EXPECT_EQ(second, first | 2);
  EXPECT_EQ(second & 8, 0u) << "the shadow's TS";
  ASSERT_EQ(r.seen.size(), 1u);
  EXPECT_EQ(r.seen[0].reason, exit_reason::control_register_access);
  EXPECT_EQ(r.seen[0].qualification, 0x600u) << "MOV CR0 from RSI";
  EXPECT_EQ(r.reg(gpr::rsi), second | 8);
}

TEST(system_instructions, cr3_exits_follow_targets_and_results_come_from_registers) {
  guest_rig r;
  r.setup.options.primary |= primary::cr3_load_exiting | primary::cr3_store_exiting;
  r.setup.more.insert(r.setup.more.end(), {{field::cr3_target_count, 1}, {field::cr3_target_value_0, 0x7000}});
  std::uint64_t got = 0;
  r.run_both(
      [&]() -> program {
        co_await isa::mov_to_cr(3, 0x7000);
        co_await isa::mov_to_cr(3, 0x8000);
        got = co_await isa::mov_from_cr(3);
        co_await isa::vmcall(0, 0);
      },
      [&](const vmx::exit_info& exit) {
        if (exit.qualification == 0x13) r.reg(gpr::rax) = 0x1234;
      });
  ASSERT_EQ(r.seen.size(), 2u) << "the target does not exit";
  EXPECT_EQ(r.seen[0].qualification, 3u);
  EXPECT_EQ(r.seen[1].qualification, 0x13u);
  EXPECT_EQ(got, 0x1234u) << "what the handler left in RAX";
}

struct exiting_case {
  const char* name;
  std::uint64_t primary, secondary;
  vmx::mnemonic what;
  exit_reason reason;
};
void PrintTo(const exiting_case& c, std::ostream* out) { *out << c.name; }

class exiting_instructions : public ::testing::TestWithParam<exiting_case> {};

TEST_P(exiting_instructions, exit_with_the_control_and_execute_without) {
  const exiting_case& c = GetParam();
  for (const bool on : {true, false}) {
    if (!on && c.primary == 0 && c.secondary == 0) continue;  // exits always
    guest_rig r;
    // What lets it execute at all, and what makes it exit.
    r.setup.options.secondary = secondary::enable_rdtscp | secondary::enable_invpcid | secondary::enable_xsaves;
    if (on) {
      r.setup.options.primary |= c.primary;
      r.setup.options.secondary |= c.secondary;
    }
    bool went_on = false;
    r.run_both([&]() -> program {
      co_await isa::execute(c.what);
      went_on = true;
      co_await isa::vmcall(0, 0);
    });
    EXPECT_TRUE(went_on);
    ASSERT_EQ(r.seen.size(), on ? 1u : 0u) << c.name;
    if (on) EXPECT_EQ(r.seen[0].reason, c.reason);
  }
}

const exiting_case exiting[] = {
    {"RDTSCP", primary::rdtsc_exiting, 0, vmx::mnemonic::rdtscp, exit_reason::rdtscp},
    {"RDPMC", primary::rdpmc_exiting, 0, vmx::mnemonic::rdpmc, exit_reason::rdpmc},
    {"INVLPG", primary::invlpg_exiting, 0, vmx::mnemonic::invlpg, exit_reason::invlpg},
    {"INVPCID", primary::invlpg_exiting, 0, vmx::mnemonic::invpcid, exit_reason::invpcid},
    {"MOV_from_DR", primary::mov_dr_exiting, 0, vmx::mnemonic::mov_from_dr, exit_reason::mov_dr},
    {"IN", primary::unconditional_io_exiting, 0, vmx::mnemonic::in, exit_reason::io_instruction},
    {"MWAIT", primary::mwait_exiting, 0, vmx::mnemonic::mwait, exit_reason::mwait},
    {"WBINVD", 0, secondary::wbinvd_exiting, vmx::mnemonic::wbinvd, exit_reason::wbinvd},
    {"RDRAND", 0, secondary::rdrand_exiting, vmx::mnemonic::rdrand, exit_reason::rdrand},
    {"RDSEED", 0, secondary::rdseed_exiting, vmx::mnemonic::rdseed, exit_reason::rdseed},
    {"LGDT", 0, secondary::descriptor_table_exiting, vmx::mnemonic::lgdt, exit_reason::gdtr_or_idtr_access},
    {"SLDT", 0, secondary::descriptor_table_exiting, vmx::mnemonic::sldt, exit_reason::ldtr_or_tr_access},
    {"INVD", 0, 0, vmx::mnemonic::invd, exit_reason::invd},
};

INSTANTIATE_TEST_SUITE_P(all, exiting_instructions, ::testing::ValuesIn(exiting),
                         [](const auto& test) { return std::string{test.param.name}; });

TEST(system_instructions, ports_by_bitmap) {
  guest_rig r;
  r.setup.options.primary |= primary::use_io_bitmaps;
  r.setup.more.insert(r.setup.more.end(), {{field::io_bitmap_a_address, 0x9000}, {field::io_bitmap_b_address, 0xA000}});
  r.hw.physical().write<std::uint8_t>(0x9000 + 0x70 / 8, 1u << (0x71 & 7));
  std::uint32_t value = 0;
  r.run_both(
      [&]() -> program {
        value = co_await isa::in(0x70);
        co_await isa::out(0x71, 0x42, 1);
        value += co_await isa::in(0x71, 2);
        co_await isa::vmcall(0, 0);
      },
      [&](const vmx::exit_info& exit) {
        if (vmx::qualification::decode_io(exit.qualification).in) r.reg(gpr::rax) = 7;
      });
  ASSERT_EQ(r.seen.size(), 2u);
  EXPECT_EQ(r.seen[0].qualification, 0x71u << 16);
  EXPECT_EQ(r.seen[1].qualification, 0x71u << 16 | 8 | 1);
  EXPECT_EQ(value, 0xFFu + 7);
}

TEST(system_instructions, faults_exit_by_the_exception_bitmap_or_strike_the_program) {
  for (const bool intercept : {false, true}) {
    guest_rig r;
    r.setup.options.primary |= primary::use_msr_bitmaps;
    r.setup.more.insert(r.setup.more.end(), {{field::msr_bitmap_address, 0x8000},
                                             {field::exception_bitmap, intercept ? 1u << 13 | 1u << 6 : 0u}});
    std::string caught;
    r.run_guest([&]() -> program {
      try {
        co_await isa::rdmsr(0x123);  // not implemented
      } catch (const fault& f) {
        caught = f.what();
      }
      try {
        co_await isa::rdtscp();  // not enabled
      } catch (const fault& f) {
        caught += f.what();
      }
      co_await isa::vmcall(0, 0);
    });
    std::vector<std::uint32_t> words;
    r.run_host([&]() -> program {
      vmx::exit_info exit = co_await isa::vmlaunch();
      while (exit.reason != exit_reason::vmcall) {
        words.push_back(exit.interruption_information);
        EXPECT_EQ(co_await isa::vmread(field::guest_rip), test_guest.rip()) << "at the instruction";
        // Given back to the guest, with its error code.
        co_await isa::vmwrite(field::vm_entry_interruption_information, exit.interruption_information);
        co_await isa::vmwrite(field::vm_entry_exception_error_code, 0);
        exit = co_await isa::vmresume();
      }
    });
    r.hw.run_until(cycles{100'000});
    EXPECT_TRUE(r.done);
    EXPECT_EQ(caught, "#GP(0)#UD") << "intercepted or not";
    EXPECT_EQ(words,
              intercept ? (std::vector<std::uint32_t>{0x8000'0B0Du, 0x8000'0306u}) : std::vector<std::uint32_t>{});
  }
}

TEST(system_instructions, monitor_trap_flag_exits_after_one_instruction) {
  for (const bool stepped : {false, true}) {
    vmx_rig r{bare_config(1, stepped)};
    r.setup.options.primary |= primary::monitor_trap_flag;
    word& w = r.hw.physical().word_at(0x20'0000);
    r.run_guest([&]() -> program {
      co_await isa::mov_to_dr(0, 1);
      co_await isa::compute(cycles{1000});
      co_await isa::spin_while(w, spin_predicate::while_equal(0), test_spin, nullptr, 3);
      co_await isa::vmcall(0, 0);
    });
    std::vector<exit_reason> reasons;
    r.run_host([&]() -> program {
      vmx::exit_info exit = co_await isa::vmlaunch();
      for (int n = 0; n < 6; ++n) {
        reasons.push_back(exit.reason);
        exit = co_await isa::vmresume();
      }
      co_await isa::vmwrite(
          field::primary_processor_based_controls,
          co_await isa::vmread(field::primary_processor_based_controls) & ~std::uint64_t{primary::monitor_trap_flag});
      exit = co_await isa::vmresume();
      reasons.push_back(exit.reason);
    });
    r.hw.run_until(cycles{100'000});
    ASSERT_TRUE(r.done);
    ASSERT_EQ(reasons.size(), 7u);
    for (int n = 0; n < 6; ++n) EXPECT_EQ(reasons[static_cast<std::size_t>(n)], exit_reason::monitor_trap_flag);
    EXPECT_EQ(reasons.back(), exit_reason::vmcall);
  }
}

TEST(system_instructions, mwait_ends_by_a_store_to_the_line) {
  guest_rig r{bare_config(2)};
  word& w = r.hw.physical().word_at(0x20'0000);
  word& elsewhere = r.hw.physical().word_at(0x20'1000);
  std::uint64_t began = 0, ended = 0, at_once = 0;
  r.run(1, [&]() -> program {
    co_await isa::compute(cycles{40'000});
    co_await isa::store(elsewhere, 1);
    co_await isa::compute(cycles{10'000});
    co_await isa::store(w, 1);
    co_await rig::sleep();
  });
  r.run_both([&]() -> program {
    co_await isa::mwait();  // nothing is armed
    at_once = co_await isa::rdtsc();
    co_await isa::monitor(w);
    began = co_await isa::rdtsc();
    co_await isa::mwait();
    ended = co_await isa::rdtsc();
    co_await isa::vmcall(0, 0);
  });
  EXPECT_LT(at_once, 10'000u);
  EXPECT_LT(began, 12'000u);
  EXPECT_GT(ended, 50'000u);
  EXPECT_LT(ended, 60'000u);
}

TEST(system_instructions, a_vm_exit_disarms_the_monitor) {
  guest_rig r;
  word& w = r.hw.physical().word_at(0x20'0000);
  std::uint64_t after = 0;
  r.run_both([&]() -> program {
    co_await isa::monitor(w);
    co_await isa::cpuid(0);
    co_await isa::mwait();
    after = co_await isa::rdtsc();
    co_await isa::vmcall(0, 0);
  });
  EXPECT_LT(after, 20'000u) << "there was nothing to wait for";
}

TEST(system_instructions, tpause_ends_at_its_deadline_or_the_systems_limit) {
  guest_rig r;
  r.setup.options.secondary = secondary::enable_user_wait_and_pause;
  machine_config c = bare_config(1);
  c.capabilities = vmx::find_capability_row("sapphire_rapids")->values;
  guest_rig s{c};
  s.setup.options.secondary = secondary::enable_user_wait_and_pause;
  s.setup.options.primary |= primary::use_msr_bitmaps;
  s.setup.more.emplace_back(field::msr_bitmap_address, 0x8000);
  std::uint64_t t[3] = {};
  bool limited[2] = {};
  s.run_both([&]() -> program {
    t[0] = co_await isa::rdtsc();
    limited[0] = co_await isa::tpause(t[0] + 5'000);
    t[1] = co_await isa::rdtsc();
    co_await isa::wrmsr(msr::umwait_control, 2'000);
    limited[1] = co_await isa::tpause(t[1] + 5'000);
    t[2] = co_await isa::rdtsc();
    co_await isa::vmcall(0, 0);
  });
  EXPECT_FALSE(limited[0]);
  EXPECT_GE(t[1], t[0] + 5'000);
  EXPECT_LT(t[1], t[0] + 5'200);
  EXPECT_TRUE(limited[1]);
  EXPECT_GE(t[2], t[1] + 2'000);
  EXPECT_LT(t[2], t[1] + 2'400);
}

TEST(system_instructions, ept_violations_and_misconfigurations) {
  guest_rig r;
  r.setup.options.secondary = secondary::enable_ept;
  memory& m = r.hw.physical();
  // One 4-KByte page at guest-physical 1000H, readable only; an entry at 2000H that is writable but not readable.
  m.write<std::uint64_t>(0x5'0000, 0x5'1000 | 7);
  m.write<std::uint64_t>(0x5'1000, 0x5'2000 | 7);
  m.write<std::uint64_t>(0x5'2000, 0x5'3000 | 7);
  m.write<std::uint64_t>(0x5'3000 + 8 * 1, 0x9'9000 | 6 << 3 | 1);
  m.write<std::uint64_t>(0x5'3000 + 8 * 2, 0x9'A000 | 6 << 3 | 2);
  r.setup.more.emplace_back(field::ept_pointer, 0x5'0000 | 3 << 3 | 6);
  vmx::ept_access read, write;
  write.read = false;
  write.write = true;
  std::uint64_t at = 0;
  r.run_guest([&]() -> program {
    at = co_await isa::guest_access(0x1008, read);
    co_await isa::guest_access(0x1010, write);
    co_await isa::guest_access(0x2000, read);
    co_await isa::vmcall(0, 0);
  });
  r.run_host([&]() -> program {
    vmx::exit_info exit = co_await isa::vmlaunch();
    while (exit.reason != exit_reason::vmcall) {
      r.seen.push_back(exit);
      if (exit.reason == exit_reason::ept_violation)
        r.hw.physical().write<std::uint64_t>(0x5'3000 + 8 * 1, 0x9'9000 | 6 << 3 | 3);
      else
        r.hw.physical().write<std::uint64_t>(0x5'3000 + 8 * 2, 0x9'A000 | 6 << 3 | 3);
      exit = co_await isa::vmresume();
    }
  });
  r.hw.run_until(cycles{100'000});
  ASSERT_TRUE(r.done);
  EXPECT_EQ(at, 0x9'9008u);
  ASSERT_EQ(r.seen.size(), 2u);
  EXPECT_EQ(r.seen[0].reason, exit_reason::ept_violation);
  EXPECT_EQ(r.seen[0].qualification & 0x3F, 2u | 1u << 3) << "a write; readable";
  EXPECT_EQ(r.seen[0].guest_physical_address, 0x1010u);
  EXPECT_EQ(r.seen[1].reason, exit_reason::ept_misconfiguration);
  EXPECT_EQ(r.seen[1].guest_physical_address, 0x2000u);
}

TEST(system_instructions, vmfunc_switches_the_ept_pointer_without_an_exit) {
  guest_rig r;
  r.setup.options.secondary = secondary::enable_ept | secondary::enable_vm_functions;
  memory& m = r.hw.physical();
  for (const std::uint64_t root : {0x5'0000, 0x6'0000}) {
    m.write<std::uint64_t>(root, (root + 0x1000) | 7);
    m.write<std::uint64_t>(root + 0x1000, (root + 0x8'0000 + 0x4000'0000 - root) | 7 | 6 << 3 | 1 << 7);
  }
  m.write<std::uint64_t>(0x5'1000, 0x4000'0000 | 7 | 6 << 3 | 1 << 7);  // 1-GByte pages
  m.write<std::uint64_t>(0x6'1000, 0x8000'0000 | 7 | 6 << 3 | 1 << 7);
  m.write<std::uint64_t>(0x7'0000 + 8, 0x6'0000 | 3 << 3 | 6);
  r.setup.more.insert(r.setup.more.end(), {{field::ept_pointer, 0x5'0000 | 3 << 3 | 6},
                                           {field::vm_function_controls, 1},
                                           {field::eptp_list_address, 0x7'0000}});
  physical_address before = 0, after = 0;
  r.run_both([&]() -> program {
    before = co_await isa::guest_access(0x10, {});
    co_await isa::vmfunc(0, 1);
    after = co_await isa::guest_access(0x10, {});
    co_await isa::vmfunc(0, 2);  // no legal pointer there
    co_await isa::vmcall(0, 0);
  });
  EXPECT_EQ(before, 0x4000'0010u);
  EXPECT_EQ(after, 0x8000'0010u);
  ASSERT_EQ(r.seen.size(), 1u);
  EXPECT_EQ(r.seen[0].reason, exit_reason::vmfunc);
}

TEST(system_instructions, shadow_vmcs_is_read_without_an_exit) {
  guest_rig r;
  r.setup.options.secondary = secondary::vmcs_shadowing;
  memory& m = r.hw.physical();
  const std::uint32_t revision = r.hw.config().capabilities.revision();
  m.write<std::uint32_t>(0x6000, revision | vmx::vmcs_region::shadow_bit);
  vmx::vmcs shadow{revision, true};
  shadow.write(field::guest_rip, 0x1234);
  shadow.store(m, 0x6000);
  r.setup.more.insert(r.setup.more.end(), {{field::vmcs_link_pointer, 0x6000},
                                           {field::vmread_bitmap_address, 0x7000},
                                           {field::vmwrite_bitmap_address, 0x8000}});
  std::uint64_t rip = 0, error = 0;
  r.run_both([&]() -> program {
    rip = co_await isa::vmread(field::guest_rip);
    try {
      co_await isa::vmwrite(static_cast<vmx::field>(0x0FFE), 1);  // no such component
    } catch (const vm_fail& f) {
      error = f.number();
    }
    co_await isa::vmcall(0, 0);
  });
  EXPECT_EQ(rip, 0x1234u);
  EXPECT_EQ(error, 12u);
  EXPECT_TRUE(r.seen.empty());
}

TEST(system_instructions, invept_and_invvpid_of_the_host) {
  rig r{bare_config(1)};
  std::vector<std::string> outcomes;
  r.run(0, [&]() -> program {
    const auto attempt = [&outcomes](const char* what) { outcomes.emplace_back(what); };
    try {
      co_await isa::invept(2, 0);
    } catch (const fault& f) {
      attempt(f.what());
    }
    co_await enter_root_operation(r.hw);
    r.hw.physical().write<std::uint32_t>(0x3000, r.hw.config().capabilities.revision());
    co_await isa::vmclear(0x3000);
    co_await isa::vmptrld(0x3000);
    co_await isa::invept(2, 0);
    co_await isa::invvpid(1, 5);
    try {
      co_await isa::invvpid(1, 0);
    } catch (const vm_fail& f) {
      attempt(f.what());
    }
    attempt("end");
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{100'000});
  EXPECT_EQ(outcomes, (std::vector<std::string>{"#UD", "VMfailValid(28)", "end"}));
}

// -- transitions ------------------------------------------------------------------------------------------------------

void put_entry(memory& m, physical_address at, std::uint32_t number, std::uint64_t value) {
  m.write<std::uint32_t>(at, number);
  m.write<std::uint32_t>(at + 4, std::uint32_t{0});
  m.write<std::uint64_t>(at + 8, value);
}

TEST(msr_lists, are_carried_out_and_take_time) {
  guest_rig r;
  memory& m = r.hw.physical();
  put_entry(m, 0x9000, msr::lstar, 0x1111);  // the guest's, loaded at entry
  put_entry(m, 0xA000, msr::lstar, 0);       // stored at the exit
  put_entry(m, 0xA010, msr::time_stamp_counter, 0);
  put_entry(m, 0xB000, msr::lstar, 0x2222);  // the host's, loaded at the exit
  r.setup.options.primary |= primary::use_msr_bitmaps;
  r.setup.more.insert(r.setup.more.end(), {{field::msr_bitmap_address, 0x8000},
                                           {field::vm_entry_msr_load_address, 0x9000},
                                           {field::vm_entry_msr_load_count, 1},
                                           {field::vm_exit_msr_store_address, 0xA000},
                                           {field::vm_exit_msr_store_count, 2},
                                           {field::vm_exit_msr_load_address, 0xB000},
                                           {field::vm_exit_msr_load_count, 1},
                                           {field::tsc_offset, 1'000'000}});
  std::uint64_t in_guest = 0, in_host = 0;
  r.run_guest([&]() -> program {
    in_guest = co_await isa::rdmsr(msr::lstar);
    co_await isa::wrmsr(msr::lstar, 0x3333);
    co_await isa::vmcall(0, 0);
  });
  r.run_host([&]() -> program {
    co_await isa::vmlaunch();
    in_host = co_await isa::rdmsr(msr::lstar);
  });
  r.hw.run_until(cycles{100'000});
  ASSERT_TRUE(r.done);
  EXPECT_EQ(in_guest, 0x1111u);
  EXPECT_EQ(in_host, 0x2222u);
  EXPECT_EQ(m.read<std::uint64_t>(0xA008), 0x3333u);
  EXPECT_EQ(m.read<std::uint64_t>(0xA018), r.exits()[0]->began.count()) << "the host's TSC, when the exit began";
  std::map<vmx::transition_step, std::uint64_t> spent;
  for (const auto& f : r.log.of<micro_step_fact>()) spent[f->step] += f->duration.count();
  EXPECT_EQ(spent[vmx::transition_step::load_guest_msrs], r.hw.costs().entry.load_msr.count());
  EXPECT_EQ(spent[vmx::transition_step::store_guest_msrs], 2 * r.hw.costs().exit.store_msr.count());
  EXPECT_EQ(spent[vmx::transition_step::load_host_msrs], r.hw.costs().exit.load_msr.count());
}

TEST(msr_lists, a_bad_entry_fails_the_entry_with_its_number) {
  guest_rig r;
  put_entry(r.hw.physical(), 0x9000, msr::lstar, 1);
  put_entry(r.hw.physical(), 0x9010, msr::fs_base, 1);
  r.setup.more.insert(r.setup.more.end(),
                      {{field::vm_entry_msr_load_address, 0x9000}, {field::vm_entry_msr_load_count, 2}});
  r.run_guest([]() -> program { co_await rig::sleep(); });
  vmx::exit_info exit;
  r.run_host([&]() -> program { exit = co_await isa::vmlaunch(); });
  r.hw.run_until(cycles{100'000});
  ASSERT_TRUE(r.done);
  EXPECT_TRUE(exit.entry_failure);
  EXPECT_EQ(exit.reason, exit_reason::entry_failure_msr_loading);
  EXPECT_EQ(exit.qualification, 2u);
  EXPECT_EQ(r.hw.cpu(0).vmx_state().current->launch(), vmx::launch_state::clear);
}

// The last MSR of the list decides whether the guest is entered, and so what the books and the facts say of it.
TEST(msr_lists, an_entry_leaves_its_facts_only_if_the_whole_list_is_good) {
  for (const bool good : {false, true}) {
    guest_rig r;
    put_entry(r.hw.physical(), 0x9000, msr::lstar, 1);
    put_entry(r.hw.physical(), 0x9010, good ? msr::lstar : msr::fs_base, 2);
    r.setup.more.insert(r.setup.more.end(),
                        {{field::vm_entry_msr_load_address, 0x9000}, {field::vm_entry_msr_load_count, 2}});
    bool in_guest = false, back_in_host = false;
    r.run_guest([&]() -> program {
      in_guest = true;
      co_await isa::compute(cycles{10'000});
      co_await isa::vmcall(0, 0);
    });
    r.run_host([&]() -> program {
      co_await isa::vmlaunch();
      back_in_host = true;
    });
    r.hw.run_until(cycles{100'000});
    r.hw.check_accounting();
    EXPECT_TRUE(back_in_host);
    EXPECT_EQ(in_guest, good);
    EXPECT_EQ(r.log.of<vm_entry_fact>().size(), good ? 1u : 0u);
    EXPECT_EQ(r.log.of<vm_exit_fact>().size(), good ? 1u : 0u) << "as many exits as entries";
    EXPECT_EQ(r.log.of<micro_step_fact>().empty(), !good) << "the steps of an entry belong to one";
    std::uint64_t non_root = 0;
    for (std::size_t b = 0; b < accounting::buckets; ++b)
      non_root += r.hw.cpu(0).account().total(vmx_operation::non_root, static_cast<bucket>(b)).count();
    EXPECT_EQ(non_root, good ? 10'000u : 0u) << "cycles in the guest";
  }
}

TEST(msr_lists, a_bad_entry_at_the_exit_is_a_vmx_abort_that_ends_the_cpu) {
  guest_rig r;
  put_entry(r.hw.physical(), 0xA000, 0x123, 0);
  r.setup.more.insert(r.setup.more.end(),
                      {{field::vm_exit_msr_store_address, 0xA000}, {field::vm_exit_msr_store_count, 1}});
  r.run_guest([]() -> program { co_await isa::vmcall(0, 0); });
  r.run_host([]() -> program { co_await isa::vmlaunch(); });
  r.interrupt(0, cycles{20'000}, 0x50);
  r.interrupt(0, cycles{21'000}, 0, apic::delivery_mode::init);
  r.hw.run_until(cycles{100'000});
  EXPECT_FALSE(r.done);
  ASSERT_EQ(r.log.of<vmx_abort_fact>().size(), 1u);
  EXPECT_EQ(r.log.of<vmx_abort_fact>()[0]->abort, vmx::vmx_abort::saving_guest_msrs);
  EXPECT_EQ(r.hw.physical().read<std::uint32_t>(vmx_rig::region + 4), 1u) << "the indicator";
  r.hw.check_accounting();
}

TEST(virtual_nmis, bit_3_is_virtual_and_the_window_exits_when_it_ends) {
  vmx_rig r;
  r.setup.options.pin |= vmx::pin_based::virtual_nmis;
  std::vector<std::string> trail;
  r.handler = [&](logical_cpu&, std::uint8_t vector) -> program {
    trail.push_back("handler " + std::to_string(vector));
    co_await isa::compute(cycles{2'000});
  };
  r.run_guest([]() -> program {
    co_await isa::compute(cycles{5'000});
    co_await isa::vmcall(0, 0);
  });
  r.run_host([&]() -> program {
    co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0202u);
    const std::uint64_t controls = co_await isa::vmread(field::primary_processor_based_controls);
    co_await isa::vmwrite(field::primary_processor_based_controls, controls | primary::nmi_window_exiting);
    vmx::exit_info exit = co_await isa::vmlaunch();
    trail.push_back("exit " + std::to_string(static_cast<int>(exit.reason)));
    co_await isa::vmwrite(field::primary_processor_based_controls, controls);
    exit = co_await isa::vmresume();
    trail.push_back("exit " + std::to_string(static_cast<int>(exit.reason)));
  });
  r.hw.run_until(cycles{100'000});
  ASSERT_TRUE(r.done);
  EXPECT_EQ(trail, (std::vector<std::string>{"handler 2", "exit 8", "exit 18"}))
      << "the window opens with the IRET of the injected NMI's handler";
}

}  // namespace
}  // namespace vmxsys::cpu::testing
