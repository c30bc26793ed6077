#pragma once
#include <boost/describe.hpp>
#include <boost/json/conversion.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <vmxsys/cpu/facts/cpu_facts.hpp>
#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/models/workloads/bench_facts.hpp>

namespace vmxsys::platform {

/// Lengths of time that were seen, in TSC cycles. Without samples there is none of the figures: JSON has null for all
/// of it, texts and pictures say so.
struct cycle_summary {
  std::uint64_t count = 0;
  bool empty() const { return count == 0; }
  double mean = 0;
  std::uint64_t median = 0;
  std::uint64_t p99 = 0;
  std::uint64_t max = 0;
};
BOOST_DESCRIBE_STRUCT(cycle_summary, (), (count, mean, median, p99, max))
void tag_invoke(boost::json::value_from_tag, boost::json::value& to, const cycle_summary& s);
cycle_summary tag_invoke(boost::json::value_to_tag<cycle_summary>, const boost::json::value& from);

/// VM exits that belong to one step. A tick or another guest of the machine may add some to a few rounds, so beside the
/// mean there is what happens in most of them. Without steps as cycle_summary.
struct exit_summary {
  std::uint64_t count = 0;  ///< steps
  bool empty() const { return count == 0; }
  double mean = 0;          ///< exits per step
  std::uint32_t usual = 0;  ///< in most of them
  std::string reasons;      ///< in order, as KVM names them, "" for none: "2 x MSR_WRITE, HLT"
  double share = 0;         ///< of steps with exactly these
};
BOOST_DESCRIBE_STRUCT(exit_summary, (), (count, mean, usual, reasons, share))
void tag_invoke(boost::json::value_from_tag, boost::json::value& to, const exit_summary& s);
exit_summary tag_invoke(boost::json::value_to_tag<exit_summary>, const boost::json::value& from);

/// What stands in a table in place of a figure that has no samples, and what explains it below.
inline constexpr const char* no_figure = "n/a";
inline constexpr const char* no_figure_means = "  n/a: no samples in the time that was measured\n";
/// `figure` of `s` as text.
std::string shown(const cycle_summary& s, std::uint64_t cycle_summary::*figure);
/// The usual exits, "-" for none.
std::string shown(const exit_summary& s);
/// The number of the usual exits.
std::string shown_count(const exit_summary& s);

/// Collects lengths.
class cycle_samples {
 public:
  void add(cycles length) { all_.push_back(length.count()); }
  cycle_summary summary() const;

 private:
  std::vector<std::uint64_t> all_;
};

/// Collects the exits of steps.
class exit_samples {
 public:
  void add(const std::vector<vmx::exit_reason>& in_one_step) { ++patterns_[in_one_step]; }
  exit_summary summary() const;

 private:
  std::map<std::vector<vmx::exit_reason>, std::uint64_t> patterns_;
};

/// What became of the rounds of the workload `ipi`. An interrupt's way to one target has three parts: `send` from the
/// first instruction of the sender to the message that leaves a local APIC, in guest or host; `flight` to the
/// target's; `receive` from there to the first instruction of the handler.
struct ipi_timing_result {
  std::uint64_t tsc_khz = 0;
  std::string fact_hash;
  std::uint64_t rounds = 0;
  cycle_summary send, flight, receive;
  cycle_summary latency;   ///< all three
  cycle_summary last;      ///< to the target that is reached last, one a round
  cycle_summary sender;    ///< what a round takes the sender: with `call`, until all have answered
  exit_summary sending;    ///< exits of the sender, one step a round
  exit_summary receiving;  ///< exits of a target from the arrival until its handler has done its work
};
BOOST_DESCRIBE_STRUCT(ipi_timing_result, (),
                      (tsc_khz, fact_hash, rounds, send, flight, receive, latency, last, sender, sending, receiving))

/// Follows the interrupts of the workload `ipi` through hardware and hypervisor by their causes: the step of the
/// sender, the message that leaves while it sends, the arrival that this message caused, the handler. No two vCPUs may
/// share a CPU.
class ipi_timing final : public cpu::fact_observer {
 public:
  /// Rounds issued from `from` on count.
  explicit ipi_timing(cycles from) : from_{from} {}
  void observe(const cpu::fact_view& fact) override;
  ipi_timing_result result() const;

 private:
  struct delivery {
    cycles sent{0};
    cycles arrived{0};
    cycles entered{0};
    std::vector<vmx::exit_reason> exits;
  };
  void on_step(const models::ipi_bench_fact& f, cycles at);

  cycles from_;
  bool measuring_ = false;  // this round
  bool sending_ = false;
  std::uint32_t sender_ = 0;  // CPU of the machine
  cycles issued_{0};
  cycles last_entered_{0};
  std::vector<vmx::exit_reason> sender_exits_;
  std::map<std::uint64_t, cycles> sent_;          // by index of the fact
  std::map<std::uint32_t, delivery> deliveries_;  // by CPU of the machine
  std::uint64_t rounds_ = 0;
  cycle_samples send_, flight_, receive_, latency_, last_, sender_time_;
  exit_samples sending_exits_, receiving_exits_;
};

/// What became of the rounds of the workload `timer`.
struct timer_timing_result {
  std::uint64_t tsc_khz = 0;
  std::string fact_hash;
  std::uint64_t rounds = 0;
  cycle_summary arm;    ///< takes the one that arms
  cycle_summary late;   ///< from the deadline to the first instruction of the handler
  exit_summary arming;  ///< exits while arming
  exit_summary firing;  ///< from then until the kernel has found the timer due
};
BOOST_DESCRIBE_STRUCT(timer_timing_result, (), (tsc_khz, fact_hash, rounds, arm, late, arming, firing))

/// Follows the timers of the workload `timer`. The vCPU must stay on its CPU.
class timer_timing final : public cpu::fact_observer {
 public:
  explicit timer_timing(cycles from) : from_{from} {}
  void observe(const cpu::fact_view& fact) override;
  timer_timing_result result() const;

 private:
  void on_step(const models::timer_bench_fact& f, cycles at);

  cycles from_;
  bool measuring_ = false;
  bool entered_ = false;
  std::uint32_t on_ = 0;
  cycles began_{0};
  std::vector<vmx::exit_reason> exits_;
  std::uint64_t rounds_ = 0;
  cycle_samples arm_, late_;
  exit_samples arming_, firing_;
};

}  // namespace vmxsys::platform
