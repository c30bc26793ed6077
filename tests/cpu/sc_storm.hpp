#pragma once
#include <algorithm>
#include <functional>
#include <sys/wait.h>
#include <tlm_utils/multi_passthrough_target_socket.h>
#include <tlm_utils/simple_initiator_socket.h>
#include <unistd.h>
#include <vector>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/systemc/sc_interrupt_port.hpp>
#include <vmxsys/cpu/systemc/sc_memory.hpp>
#include <vmxsys/cpu/systemc/sc_physical_cpu.hpp>

#include "storm_fixture.hpp"

// Four CPUs that lock, interrupt each other, sleep on timers and talk to a device; a foreign SystemC thread that
// interrupts them and writes their memory at awkward times. The same on the bare machine.
namespace vmxsys::cpu::testing {

inline constexpr code_location storm_code{"storm", 0xffffffff81003000, 0, 0, bucket::kernel};
inline constexpr code_location storm_lock{"storm_lock", 0xffffffff81004000, 0x21, 0, bucket::spin};
inline constexpr code_location storm_bell{"storm_bell", 0xffffffff81004000, 0x82, 0, bucket::spin};
inline constexpr std::uint64_t tsc_khz = 2'594'112;
inline constexpr physical_address bell_address = 0x20'0040;
inline constexpr physical_address counter_address = 0x20'0080;
inline constexpr physical_address device_address = 0xFC00'0000;

struct generator {
  std::uint64_t state;
  std::uint64_t operator()() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545F4914F6CDD1DULL >> 8;
  }
};

class storm final : public boot_if, public interrupt_table {
 public:
  storm(machine& hw, bool with_device) : hw_{hw}, with_device_{with_device} {
    for (unsigned i = 0; i < hw.cpus(); ++i) {
      strands_.push_back(std::make_unique<strand>(hw.names(), "cpu" + std::to_string(i)));
      strands_.back()->start(main(i), storm_code);
    }
    hw.facts().attach(hash);
  }
  strand& boot(logical_cpu& on, physical_address) override { return *strands_[on.number()]; }
  program entry(logical_cpu&, std::uint8_t vector) override { return handler(vector); }

  fact_hash hash;
  std::uint64_t device_answers = 0;  // mixed

 private:
  program handler(std::uint8_t vector) {
    co_await isa::compute(cycles{10u + vector});
    co_await isa::fetch_add(counter_, 1);
    co_await isa::wrmsr(apic::msr::eoi, 0);
  }

  program main(unsigned i) {
    generator next{0x9E3779B97F4A7C15ULL * (i + 1)};
    (co_await isa::this_cpu()).set_idtr_base(idtr_);
    if (i == 0) {
      for (unsigned other = 1; other < hw_.cpus(); ++other) {
        co_await isa::wrmsr(apic::msr::icr, std::uint64_t{other} << 32 | 0x4500);
        co_await isa::compute(cycles{1000});
        co_await isa::wrmsr(apic::msr::icr, std::uint64_t{other} << 32 | 0x4608);
      }
    }
    co_await isa::wrmsr(apic::msr::svr, 0x1FF);
    co_await isa::wrmsr(apic::msr::lvt_timer, 0x400E0);  // TSC deadline
    co_await isa::sti();
    for (;;) {
      const std::uint64_t r = next();
      co_await isa::compute(cycles{r % 3000 + 1});
      switch (r >> 20 & 7) {
        case 0:
        case 1:
        case 2:
          while (co_await isa::cmpxchg(lock_, 0, 1) != 0)
            co_await isa::spin_while(lock_, spin_predicate::while_not_equal(0), storm_lock);
          co_await isa::compute(cycles{400});
          co_await isa::store(lock_, 0);
          break;
        case 3:
          co_await isa::wrmsr(apic::msr::icr, (r >> 30) % hw_.cpus() << 32 | 0xD0);
          break;
        case 4:
          co_await isa::wrmsr(apic::msr::tsc_deadline, co_await isa::rdtsc() + r % 5000 + 100);
          break;
        case 5:
          co_await isa::wrmsr(apic::msr::tsc_deadline, co_await isa::rdtsc() + 9000);
          co_await isa::hlt();
          break;
        case 6:
          if (with_device_) {
            const unsigned bytes = 1u << (r >> 40 & 3);
            const std::uint64_t answer = co_await isa::mmio_read(device_address + 8 * i, bytes);
            device_answers = device_answers * 31 + answer;
            co_await isa::compute(cycles{answer % 200 + 1});
            co_await isa::mmio_write(device_address + 8 * i, r, 4);
          }
          break;
        default: {
          const std::uint64_t seen = co_await isa::load(bell_);
          co_await isa::spin_while(bell_, spin_predicate::while_equal(seen), storm_bell, nullptr, 300);
        }
      }
    }
  }

