#include <gtest/gtest.h>
#include <string>

#include "rig.hpp"

namespace vmxsys::cpu::testing {
namespace {

std::string error_of(const std::function<void()>& what) {
  try {
    what();
  } catch (const invariant_error& e) {
    return e.what();
  }
  return "nothing was thrown";
}

// -- programs ---------------------------------------------------------------------------------------------------------

task<int> seven() {
  co_await isa::compute(cycles{7});
  co_return 7;
}
task<std::unique_ptr<std::string>> text_of(int n) {
  const int more = co_await seven();
  co_return std::make_unique<std::string>(std::to_string(n + more));
}
task<int> no_time(int n) { co_return n; }

TEST(program, sub_programs_return_values_and_spend_the_callers_time) {
  rig r{bare_config(1)};
  std::string text;
  cycles after{0};
  int sum = 0;
  r.run(0, [&]() -> program {
    text = *co_await text_of(35);
    after = r.now();
    for (int i = 0; i < 10; ++i) sum += co_await no_time(i);
    EXPECT_EQ(r.now(), after);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{1000});
  EXPECT_EQ(text, "42");
  EXPECT_EQ(after, cycles{7});
  EXPECT_EQ(sum, 45);
}

TEST(program, exceptions_pass_through_programs_to_whoever_catches_them) {
  rig r{bare_config(1)};
  std::vector<std::string> seen;
  struct noter {
    std::vector<std::string>& to;
    const char* text;
    ~noter() { to.push_back(text); }
  };
  const auto innermost = [&]() -> task<int> {
    noter n{seen, "innermost unwound"};
    co_await isa::compute(cycles{3});
    throw std::runtime_error{"own"};
    co_return 1;
  };
  const auto middle = [&]() -> program {
    noter n{seen, "middle unwound"};
    (void)co_await innermost();
    seen.push_back("never");
  };
  r.run(0, [&]() -> program {
    try {
      co_await middle();
    } catch (const std::runtime_error& e) {
      seen.push_back(e.what());
    }
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{1000});
  EXPECT_EQ(seen, (std::vector<std::string>{"innermost unwound", "middle unwound", "own"}));
}

TEST(program, an_exception_nobody_catches_comes_out_of_the_run) {
  rig r{bare_config(1)};
  r.run(0, []() -> program {
    co_await isa::compute(cycles{30});
    throw std::runtime_error{"nobody"};
  });
  EXPECT_THROW(r.hw.run_until(cycles{1000}), std::runtime_error);
  EXPECT_EQ(r.now(), cycles{30});
}

TEST(program, an_exception_of_an_interrupt_handler_comes_out_of_the_run) {
  rig r{bare_config(1)};
  r.handler = [](logical_cpu&, std::uint8_t) -> program {
    co_await isa::compute(cycles{3});
    throw std::runtime_error{"handler"};
  };
  r.run(0, []() -> program {
    co_await rig::accept_interrupts();
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{500}, 0x40);
  EXPECT_THROW(r.hw.run_until(cycles{1000}), std::runtime_error);
  EXPECT_EQ(r.now(), cycles{500 + 200 + 3});
}

TEST(program, faults_are_thrown_where_the_instruction_is_awaited) {
  rig r{bare_config(1)};
  std::vector<std::string> seen;
  const auto attempt = [&](auto make) -> program {
    const cycles before = r.now();
    try {
      co_await make();
      seen.push_back("ok");
    } catch (const fault& f) {
      seen.push_back(f.what());
      EXPECT_EQ(f.what_fault(), std::string{f.what()} == "#UD" ? instruction_fault::invalid_opcode
                                                               : instruction_fault::general_protection);
    } catch (const vm_fail& f) {
      seen.push_back(f.what());
    }
    EXPECT_GT(r.now(), before) << "even a fault takes time";
  };
  r.run(0, [&]() -> program {
    using vmx::field;
    co_await attempt([] { return isa::vmread(field::guest_rip); });
    co_await attempt([] { return isa::vmcall(1); });
    co_await attempt([] { return isa::vmlaunch(); });
    co_await attempt([] { return isa::rdmsr(0x12345); });
    co_await attempt([] { return isa::wrmsr(0x12345, 0); });
    co_await attempt([] { return isa::wrmsr(apic::msr::version, 0); });
    co_await attempt([] { return isa::vmxon(0x1008); });  // VMfailInvalid: no current VMCS to hold a number
    {
      auto here = co_await isa::in(user_code);
      co_await attempt([] { return isa::vmxon(vmxon_region); });
    }
    co_await enter_root_operation(r.hw);
    co_await attempt([] { return isa::vmread(field::guest_rip); });
    co_await attempt([] { return isa::vmlaunch(); });
    r.hw.physical().write<std::uint32_t>(0x3000, r.hw.config().capabilities.revision());
    r.hw.physical().write<std::uint32_t>(0x4000, 0x7777);
    co_await isa::vmclear(0x3000);
    co_await isa::vmptrld(0x3000);
    co_await attempt([] { return isa::vmcall(1); });
    co_await attempt([] { return isa::vmclear(0x3008); });
    co_await attempt([] { return isa::vmclear(vmxon_region); });
    co_await attempt([] { return isa::vmresume(); });
    co_await attempt([] { return isa::vmlaunch(); });  // a VMCS full of zeros
    co_await attempt([] { return isa::vmptrld(0x3008); });
    co_await attempt([] { return isa::vmptrld(vmxon_region); });
    co_await attempt([] { return isa::vmptrld(0x4000); });
    co_await attempt([] { return isa::vmread(static_cast<field>(0x7FFE)); });
    co_await attempt([] { return isa::vmxon(vmxon_region); });
    co_await attempt([] { return isa::vmptrst(); });
    {
      auto here = co_await isa::in(user_code);
      co_await attempt([] { return isa::vmread(field::guest_rip); });
      co_await attempt([] { return isa::vmresume(); });
    }
    co_await attempt([] { return isa::vmxoff(); });
    co_await attempt([] { return isa::vmxoff(); });
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{100'000});
  EXPECT_EQ(seen,
            (std::vector<std::string>{
                "#UD",
                "#UD",
                "#UD",
                "#GP(0)",
                "#GP(0)",
                "#GP(0)",
                "VMfailInvalid",
                "#GP(0)",  // VMX off
                "VMfailInvalid",
                "VMfailInvalid: there is a current VMCS (SDM Vol. 3C §29.1)",  // no current VMCS
                "VMfailValid(1)",
                "VMfailValid(2)",
                "VMfailValid(3)",
                "VMfailValid 5 (VMRESUME with non-launched VMCS): the launch state is launched (SDM Vol. 3C §29.1)",
                "VMfailValid 7 (VM entry with invalid control field(s)): pin-based controls: reserved bits (SDM Vol. "
                "3C §29.2.1.1): pin_based_controls = 0x0",
                "VMfailValid(9)",
                "VMfailValid(10)",
                "VMfailValid(11)",
                "VMfailValid(12)",
                "VMfailValid(15)",
                "ok",
                "#GP(0)",
                "#GP(0)",
                "ok",
                "#UD"}));
}

TEST(program, a_long_chain_of_awaits_does_not_grow_the_stack) {
  constexpr int many = 100'000;
  rig r{bare_config(1)};
  std::uint64_t sum = 0;
  r.run(0, [&]() -> program {
    for (int i = 0; i < many; ++i) co_await isa::compute(cycles{1});
    for (int i = 0; i < many; ++i) sum += static_cast<std::uint64_t>(co_await no_time(1));
    for (int i = 0; i < many; ++i) sum += static_cast<std::uint64_t>(co_await seven());
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{10 * many});
  EXPECT_EQ(sum, std::uint64_t{8} * many);
}

task<int> depth(int n) {
  if (n == 0) {
    co_await isa::compute(cycles{1});
    co_return 0;
  }
  co_return 1 + co_await depth(n - 1);
}

TEST(program, deep_calls_return_one_by_one) {
  rig r{bare_config(1)};
  int got = 0;
  r.run(0, [&]() -> program {
    got = co_await depth(5000);
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{10});
  EXPECT_EQ(got, 5000);
}

TEST(program, one_that_never_spends_time_is_an_error_not_a_hang) {
  const auto run = [](rig::code body) {
    return error_of([&] {
      rig r{bare_config(1)};
      r.run(0, body);
      r.hw.run_until(cycles{1000});
    });
  };
  EXPECT_NE(run([]() -> program {
              co_await isa::compute(cycles{17});
              for (;;) co_await isa::compute(cycles{0});
            }).find("'cpu0' issues instructions without end that take no time (cycle 17)"),
            std::string::npos);
  EXPECT_NE(run([]() -> program {
              for (;;) (void)co_await no_time(1);
            }).find("without end"),
            std::string::npos);
}

TEST(program, one_that_ends_is_an_error) {
  EXPECT_NE(error_of([] {
              rig r{bare_config(1)};
              r.run(0, []() -> program { co_await isa::compute(cycles{5}); });
              r.hw.run_until(cycles{1000});
            }).find("'cpu0' ended (cycle 5)"),
            std::string::npos);
}

// -- code locations ---------------------------------------------------------------------------------------------------

TEST(program, code_scopes_nest_and_book_where_they_stand) {
  static constexpr code_location outer{"outer", 0x1000, 0x10, 0, bucket::scheduler};
  rig r{bare_config(1)};
  strand* s = nullptr;
  std::vector<std::string> where;
  const auto note = [&] { where.emplace_back(s->location().symbol); };
  const auto inner = [&]() -> program {
    auto here = co_await isa::in(user_code);
    note();
    co_await isa::compute(cycles{100});
    throw std::runtime_error{"out of the scope"};
  };
  s = &r.run(0, [&]() -> program {
    note();
    {
      auto here = co_await isa::in(outer);
      note();
      co_await isa::compute(cycles{30});
      try {
        co_await inner();
      } catch (const std::runtime_error&) {
      }
      note();
      co_await isa::compute(cycles{3});
    }
    note();
    co_await rig::sleep();
  });
  EXPECT_EQ(outer.rip(), 0x1010u);
  r.hw.run_until(cycles{1000});
  EXPECT_EQ(where, (std::vector<std::string>{"test", "outer", "user", "outer", "test"}));
  r.hw.check_accounting();
  const accounting& a = r.hw.cpu(0).account();
  EXPECT_EQ(a.total(vmx_operation::root, bucket::scheduler), cycles{33});
  EXPECT_EQ(a.total(vmx_operation::root, bucket::user), cycles{100});
  EXPECT_EQ(a.total(vmx_operation::root, bucket::kernel), cycles{1000 - 133});
}

TEST(program, a_handler_has_a_location_of_its_own_and_sees_the_interrupted_one) {
  rig r{bare_config(1)};
  std::vector<std::string> where;
  strand* s = nullptr;
  r.handler = [&](logical_cpu&, std::uint8_t) -> program {
    where.emplace_back(s->location().symbol);
    where.emplace_back(s->interrupted_location().symbol);
    auto here = co_await isa::in(test_spin);
    where.emplace_back(s->location().symbol);
    co_await isa::compute(cycles{10});
  };
  s = &r.run(0, [&]() -> program {
    co_await rig::accept_interrupts();
    auto here = co_await isa::in(user_code);
    co_await rig::sleep();
  });
  r.interrupt(0, cycles{5000}, 0x40);
  r.hw.run_until(cycles{10'000});
  EXPECT_EQ(where, (std::vector<std::string>{"asm_common_interrupt", "user", "test_spin"}));
  EXPECT_STREQ(s->location().symbol, "user");
  EXPECT_EQ(s->depth(), 1u);
}

// -- strands ----------------------------------------------------------------------------------------------------------

TEST(strand, switching_gives_the_strand_that_was_left) {
  rig r{bare_config(1)};
  std::vector<std::string> seen;
  strand* a = nullptr;
  strand* b = nullptr;
  strand* c = nullptr;
  b = &r.make("b", [&]() -> program {
    seen.push_back("b starts");
    seen.push_back("b after " + (co_await isa::switch_to(*c))->name());
    seen.push_back("b after " + (co_await isa::switch_to(*a))->name());
    co_await rig::sleep();
  });
  c = &r.make("c", [&]() -> program {
    seen.push_back("c starts");
    co_await isa::switch_to(*a);
    ADD_FAILURE() << "nobody switches back to c";
  });
  a = &r.run(0, [&]() -> program {
    seen.push_back("a after " + (co_await isa::switch_to(*b))->name());
    const cycles before = r.now();
    seen.push_back("a after " + (co_await isa::switch_to(*a))->name());  // to itself
    EXPECT_EQ(r.now(), before + cycles{20});
    EXPECT_EQ(a->on_cpu(), &r.hw.cpu(0));
    EXPECT_EQ(b->on_cpu(), nullptr);
    seen.push_back("a after " + (co_await isa::switch_to(*b))->name());
    co_await rig::sleep();
  });
  r.hw.run_until(cycles{1000});
  EXPECT_EQ(seen, (std::vector<std::string>{"b starts", "c starts", "a after c", "a after cpu0", "b after cpu0",
                                            "a after b"}));
  std::vector<std::pair<std::uint32_t, std::uint32_t>> stacks;
  for (const auto& s : r.log.of<switch_fact>()) stacks.emplace_back(s->from, s->to);
  EXPECT_EQ(stacks,
            (std::vector<std::pair<std::uint32_t, std::uint32_t>>{
                {a->id(), b->id()}, {b->id(), c->id()}, {c->id(), a->id()}, {a->id(), b->id()}, {b->id(), a->id()}}));
}

// A preempting kernel: the handler of one thread's interrupt switches to another thread; it ends when it is back.
TEST(strand, a_handler_may_switch_strands) {
  rig r{bare_config(1)};
  std::vector<std::string> seen;
  strand* threads[2] = {nullptr, nullptr};
  std::uint64_t work[2] = {0, 0};
  r.handler = [&](logical_cpu& cpu, std::uint8_t) -> program {
    co_await isa::wrmsr(apic::msr::eoi, 0);
    const int here = cpu.active() == threads[0] ? 0 : 1;
    seen.push_back("in " + std::to_string(here) + " depth " + std::to_string(cpu.active()->depth()));
    co_await isa::switch_to(*threads[1 - here]);
    seen.push_back("back in " + std::to_string(here));
  };
  for (int i : {0, 1}) {
    const auto body = [&, i]() -> program {
      if (i == 0) co_await rig::enable_apic();
      co_await isa::sti();  // the fresh thread starts inside the other's handler, with interrupts disabled
      for (;;) {
        co_await isa::compute(cycles{10});
        ++work[i];
      }
    };
    threads[i] = i == 0 ? &r.run(0, body) : &r.make("thread1", body);
  }
  for (std::uint64_t at : {5000, 10'000, 15'000, 20'000}) r.interrupt(0, cycles{at}, 0x40);
  r.hw.run_until(cycles{25'000});
  EXPECT_EQ(seen, (std::vector<std::string>{"in 0 depth 2", "in 1 depth 2", "back in 0", "in 0 depth 2", "back in 1",
                                            "in 1 depth 2", "back in 0"}));
  EXPECT_GT(work[0], 1300u);  // 0 .. 5000, 10000 .. 15000, 20000 .. 25000
  EXPECT_GT(work[1], 850u);
  EXPECT_LT(work[1], 1000u);
  EXPECT_TRUE(r.hw.cpu(0).interrupts_enabled());
  EXPECT_EQ(threads[0]->depth(), 1u);
  EXPECT_EQ(threads[1]->depth(), 2u);
  r.hw.check_accounting();
}

TEST(strand, on_two_cpus_is_an_error) {
  EXPECT_NE(error_of([] {
              rig r{bare_config(2)};
              strand& other = r.make("other", rig::sleep);
              for (unsigned cpu : {0u, 1u})
                r.run(cpu, [&, cpu]() -> program {
                  co_await isa::compute(cycles{100 * (cpu + 1)});
                  co_await isa::switch_to(other);
                });
              r.hw.run_until(cycles{1000});
            }).find("strand 'other' is switched to while it is on CPU 0"),
            std::string::npos);
  struct same_for_all : rig {
    using rig::rig;
    strand& boot(logical_cpu&, physical_address) override { return *one; }
    strand* one = nullptr;
  };
  EXPECT_NE(error_of([] {
              same_for_all r{bare_config(2)};
              r.one = &r.run(1, rig::sleep);
              r.hw.run_until(cycles{1000});
            }).find("'cpu1' is started on CPU 1 while it is on CPU 0"),
            std::string::npos);
}

TEST(strand, in_the_middle_of_an_instruction_cannot_be_switched_to) {
  // Whoever resets a CPU leaves its strand in the middle of what it did.
  EXPECT_NE(error_of([] {
              rig r{bare_config(2)};
              strand& computes = r.run(1, rig::sleep);
              r.run(0, [&]() -> program {
                co_await isa::compute(cycles{2000});
                co_await isa::switch_to(computes);
              });
              r.interrupt(1, cycles{1000}, 0, apic::delivery_mode::init);
              r.hw.run_until(cycles{5000});
            }).find("'cpu1' is switched to in the middle of an instruction"),
            std::string::npos);
}

TEST(strand, names_and_stack_pointers_are_one_name_space) {
  rig r{bare_config(1)};
  strand& a = r.make("a", rig::sleep);
  name_space& names = r.hw.names();
  EXPECT_EQ(names.strand_at(a.rsp()), &a);
  EXPECT_EQ(names.strand_at(a.rsp() - 8), &a) << "anywhere in the stack";
  EXPECT_EQ(names.strand_at(a.rsp() + name_space::stack_size), nullptr);
  EXPECT_EQ(names.strand_at(0x1234), nullptr);
  EXPECT_EQ(a.reg(gpr::rsp), a.rsp());
  EXPECT_EQ(names.table_at(r.idtr), static_cast<interrupt_table*>(&r));
  EXPECT_EQ(names.table_at(r.idtr + name_space::table_size), nullptr);
  std::uint64_t rsp = 0;
  {
    strand gone{names, "gone"};
    rsp = gone.rsp();
    EXPECT_EQ(names.strand_at(rsp), &gone);
  }
  EXPECT_EQ(names.strand_at(rsp), nullptr);
}

// -- destruction ------------------------------------------------------------------------------------------------------

struct counted {
  explicit counted(int& n) : n_{&n} { ++n; }
  counted(const counted& other) : n_{other.n_} { ++*n_; }
  ~counted() { --*n_; }
  int* n_;
};

program busy(rig& r, int& alive, word& w, random_numbers next) {
  counted c{alive};
  co_await rig::accept_interrupts();
  for (;;) {
    counted inner{alive};
    auto here = co_await isa::in(next.one_in(2) ? user_code : test_code);
    switch (next.below(6)) {
      case 0:
        co_await isa::compute(cycles{next.between(1, 300)});
        break;
      case 1:
        co_await isa::spin_while(w, spin_predicate::while_equal(w.peek()), test_spin, nullptr, 20);
        break;
      case 2:
        co_await isa::fetch_add(w, 1);
        break;
      case 3:
        (void)co_await text_of(1);
        break;
      case 4:
        co_await isa::wrmsr(apic::msr::icr, next.below(r.hw.cpus()) << 32 | (0x40 + next.below(2) * 0x40));
        break;
      default:
        try {
          co_await isa::rdmsr(0x99999);
        } catch (const fault&) {
        }
    }
  }
}

// Run with the address sanitizer, this also proves that no frame is left and none is freed twice.
TEST(strand, dies_at_any_instant_and_takes_its_programs_along) {
  int alive = 0;
  random_numbers next{5};
  for (int i = 0; i < 400; ++i) {
    {
      rig r{bare_config(2, i % 2 == 0)};
      word& w = r.hw.physical().word_at(0x20'0000);
      r.handler = [&](logical_cpu&, std::uint8_t) -> program {
        counted c{alive};
        auto here = co_await isa::in(test_code);
        co_await isa::wrmsr(apic::msr::eoi, 0);
        co_await isa::sti();
        co_await isa::compute(cycles{150});
        co_await isa::cli();
      };
      for (unsigned cpu : {0u, 1u}) r.run(cpu, [&] { return busy(r, alive, w, random_numbers{next()}); });
      r.hw.run_until(cycles{1 + next.below(i % 3 == 0 ? 600 : 20'000)});
    }
    ASSERT_EQ(alive, 0) << i;
  }
}

TEST(strand, may_die_before_or_after_the_spin_subject_that_names_it) {
  rig r{bare_config(1)};
  auto a = std::make_unique<strand>(r.hw.names(), "a");
  auto subject = std::make_unique<spin_subject>();
  spin_subject stays;
  subject->await(a.get(), cycles{0});
  stays.await(a.get(), cycles{0});
  subject.reset();
  a.reset();
  EXPECT_EQ(stays.awaited(), nullptr);
}

// A host strand that carried a guest strand long ago must not remember it when another carries it.
TEST(strand, a_guest_strand_that_moves_to_another_host_strand_is_forgotten_by_the_first) {
  rig r{bare_config(1)};
  auto guest = std::make_unique<strand>(r.hw.names(), "guest");
  guest->start(
      []() -> program {
        for (;;) {
          co_await isa::compute(cycles{100});
          co_await isa::cpuid(0);
        }
      }(),
      test_guest);
  vmcs_setup setup;
  strand* a = nullptr;
  const auto enter = [&](bool first) -> program {
    if (first)
      co_await isa::vmlaunch();
    else
      co_await isa::vmresume();
    co_await isa::vmwrite(vmx::field::guest_rip, test_guest.rip() + 2);
  };
  strand& b = r.make("b", [&]() -> program {
    co_await enter(false);
    co_await isa::switch_to(*a);
    co_await rig::sleep();
  });
  a = &r.run(0, [&]() -> program {
    co_await enter_root_operation(r.hw);
    co_await make_vmcs(r.hw, *guest, 0x3000, setup);
    co_await enter(true);
    EXPECT_EQ(a->passenger(), guest.get());
    co_await isa::switch_to(b);
    EXPECT_EQ(a->passenger(), nullptr);
    EXPECT_EQ(b.passenger(), guest.get());
    EXPECT_EQ(guest->on_cpu(), nullptr) << "its carrier is on none";
    guest.reset();
    co_await isa::switch_to(b);
  });
  r.hw.run_until(cycles{20'000});
  EXPECT_EQ(guest, nullptr);
  EXPECT_EQ(b.on_cpu(), &r.hw.cpu(0));
  EXPECT_EQ(b.passenger(), nullptr);
}

}  // namespace
}  // namespace vmxsys::cpu::testing
