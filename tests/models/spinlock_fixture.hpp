#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <vmxsys/apic/local/interrupt.hpp>
#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/facts/fact_hash.hpp>
#include <vmxsys/cpu/program/name_space.hpp>
#include <vmxsys/cpu/program/strand.hpp>
#include <vmxsys/models/kernel/locks/catalogue.hpp>
#include <vmxsys/models/kernel/locks/queued_lock.hpp>
#include <vmxsys/models/kernel/locks/test_and_set_lock.hpp>
#include <vmxsys/models/kernel/locks/ticket_lock.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>

#include "fact_log.hpp"
#include "random_numbers.hpp"

// A bare machine whose CPUs run programs that share spinlocks, and observers of what happens to them.
namespace vmxsys::models::testing {

namespace isa = cpu::isa;

inline std::unique_ptr<spinlock> make_lock(const std::string& name, lock_environment& in) {
  return spinlocks().select(name).make(in, lock_user::kernel);
}
inline constexpr cpu::code_location work_code{"work", 0xffffffff82001000, 0, 0, cpu::bucket::kernel};
inline constexpr cpu::code_location idle_code{"idle", 0xffffffff82002000, 0, 0, cpu::bucket::kernel};
inline constexpr std::uint8_t timer_vector = 0xEC;

using vmxsys::testing::random_numbers;

inline cpu::machine_config bare(cpu::topology shape, bool stepped = false) {
  cpu::machine_config c;
  c.shape = shape;
  c.capabilities = vmx::find_capability_row("cascade_lake_sp")->values;
  c.stepped = stepped;
  return c;
}

/// Every value a word has had since it was watched.
class word_log final : public cpu::line_watcher {
 public:
  struct change {
    cycles at;
    std::uint64_t value;
  };
  word_log(cpu::machine& hw, physical_address at) : word_{hw.physical().word_at(at)}, last_{word_.peek()} {
    hw.physical().watch(word_, *this);
  }
  void line_changed(cycles now) override {
    if (word_.peek() == last_) return;
    last_ = word_.peek();
    changes.push_back({now, last_});
  }
  std::vector<std::uint64_t> values() const {
    std::vector<std::uint64_t> all;
    for (const change& c : changes) all.push_back(c.value);
    return all;
  }
  std::vector<change> changes;

 private:
  cpu::word& word_;
  std::uint64_t last_;
};

using vmxsys::testing::fact_log;

/// The machine. Give each CPU its strand with `run`, then call hw.run_until.
class lock_rig : public cpu::boot_if, public cpu::interrupt_table {
 public:
  explicit lock_rig(cpu::machine_config config)
      : hw{std::move(config)}, locks{hw, region, hw.cpus(), hw.add_fact_source()} {
    hw.facts().attach(hash);
    hw.facts().attach(log);
    idtr_ = hw.names().add(static_cast<cpu::interrupt_table&>(*this));
    strands_.resize(hw.cpus());
    hw.connect(*this);
  }

  std::unique_ptr<spinlock> make(const std::string& kind) { return make_lock(kind, locks); }
  cpu::strand& run(unsigned on, cpu::program what) {
    strands_[on] = std::make_unique<cpu::strand>(hw.names(), "cpu" + std::to_string(on));
    strands_[on]->start(std::move(what), work_code);
    if (on != 0) hw.post(on, cycles{1 + on}, hw.cpus(), {apic::delivery_mode::startup, 1, false});
    return *strands_[on];
  }
  /// A strand that no CPU starts with.
  cpu::strand& add(cpu::program what) {
    strands_.push_back(std::make_unique<cpu::strand>(hw.names(), "other"));
    strands_.back()->start(std::move(what), idle_code);
    return *strands_.back();
  }
  cpu::strand& strand(unsigned on) { return *strands_[on]; }
  void interrupt(unsigned on, cycles at) {
    hw.post(on, at, hw.cpus(), {apic::delivery_mode::fixed, timer_vector, false});
  }
  virtual cpu::program handler(unsigned /*cpu*/) { co_return; }

  cpu::strand& boot(cpu::logical_cpu& cpu, physical_address) override {
    cpu.set_idtr_base(idtr_);
    if (!strands_[cpu.number()]) run(cpu.number(), sleep());
    return *strands_[cpu.number()];
  }
  cpu::program entry(cpu::logical_cpu& cpu, std::uint8_t) override { return acknowledge(cpu.number()); }

  static cpu::program sleep() {
    for (;;) co_await isa::compute(cycles{1'000'000'000});
  }
  /// Lets fixed interrupts reach the CPU; interrupts are enabled afterwards.
  static cpu::program accept_interrupts() {
    co_await isa::wrmsr(apic::msr::svr, 0x1FF);
    co_await isa::sti();
  }
  static cpu::program start_periodic_timer(std::uint32_t period) {
    co_await isa::wrmsr(apic::msr::divide_configuration, 0b1011);
    co_await isa::wrmsr(apic::msr::lvt_timer, std::uint64_t{1} << 17 | timer_vector);
    co_await isa::wrmsr(apic::msr::initial_count, period);
  }
  /// Comes at `arrive`, holds the lock once, never comes back.
  static cpu::program visitor(spinlock& lock, cycles arrive, cycles hold) {
    co_await isa::compute(arrive);
    co_await lock.acquire();
    co_await isa::compute(hold);
    co_await lock.release();
    co_await sleep();
  }

  cpu::fact_hash hash;
  fact_log log;
  cpu::machine hw;
  cpu::region_allocator region{0x200000, 0x100000};
  lock_environment locks;

 private:
  cpu::program acknowledge(unsigned cpu) {
    co_await isa::wrmsr(apic::msr::eoi, 0);
    co_await handler(cpu);
  }
  std::uint64_t idtr_ = 0;
  std::vector<std::unique_ptr<cpu::strand>> strands_;
};

}  // namespace vmxsys::models::testing