  machine& hw_;
  bool with_device_;
  std::uint64_t idtr_ = hw_.names().add(*this);
  word& lock_ = hw_.physical().word_at(0x20'0000);
  word& bell_ = hw_.physical().word_at(bell_address);
  word& counter_ = hw_.physical().word_at(counter_address);
  std::vector<std::unique_ptr<strand>> strands_;
};

/// What the foreign thread does, as a function of its step number; picoseconds.
struct foreign_action {
  enum class kind { interrupt, bell, look } what;
  std::uint64_t at;     // absolute
  std::uint64_t delay;  // annotated
  unsigned cpu;
};

inline std::vector<foreign_action> foreign_actions(std::uint64_t until_ps) {
  std::vector<foreign_action> all;
  generator next{77};
  const cycle_clock clock{tsc_khz, {1, 1'000'000'000'000}};
  for (std::uint64_t at = 3'000'001;;) {
    const std::uint64_t r = next();
    // At an odd time, at the very time of a cycle, or one tick to either side.
    std::uint64_t t = at + r % 2'000'003;
    if ((r >> 30 & 3) != 0) t = clock.ticks_of(clock.cycle_of_ticks(t)) + (r >> 30 & 3) - 2;
    t = std::max(t, at);
    if (t + 1'000'000 >= until_ps) return all;
    const std::uint64_t delay = (r >> 33 & 3) == 0 ? (r >> 36) % 70'000 : 0;
    using k = foreign_action::kind;
    switch (r >> 50 & 3) {
      case 0:
        all.push_back({k::interrupt, t, delay, static_cast<unsigned>(r >> 40 & 3)});
        break;
      case 1:
        all.push_back({k::bell, t, delay, 0});
        break;
      case 2:
        all.push_back({k::look, t, 0, 0});
        break;
      default:
        all.push_back({k::bell, t, 0, 0});
        all.push_back({k::interrupt, t, 0, static_cast<unsigned>(r >> 40 & 3)});
        all.push_back({k::look, t, 0, 0});
    }
    at = t;
  }
}

struct result {
  std::uint64_t hash = 0;
  std::uint64_t facts = 0;
  std::uint64_t device_answers = 0;
  std::uint64_t looks = 0;
  std::uint64_t events = 0;
  std::uint64_t ok = 0;
  friend bool operator==(const result& a, const result& b) {
    return a.hash == b.hash && a.facts == b.facts && a.device_answers == b.device_answers && a.looks == b.looks;
  }
};

inline std::ostream& operator<<(std::ostream& o, const result& r) {
  return o << std::hex << r.hash << std::dec << " (" << r.facts << " facts, device " << r.device_answers << ", looks "
           << r.looks << ", " << r.events << " events)";
}

class foreign : public sc_core::sc_module {
 public:
  tlm_utils::simple_initiator_socket<foreign> interrupts{"interrupts"};
  tlm_utils::simple_initiator_socket<foreign> memory{"memory"};
  std::uint64_t looks = 0;

  foreign(const sc_core::sc_module_name& name, std::vector<foreign_action> actions)
      : sc_module{name}, actions_{std::move(actions)} {
    VMXSYS_SC_HAS_PROCESS(foreign);
    SC_THREAD(run);
  }

