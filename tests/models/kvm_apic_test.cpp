#include <string>
#include <utility>

#include <vmxsys/apic/remapping/msi.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>
#include <vmxsys/models/devices/io_apic.hpp>
#include <vmxsys/models/kvm/interrupts/interrupt_path.hpp>

#include "kvm_rig.hpp"

// What the virtual local APIC of a guest does with commands and registers, whichever path interrupts take.
namespace vmxsys::models::testing {
namespace {

struct variant {
  std::string path;
  std::string apic = "x2apic_physical";
  bool fast_paths = false;
};

std::string name_of(const variant& v) { return v.path + ", " + v.apic + (v.fast_paths ? ", fast paths" : ""); }

/// A guest with each vCPU on its own CPU, and one CPU more for the host.
struct bench {
  bench(const variant& v, unsigned vcpus, std::function<void(kvm_config&)> change = {})
      : r{setup_of(v, vcpus, std::move(change)), {guest_of(v, vcpus)}} {
    r.guest().on_vector = [this](unsigned cpu, std::uint8_t vec) -> cpu::program {
      heard.push_back({cpu, vec, r.now()});
      if (then) co_await then(cpu, vec);
    };
  }
  ~bench() {
    r.guest().abandon_threads();
    r.host().abandon_threads();
  }
  static kvm_setup setup_of(const variant& v, unsigned vcpus, std::function<void(kvm_config&)> change) {
    kvm_setup s;
    s.cpus = vcpus + 1;
    s.change_hardware = [](cpu::machine_config& c) {
      c.capabilities = vmx::find_capability_row("sapphire_rapids")->values;
    };
    s.change_kvm = [v, change](kvm_config& k) {
      const settings fast{{"exit_fast_paths", true}};
      k.interrupt_path = interrupt_paths().select(v.path, v.fast_paths ? fast : settings{});
      if (change) change(k);
    };
    return s;
  }
  static vm_setup guest_of(const variant& v, unsigned vcpus) {
    vm_setup g{.vcpus = vcpus, .hz = 10};
    for (unsigned i = 0; i < vcpus; ++i) g.on.push_back({i});
    g.change_guest = [v](kernel_config& k) {
      k.apic = apic_drivers().select(v.apic);
      if (v.path == "direct") k.ipi_vector_shift = 0x20;
    };
    return g;
  }
  /// `what` in the guest's kernel on vCPU `on`, after all have come up.
  void run(unsigned on, std::function<cpu::program()> what) {
    r.add("test", {on}, [what = std::move(what)](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(20 * ms);
      co_await what();
      co_await compute_for_ever();
    });
  }
  struct arrival {
    unsigned cpu;
    std::uint8_t vector;
    cycles at;
  };
  std::vector<arrival> heard;
  std::function<cpu::program(unsigned cpu, std::uint8_t vec)> then;
  kvm_rig r;
};

constexpr std::uint32_t icr = 0x830;
constexpr std::uint64_t to(std::uint32_t destination) { return std::uint64_t{destination} << 32; }

// kvm_irq_delivery_to_apic with vector_hashing, the default since v4.5.
TEST(kvm_apic, a_lowest_priority_ipi_goes_to_one_of_those_it_addresses) {
  for (const variant& v : {variant{"injected"}, variant{"posted"}, variant{"ipi_virtualized"}}) {
    SCOPED_TRACE(name_of(v));
    bench b{v, 4};
    b.run(0, [&]() -> cpu::program {
      for (const unsigned vec : {0x50u, 0x51u, 0x53u, 0x60u}) {
        co_await isa::wrmsr(icr, to(0b1110) | 0x900 | vec);  // lowest priority, logical: vCPUs 1, 2 and 3
        co_await isa::compute(100 * us);
      }
    });
    b.r.run_until(22 * ms);
    std::vector<std::pair<unsigned, unsigned>> found;
    for (const auto& h : b.heard) found.emplace_back(h.vector, h.cpu);
    EXPECT_EQ(found, (std::vector<std::pair<unsigned, unsigned>>{{0x50, 3}, {0x51, 1}, {0x53, 3}, {0x60, 1}}));
  }
}

TEST(kvm_apic, one_that_is_disabled_takes_no_fixed_interrupt) {
  for (const variant& v : {variant{"injected"}, variant{"posted"}}) {
    SCOPED_TRACE(name_of(v));
    bench b{v, 2};
    b.run(1, [&]() -> cpu::program {
      co_await isa::cli();
      co_await isa::wrmsr(0x80F, 0xFF);
      co_await isa::compute(200 * us);
      co_await isa::wrmsr(0x80F, 0x1FF);
      co_await isa::sti();
    });
    b.run(0, [&]() -> cpu::program {
      co_await isa::compute(100 * us);
      co_await isa::wrmsr(icr, to(1) | 0x51);
      co_await isa::compute(300 * us);
      co_await isa::wrmsr(icr, to(1) | 0x52);
    });
    b.r.run_until(22 * ms);
    ASSERT_EQ(b.heard.size(), 1u);
    EXPECT_EQ(b.heard[0].vector, 0x52);
  }
}

TEST(kvm_apic, the_icr_reads_as_it_was_written) {
  for (const variant& v : {variant{"injected"}, variant{"posted"}, variant{"posted", "x2apic_physical", true},
                           variant{"ipi_virtualized"}}) {
    SCOPED_TRACE(name_of(v));
    bench b{v, 2};
    std::uint64_t first = 0, second = 0;
    b.run(0, [&]() -> cpu::program {
      co_await isa::wrmsr(icr, to(1) | 0x51);
      first = co_await isa::rdmsr(icr);
      co_await isa::wrmsr(icr, to(0b10) | 0x800 | 0x52);  // logical: no fast path
      second = co_await isa::rdmsr(icr);
    });
    b.r.run_until(21 * ms);
    EXPECT_EQ(first, to(1) | 0x51);
    EXPECT_EQ(second, to(0b10) | 0x800 | 0x52);
    EXPECT_EQ(b.heard.size(), 2u);
  }
}

TEST(kvm_apic, an_icr_with_reserved_bits_is_not_skipped) {
  for (const variant& v : {variant{"injected"}, variant{"posted"}, variant{"posted", "x2apic_physical", true}}) {
    SCOPED_TRACE(name_of(v));
    bench b{v, 2};
    b.run(0, [&]() -> cpu::program { co_await isa::wrmsr(icr, to(1) | 1 << 20 | 0x51); });
    EXPECT_THROW(b.r.run_until(21 * ms), cpu::invariant_error);
  }
}

TEST(kvm_apic, the_processor_priority_is_the_guests) {
  for (const variant& v : {variant{"injected", "xapic"}, variant{"posted", "xapic"}}) {
    SCOPED_TRACE(name_of(v));
    bench b{v, 2};
    constexpr physical_address ppr = 0xFEE000A0;
    std::uint64_t raised = 0, afterwards = 1;
    b.run(0, [&]() -> cpu::program {
      co_await b.r.guest().apic().write(0x808, 0x60);
      raised = co_await isa::mmio_read(ppr, 4);
      co_await b.r.guest().apic().write(0x808, 0);
      afterwards = co_await isa::mmio_read(ppr, 4);
    });
    b.r.run_until(21 * ms);
    EXPECT_EQ(raised, 0x60u);
    EXPECT_EQ(afterwards, 0u);
  }
}

// set_hv_timer knows no modes; start_sw_period has no advance.
TEST(kvm_apic, the_preemption_timer_is_early_in_each_mode_of_the_timer) {
  for (const char* backend : {"preemption_timer", "hrtimer"})
    for (const char* path : {"injected", "posted"})
      for (const std::uint32_t mode : {0u, 1u << 17}) {
        SCOPED_TRACE(std::string{backend} + ", " + path + (mode == 0 ? ", one-shot" : ", periodic"));
        bench b{{path}, 1, [backend](kvm_config& k) {
                  k.timer_backend = timer_backends().select(backend);
                  k.timer_advance = timer_advances().select("fixed", {{"lead", duration::us(5)}});
                }};
        cycles from{0};
        b.run(0, [&]() -> cpu::program {
          co_await isa::cli();
          co_await isa::wrmsr(0x832, mode | 0x61);
          co_await isa::wrmsr(0x83E, 0xB);
          from = b.r.now();
          co_await isa::wrmsr(0x838, 300'000);
          co_await isa::sti();
        });
        b.r.run_until(60 * ms);
        ASSERT_GE(b.heard.size(), 1u);
        const auto waits = b.r.facts<wait_lapic_expire_fact>({from, 60 * ms});
        if (std::string{backend} == "hrtimer") {
          EXPECT_EQ(waits.size(), 0u);
        } else {
          EXPECT_EQ(waits.size(), b.heard.size());
          // A periodic timer's next count is loaded before the wait for this one, and starts behind it.
          EXPECT_LT(waits.front()->delta, 0);
        }
      }
}

// An interrupt that arrives while the threshold is written is in time for this entry, or makes its guest leave.
TEST(kvm_apic, no_interrupt_slips_in_between_the_look_and_the_entry) {
  bench b{{"injected", "xapic"}, 2};
  constexpr unsigned rounds = 500;
  std::vector<cycles> sent;
  b.then = [&](unsigned, std::uint8_t vec) -> cpu::program {
    co_await b.r.guest().apic().write(0x808, vec == 0x91 ? 0 : 0x60);
  };
  b.run(1, [&]() -> cpu::program { co_await b.r.guest().apic().write(0x808, 0x60); });
  b.r.add_to_host("sender", {2}, [&](thread&) -> cpu::program {
    auto here = co_await isa::in(kernel_text);
    co_await until(25 * ms);
    const interrupt_path& path = b.r.hypervisor().path();
    for (unsigned i = 0; i < rounds; ++i) {
      co_await path.accept(b.r.vcpu(1), 0x51);  // below the TPR: a threshold is written
      co_await isa::compute(cycles{1 + 20 * i});
      sent.push_back(b.r.now());
      co_await path.accept(b.r.vcpu(1), 0x91);
      co_await isa::compute(100 * us);
    }
    co_await compute_for_ever();
  });
  b.r.run_until(90 * ms);
  std::vector<cycles> heard;
  for (const auto& h : b.heard)
    if (h.vector == 0x91) heard.push_back(h.at);
  ASSERT_EQ(sent.size(), rounds);
  ASSERT_EQ(heard.size(), rounds);
  for (unsigned i = 0; i < rounds; ++i) EXPECT_LT(heard[i], sent[i] + 30 * us) << i;
}

// Without a TPR shadow CR8 is nobody's but the hypervisor's: it must not be the host's (kvm_set_cr8).
TEST(kvm_apic, cr8_is_the_guests) {
  for (const variant& v : {variant{"injected"}, variant{"direct"}, variant{"injected", "xapic"}, variant{"posted"},
                           variant{"posted", "xapic"}}) {
    SCOPED_TRACE(name_of(v));
    bench b{v, 2};
    std::uint64_t high = 0, low = 0;
    std::size_t heard_while_high = 1;
    b.run(1, [&]() -> cpu::program {
      co_await isa::mov_to_cr(8, 9);
      high = co_await isa::mov_from_cr(8);
      co_await isa::compute(200 * us);
      heard_while_high = b.heard.size();
      co_await isa::mov_to_cr(8, 0);
      low = co_await isa::mov_from_cr(8);
    });
    b.r.add_to_host("sender", {2}, [&](thread&) -> cpu::program {
      auto here = co_await isa::in(kernel_text);
      co_await until(20 * ms + 100 * us);
      EXPECT_EQ(b.r.hw.cpu(1).local_apic().task_priority(), 0u);
      co_await b.r.hypervisor().path().accept(b.r.vcpu(1), 0x51);
      co_await compute_for_ever();
    });
    b.r.run_until(21 * ms);
    EXPECT_EQ(high, 9u);
    EXPECT_EQ(low, 0u);
    EXPECT_EQ(heard_while_high, 0u);
    EXPECT_EQ(b.heard.size(), 1u);
  }
}

/// An I/O APIC with one device, whose line stays asserted until it has been served `services` times.
class level_device final : public io_apic_sink {
 public:
  static constexpr std::uint8_t vec = 0x61;
  static constexpr unsigned pin = 4;

  explicit level_device(bench& of) : vm_{*of.r.hypervisor().vms()[0]}, chip_{*this} {
    chip_.write_register(0x11 + 2 * pin, 1u << 24);
    chip_.write_register(0x10 + 2 * pin, static_cast<std::uint32_t>(redirection_bits::level) | vec);
    vm_.on_eoi = [this](unsigned cpu, std::uint8_t vector) -> cpu::program {
      EXPECT_EQ(cpu, 1u);
      EXPECT_EQ(vector, vec);
      ++ends;
      chip_.end_of_interrupt(vector);
      co_await pass_on();
    };
  }
  bool send(const apic::msi& message, unsigned) override {
    waiting_.push_back(*apic::decode_msi(message));
    return true;
  }
  cpu::program pass_on() {
    while (!waiting_.empty()) {
      const apic::interrupt_command command = waiting_.back();
      waiting_.pop_back();
      co_await vm_.raise_level_triggered(command.destination, command.vector);
    }
  }
  void drive(bool high) { chip_.set_line(pin, high); }
  bool remote_irr() const { return (chip_.entry(pin) & redirection_bits::remote_irr) != 0; }
  unsigned ends = 0;

 private:
  virtual_machine& vm_;
  io_apic chip_;
  std::vector<apic::interrupt_command> waiting_;
};

TEST(kvm_apic, a_level_triggered_interrupt_comes_again_until_its_device_is_served) {
  for (const variant& v :
       {variant{"injected"}, variant{"injected", "xapic"}, variant{"posted"}, variant{"posted", "xapic"},
        variant{"posted", "x2apic_physical", true}, variant{"ipi_virtualized"}})
    for (const bool halts : {false, true}) {
      SCOPED_TRACE(name_of(v) + (halts ? ", halts" : ", computes"));
      bench b{v, 2};
      level_device device{b};
      constexpr unsigned raised = 20, services = 3;
      constexpr unsigned each = services + 1;  // the kernel's EOI comes before its handler, and the line is still high
      unsigned handled = 0;
      b.then = [&](unsigned, std::uint8_t) -> cpu::program {
        if (++handled == services) device.drive(false);
        co_return;
      };
      if (!halts) b.run(1, []() -> cpu::program { co_return; });
      b.r.add_to_host("device", {2}, [&](thread&) -> cpu::program {
        auto here = co_await isa::in(kernel_text);
        co_await until(22 * ms);
        for (unsigned i = 0; i < raised; ++i) {
          handled = 0;
          device.drive(true);
          co_await device.pass_on();
          co_await isa::compute(200 * us);
          EXPECT_FALSE(device.remote_irr());
          EXPECT_EQ(b.heard.size(), each * (i + 1));
        }
        co_await compute_for_ever();
      });
      b.r.run_until(30 * ms);
      EXPECT_EQ(b.heard.size(), raised * each);
      EXPECT_EQ(device.ends, raised * each);
      const std::size_t exits = b.r.exits(vmx::exit_reason::virtualized_eoi, 1).size();
      EXPECT_EQ(exits, v.path == "injected" ? 0u : raised * each);
    }
}

TEST(kvm_apic, an_ipi_that_is_not_modelled_is_not_dropped_in_silence) {
  for (const variant& v : {variant{"injected"}, variant{"posted"}, variant{"ipi_virtualized"}})
    for (const auto& [command, name] : {std::pair{0x4400u, "NMI"}, {0x4200u, "SMI"}, {0x4500u, "INIT"}}) {
      SCOPED_TRACE(name_of(v) + ", " + name);
      bench b{v, 2};
      b.run(0, [&, command = command]() -> cpu::program { co_await isa::wrmsr(icr, to(1) | command); });
      try {
        b.r.run_until(21 * ms);
        ADD_FAILURE() << "nothing said";
      } catch (const cpu::invariant_error& e) {
        EXPECT_NE(std::string{e.what()}.find(name), std::string::npos) << e.what();
      }
    }
}

}  // namespace
}  // namespace vmxsys::models::testing
