#pragma once
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/memory/bus.hpp>

#include "sc_cycle_clock.hpp"
#include "sc_departures.hpp"
#include "sc_messages.hpp"
#include "sc_portability.hpp"

namespace vmxsys::cpu {

/// What the timeline module needs of the module of one CPU: a way out for its accesses to devices.
class bus_master {
 public:
  /// Is anything bound to its socket?
  virtual bool connected() const = 0;
  /// Carries a transaction; runs in the bridge thread and may wait.
  virtual void transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) = 0;

 protected:
  ~bus_master() = default;
};

/// One machine under a SystemC kernel: its timeline runs in one SC_METHOD that one sc_event wakes, however many CPUs
/// and timers there are.
///
/// Order between the two worlds. At kernel time T the machine has executed cycles up to floor(T), in any order of the
/// processes of the delta cycle; what reaches it from outside at T is a message of cycle floor(T)+1, in phase
/// `message`. So no result depends on the order in which the kernel runs processes of one instant, nor on the quantum.
///
/// With tlm_global_quantum at zero the machine goes in lock-step with the kernel, one wake per cycle that has events.
/// With a quantum it runs ahead to the next multiple of it, but never past the kernel's next pending activity, nor past
/// the end of the run where that was declared (`horizon`). The module sets neither the quantum nor the resolution.
///
/// Accesses of CPUs to devices leave through the sockets of `physical_cpu`. One bridge thread carries them, one at a
/// time and in the order (cycle, phase, slot) of their issue, each at the kernel time of its cycle or when the one
/// before is done; the machine goes on meanwhile, up to what the kernel allows.
///
/// The machine and everything its programs name must outlive the strands: declare this module before the software. The
/// bridge's stack owns nothing, so a simulation may end at any instant.
///
/// Reports: see sc_messages.hpp. After an SC_ERROR or SC_FATAL out of the machine, it stands still.
class timeline_module : public sc_core::sc_module, private bus_if {
 public:
  /// Owns its machine. `tsc_khz`: frequency of the time-stamp counter, which is the machine's clock.
  timeline_module(const sc_core::sc_module_name& name, machine_config config, std::uint64_t tsc_khz);
  /// Runs a machine that stands already; it must outlive the module and must not have run.
  timeline_module(const sc_core::sc_module_name& name, machine& hardware, std::uint64_t tsc_khz);
  timeline_module(const timeline_module&) = delete;
  timeline_module& operator=(const timeline_module&) = delete;
  ~timeline_module() override;

  const char* kind() const override { return "vmxsys::cpu::timeline_module"; }

  machine& hardware() { return machine_; }
  const machine& hardware() const { return machine_; }
  /// The conversion between cycles and kernel time; known from the end of elaboration on.
  const cycle_clock& clock() const;

  /// Declares that the simulation will be stopped at `end` (absolute): the machine does not run ahead past it. The
  /// kernel does not tell modules where sc_start(T) ends. From then on, until another end is declared, it is in
  /// lock-step. Needed only with a quantum, and only if code looks at the machine or acts on it between two calls of
  /// sc_start.
  void horizon(const sc_core::sc_time& end) { horizon_ = end; }
  /// sc_start(duration) with its end declared; afterwards the machine's present is the kernel's. From sc_main only.
  void run_for(const sc_core::sc_time& duration);
  /// Brings the machine's present to the first cycle that does not begin before the present kernel time, so that its
  /// accounts and counters can be looked at. Changes no result.
  void synchronise();

  /// What the machine threw before it stood still; null while nothing has gone wrong. An SC_FATAL aborts the process
  /// unless `message::invariant` is given other actions; with SC_THROW the cause can be told from here.
  std::exception_ptr failure() const { return failure_; }

  // -- what the other shells, and an embedder's own, build on -------------------------------------------------------
  /// A number that orders this sender's messages among those of one cycle; by order of construction. Call while modules
  /// are constructed.
  unsigned add_sender() { return machine_.cpus() + senders_++; }
  /// The cycle at which what leaves the outside now, or `delay` from now, reaches the machine: floor(T + delay) + 1.
  /// SC_ERROR `late` if the machine is past it.
  cycles arrival(const sc_core::sc_time& delay = sc_core::SC_ZERO_TIME) const;
  /// Posts an interrupt message that reaches the local APIC of CPU `to` at `at`, which must lie after `arrival()`.
  void post(unsigned sender, unsigned to, cycles at, apic::interrupt_message message);
  /// Writes memory at cycle `arrival(delay)`, in phase message: spinners on a written word see it, CPUs lose their
  /// copies of its line.
  void write(unsigned sender, physical_address to, const void* from, std::size_t bytes,
             const sc_core::sc_time& delay = sc_core::SC_ZERO_TIME);
  /// Reads memory as it is after every event up to floor(T), with what the outside has written by now on top of it.
  void read(physical_address from, void* to, std::size_t bytes);
  /// Reads what is in memory, with outside writes on top, without letting the machine catch up: for debuggers.
  void peek(physical_address from, void* to, std::size_t bytes) const;

  /// The cycle floor(T); 0 before the end of elaboration.
  cycles here() const { return clock_ ? clock_->cycle_of(sc_core::sc_time_stamp()) : cycles{0}; }
  /// Lets the machine execute every event up to `here()`, as a read does.
  void catch_up();
  /// A slot of the timeline for something that acts inside the machine; see `arrivals`. Call while modules are
  /// constructed.
  slot add_slot(void* context, timeline::callback act) { return machine_.time().add_slot(context, act); }
  /// Arms such a slot at a cycle that lies not before `arrival()`, in phase message.
  void act_at(slot which, cycles at);

  void attach(unsigned cpu, bus_master& master);

 private:
  struct outside_write {
    cycles at;
    unsigned sender;
    physical_address to;
    std::vector<unsigned char> bytes;
  };
  void construct();
  void end_of_elaboration() override;

  void advance();
  void carry();
  void run(cycles end);
  void report_failure();
  void schedule();
  cycles limit() const;
  bool issue(const bus_request& request, cycles now) override;
  void transport(const bus_request& request);
  static void on_write(void* self, cycles now) { static_cast<timeline_module*>(self)->take_writes(now); }
  void take_writes(cycles now);
  void overlay(physical_address from, void* to, std::size_t bytes, cycles until) const;
  std::string text(const std::string& what) const { return std::string{name()} + ": " + what; }

  std::unique_ptr<machine> owned_;
  machine& machine_;
  std::uint64_t tsc_khz_;
  std::optional<cycle_clock> clock_;
  sc_core::sc_event wake_{"wake"};
  sc_core::sc_time horizon_;
  bool horizon_declared() const { return horizon_.value() != 0; }
  bool running_ = false;
  std::exception_ptr failure_;
  unsigned senders_ = 0;

  slot write_slot_;
  std::deque<outside_write> writes_;  // by (at, sender), then as they came

  std::vector<bus_master*> masters_;  // by CPU
  departures<bus_request> accesses_{"bridge_wake"};
  tlm::tlm_generic_payload payload_;
  unsigned char data_[8] = {};
};

}  // namespace vmxsys::cpu