 private:
  template <class Socket>
  std::uint64_t access(Socket& to, bool write, std::uint64_t at, std::uint64_t value, unsigned bytes,
                       std::uint64_t delay_ps) {
    sc_core::sc_time delay{static_cast<double>(delay_ps), sc_core::SC_PS};
    payload_.set_command(write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND);
    payload_.set_address(at);
    payload_.set_data_ptr(reinterpret_cast<unsigned char*>(&value));
    payload_.set_data_length(bytes);
    payload_.set_streaming_width(bytes);
    payload_.set_byte_enable_ptr(nullptr);
    payload_.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
    to->b_transport(payload_, delay);
    if (!payload_.is_response_ok()) SC_REPORT_WARNING("/test", payload_.get_response_string().c_str());
    return value;
  }
  void run() {
    std::uint64_t bell = 0;
    for (const foreign_action& a : actions_) {
      const sc_core::sc_time at{static_cast<double>(a.at), sc_core::SC_PS};
      if (at > sc_core::sc_time_stamp()) wait(at - sc_core::sc_time_stamp());
      switch (a.what) {
        case foreign_action::kind::interrupt:
          access(interrupts, true, apic::msi_window | a.cpu << 12, 0xC0 + a.cpu, 4, a.delay);
          break;
        case foreign_action::kind::bell:
          access(memory, true, bell_address, ++bell, 8, a.delay);
          break;
        case foreign_action::kind::look:
          looks = looks * 31 + access(memory, false, counter_address, 0, 8, 0);
          break;
      }
    }
  }
  std::vector<foreign_action> actions_;
  tlm::tlm_generic_payload payload_;
};

/// A device that takes its time, tells the time, interrupts and reads memory in the middle of a transaction.
class slow_device : public sc_core::sc_module {
 public:
  tlm_utils::multi_passthrough_target_socket<slow_device> socket{"socket"};
  std::uint64_t transactions = 0;

  slow_device(const sc_core::sc_module_name& name, timeline_module& timeline)
      : sc_module{name}, timeline_{timeline}, sender_{timeline.add_sender()} {
    socket.register_b_transport(this, &slow_device::b_transport);
  }

 private:
  void b_transport(int, tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
    ++transactions;
    std::uint64_t value = sc_core::sc_time_stamp().value() + state_;
    switch (transactions % 5) {
      case 0:
        break;
      case 1:
        wait(sc_core::sc_time{123'457, sc_core::SC_PS});
        break;
      case 2:
        delay += sc_core::sc_time{40'001, sc_core::SC_PS};
        break;
      case 3: {
        wait(sc_core::sc_time{31, sc_core::SC_NS});
        std::uint64_t counter = 0;
        timeline_.read(counter_address, &counter, 8);
        value += counter << 32;
        break;
      }
      default:
        timeline_.post(sender_, transactions / 5 % 4, timeline_.arrival() + cycles{300},
                       {apic::delivery_mode::fixed, 0xB0, false});
        wait(sc_core::sc_time{7, sc_core::SC_NS});
    }
    value += sc_core::sc_time_stamp().value();
    if (transaction.is_write())
      state_ += transaction.get_data_ptr()[0];
    else
      std::memcpy(transaction.get_data_ptr(), &value, transaction.get_data_length());
    transaction.set_response_status(tlm::TLM_OK_RESPONSE);
  }
  timeline_module& timeline_;
  unsigned sender_;
  std::uint64_t state_ = 0;
};

struct storm_options {
  std::uint64_t until_ps = 5'000'000'000;
  std::uint64_t quantum_ps = 0;
  std::uint64_t slice_ps = 0;  // 0: one call of sc_start
  bool with_foreign = false;
  bool with_device = false;
  bool stepped = false;
};

inline machine_config storm_machine(bool stepped) {
  machine_config c = small_machine(4, stepped);
  c.shape = {2, 2, 1};
  return c;
}

/// Elaborates, runs, and takes the machine down: once per process.
inline result run_under_systemc(const storm_options& o) {
  using sc_core::sc_time;
  timeline_module timeline{"timeline", storm_machine(o.stepped), tsc_khz};
  interrupt_port port{"port", timeline};  // the first sender
  memory_target memory{"memory", timeline};
  sc_core::sc_vector<physical_cpu> cpus{"cpu", 4, physical_cpu::of(timeline)};
  storm software{timeline.hardware(), o.with_device};
  boot_adapter boot{software};
  for (auto& c : cpus) c.boot(boot);
  std::unique_ptr<foreign> other;
  if (o.with_foreign) {
    other = std::make_unique<foreign>("foreign", foreign_actions(o.until_ps));
    other->interrupts.bind(port.socket);
    other->memory.bind(memory.socket);
  }
  std::unique_ptr<slow_device> device;
  if (o.with_device) {
    device = std::make_unique<slow_device>("device", timeline);
    for (auto& c : cpus) c.bus.bind(device->socket);
  }
  tlm::tlm_global_quantum::instance().set(sc_time{static_cast<double>(o.quantum_ps), sc_core::SC_PS});
  for (std::uint64_t at = 0; at < o.until_ps;) {
    const std::uint64_t slice = o.slice_ps == 0 ? o.until_ps : std::min(o.slice_ps, o.until_ps - at);
    timeline.run_for(sc_time{static_cast<double>(slice), sc_core::SC_PS});
    at += slice;
    timeline.hardware().check_accounting();
  }
  return {software.hash.value(),
          software.hash.count(),
          software.device_answers,
          other ? other->looks : 0,
          timeline.hardware().time().events(),
          device ? device->transactions : 1};
}

/// The same without SystemC and without a device.
inline result run_bare(const storm_options& o) {
  machine hw{storm_machine(o.stepped)};
  storm software{hw, false};
  hw.connect(software);
  const cycle_clock clock{tsc_khz, {1, 1'000'000'000'000}};
  struct step {
    cycles at;
    foreign_action::kind what;
    std::uint64_t bell;
  };
  std::vector<step> steps;
  std::uint64_t bell = 0;
  if (o.with_foreign)
    for (const foreign_action& a : foreign_actions(o.until_ps)) {
      const cycles at = clock.cycle_of_ticks(a.at + a.delay) + cycles{1};
      if (a.what == foreign_action::kind::interrupt)
        hw.post(a.cpu,
                at + (a.cpu < 2 ? hw.costs().interrupt.flight_same_socket : hw.costs().interrupt.flight_other_socket),
                4, {apic::delivery_mode::fixed, static_cast<std::uint8_t>(0xC0 + a.cpu), false});
      else
        steps.push_back({at, a.what, a.what == foreign_action::kind::bell ? ++bell : 0});
    }
  std::stable_sort(steps.begin(), steps.end(), [](const step& a, const step& b) { return a.at < b.at; });
  std::uint64_t looks = 0;
  for (const step& s : steps) {
    hw.run_until(s.at);
    if (s.what == foreign_action::kind::bell)
      hw.physical().write<std::uint64_t>(bell_address, s.bell);
    else
      looks = looks * 31 + hw.physical().read<std::uint64_t>(counter_address);
  }
  hw.run_until(clock.cycle_of_ticks(o.until_ps - 1) + cycles{1});
  hw.check_accounting();
  return {software.hash.value(), software.hash.count(), 0, looks, hw.time().events(), 1};
}

/// A process elaborates SystemC once: every run of a comparison has its own.
inline result in_child(const std::function<result()>& body) {
  int ends[2];
  if (pipe(ends) != 0) return {};
  const bool failed_before = ::testing::Test::HasFailure();
  const pid_t child = fork();
  if (child == 0) {
    result r;
    int status = 1;
    try {
      r = body();
      status = ::testing::Test::HasFailure() && !failed_before ? 1 : 0;
    } catch (const std::exception& e) {
      std::fprintf(stderr, "%s\n", e.what());
    }
    r.ok = status == 0 ? r.ok : 0;
    const bool written = write(ends[1], &r, sizeof r) == sizeof r;
    _exit(written ? status : 2);
  }
  close(ends[1]);
  result r;
  if (read(ends[0], &r, sizeof r) != sizeof r) r = {};
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "a run failed";
  return r;
}

}  // namespace vmxsys::cpu::testing
