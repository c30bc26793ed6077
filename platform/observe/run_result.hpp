#pragma once
#include <boost/describe.hpp>
#include <boost/json/fwd.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <vmxsys/platform/observe/base/statistic.hpp>

// What a run says about itself: the document that `--json` prints and `stats.json` holds. Times are in nanoseconds of
// simulated time, counts are exact. A member's name is its JSON key.
namespace vmxsys::platform {

/// Durations that were seen.
struct time_summary {
  std::uint64_t count = 0;
  std::uint64_t min_ns = 0;
  std::uint64_t mean_ns = 0;
  std::uint64_t max_ns = 0;
};
BOOST_DESCRIBE_STRUCT(time_summary, (), (count, min_ns, mean_ns, max_ns))

/// One row of the exit table. `software` is what a tracer sees, from kvm_exit to the next kvm_entry of the thread;
/// `all` runs from the guest's last cycle to its next, with the hardware's part.
struct exit_row {
  std::string reason;
  std::uint32_t number = 0;
  std::uint64_t count = 0;
  double share = 0;
  time_summary software;
  time_summary all;
};
BOOST_DESCRIBE_STRUCT(exit_row, (), (reason, number, count, share, software, all))

/// Where CPU time went; `share` of all CPUs' time.
struct time_row {
  std::string operation;  ///< VMX operation: "root" or "non-root"
  std::string bucket;
  std::uint64_t ns = 0;
  double share = 0;
};
BOOST_DESCRIBE_STRUCT(time_row, (), (operation, bucket, ns, share))

/// A part of the mean PAUSE exit, from the guest's last cycle to its next.
struct part_row {
  std::string part;
  double mean_ns = 0;
  double share = 0;
};
BOOST_DESCRIBE_STRUCT(part_row, (), (part, mean_ns, share))

struct vm_row {
  std::string name;
  std::uint64_t work = 0;           ///< units its workload finished
  std::uint64_t guest_ns = 0;       ///< in non-root operation, all vCPUs
  std::uint64_t least_vcpu_ns = 0;  ///< of the vCPU that had least, and most
  std::uint64_t most_vcpu_ns = 0;
  std::uint64_t ple_exits = 0;
};
BOOST_DESCRIBE_STRUCT(vm_row, (), (name, work, guest_ns, least_vcpu_ns, most_vcpu_ns, ple_exits))

/// Directed yields and what became of them.
struct yield_summary {
  std::uint64_t handled = 0;      ///< runs of the PLE handler
  std::uint64_t candidates = 0;   ///< vCPUs it looked at
  std::uint64_t attempts = 0;     ///< calls of yield_to
  std::uint64_t accepted = 0;     ///< the scheduler took the hint
  std::uint64_t same_queue = 0;   ///< accepted, and the target was on the yielder's run queue
  std::uint64_t other_queue = 0;  ///< accepted, and the target was on another CPU's
  std::uint64_t to_sibling = 0;   ///< accepted, and the yielder's CPU switched to a vCPU of the same VM
  std::uint64_t futile = 0;       ///< accepted, and the yielder was picked again all the same
  std::uint64_t nobody = 0;       ///< both queues hold one task (-ESRCH)
  std::uint64_t target_running = 0;
};
BOOST_DESCRIBE_STRUCT(yield_summary, (),
                      (handled, candidates, attempts, accepted, same_queue, other_queue, to_sibling, futile, nobody,
                       target_running))

struct spin_summary {
  std::uint64_t episodes = 0;
  std::uint64_t pauses = 0;
  std::uint64_t total_ns = 0;     ///< from begin to end, exits and preemption included
  std::uint64_t spinning_ns = 0;  ///< really spinning, in non-root operation
  std::uint64_t futile_ns = 0;    ///< of that, while the awaited holder was on no CPU
};
BOOST_DESCRIBE_STRUCT(spin_summary, (), (episodes, pauses, total_ns, spinning_ns, futile_ns))

struct lock_summary {
  time_summary waits;                  ///< of the guests
  std::uint64_t futile_ns = 0;         ///< of these, while the holder or next owner was on no CPU
  std::uint64_t holder_preempted = 0;  ///< waits with any such time
  time_summary host_waits;             ///< for the host's run-queue locks
};
BOOST_DESCRIBE_STRUCT(lock_summary, (), (waits, futile_ns, holder_preempted, host_waits))

/// A spin detector that watched the run (machine.observers), scored wait by wait: a wait is positive when the awaited
/// strand ran on no CPU at one of its PAUSEs, and detected when the detector answered during it.
struct detector_row {
  std::string name;
  std::uint32_t gap = 0;
  std::uint32_t window = 0;
  std::uint32_t state_bits = 0;
  std::uint64_t answers = 0;  ///< would-be exits in the waits scored
  std::uint64_t true_positives = 0;
  std::uint64_t false_positives = 0;
  std::uint64_t true_negatives = 0;
  std::uint64_t false_negatives = 0;
  std::uint64_t early = 0;              ///< true positives whose first answer came before the wait was in vain
  std::uint64_t answered_in_vain = 0;   ///< true positives with an answer while waiting in vain: those have a latency
  std::optional<double> precision;      ///< none without an answer
  std::optional<double> recall;         ///< none without a wait in vain
  std::uint64_t latency_median_ns = 0;  ///< first PAUSE in vain to the first answer after it
  std::uint64_t latency_p90_ns = 0;
  std::uint64_t latency_max_ns = 0;
};
BOOST_DESCRIBE_STRUCT(detector_row, (),
                      (name, gap, window, state_bits, answers, true_positives, false_positives, true_negatives,
                       false_negatives, early, answered_in_vain, precision, recall, latency_median_ns, latency_p90_ns,
                       latency_max_ns))

/// The waits that detectors were scored on.
struct detection_summary {
  std::uint64_t waits = 0;
  std::uint64_t futile_waits = 0;
  std::vector<detector_row> detectors;
};
BOOST_DESCRIBE_STRUCT(detection_summary, (), (waits, futile_waits, detectors))

/// Something legal in the configuration that is probably not meant.
struct warning_row {
  std::string path;
  std::string value;
  std::string reason;
  std::string message;  ///< all three in one line
};
BOOST_DESCRIBE_STRUCT(warning_row, (), (path, value, reason, message))

struct run_result {
  std::uint32_t schema = 1;
  std::string version;
  std::string fact_hash;  ///< lower-case hexadecimal, 16 digits
  std::uint64_t facts = 0;
  std::uint64_t seed = 0;
  std::string preset;
  std::uint64_t tsc_khz = 0;  ///< cycles a millisecond
  std::string policy;
  std::string vcpu_affinity;
  std::uint32_t ple_window_grow = 0;
  bool partial = false;        ///< the run was interrupted: everything is of what was simulated and measured until then
  std::uint64_t until_ns = 0;  ///< the end that the configuration asks for
  std::uint64_t simulated_ns = 0;   ///< what was reached of it
  std::uint64_t reached_cycle = 0;  ///< the same in cycles
  std::uint64_t measured_ns = 0;
  std::uint32_t cpus = 0;
  std::uint64_t events = 0;  ///< timeline events
  std::uint64_t ple_exits = 0;
  std::uint64_t longest_exit_streak = 0;    ///< consecutive exits of one vCPU, all PAUSE at one RIP
  std::uint64_t exit_streaks_over_100 = 0;  ///< or over what collectors.exits.long_streak says
  std::uint64_t exits_in_long_streaks = 0;
  std::uint32_t longest_exit_streak_vm = 0;
  std::uint32_t longest_exit_streak_vcpu = 0;
  std::uint64_t longest_exit_streak_began_cycle = 0;
  std::uint64_t largest_ple_window = 0;  ///< entered with or set; 0 without PAUSE-loop exiting
  std::uint64_t guest_slice_ns = 0;      ///< mean time from an entry to the PAUSE exit that ends it
  std::uint64_t switches = 0;            ///< of the host
  double guest_share = 0;                ///< of all CPU time: non-root operation
  double host_share = 0;                 ///< root operation and transitions
  double idle_share = 0;
  double fairness = 0;  ///< Jain's index over the vCPUs' time in non-root operation
  yield_summary yields;
  std::vector<vm_row> vms;
  std::vector<exit_row> exits;
  std::vector<part_row> pause_parts;
  std::vector<time_row> cpu_time;
  spin_summary spins;
  lock_summary locks;
  detection_summary detection;
  platform::statistics statistics;    ///< of the run's collectors; a JSON object {name: {value, unit}}
  std::vector<warning_row> warnings;  ///< of the configuration
};
BOOST_DESCRIBE_STRUCT(run_result, (),
                      (schema, version, fact_hash, facts, seed, preset, tsc_khz, policy, vcpu_affinity, ple_window_grow,
                       partial, until_ns, simulated_ns, reached_cycle, measured_ns, cpus, events, ple_exits,
                       longest_exit_streak, exit_streaks_over_100, exits_in_long_streaks, longest_exit_streak_vm,
                       longest_exit_streak_vcpu, longest_exit_streak_began_cycle, largest_ple_window, guest_slice_ns,
                       switches, guest_share, host_share, idle_share, fairness, yields, vms, exits, pause_parts,
                       cpu_time, spins, locks, detection, statistics, warnings))

// What Boost.JSON calls: {"exits.pauses": {"value": 7, "unit": "exits"}, ...}.
void tag_invoke(boost::json::value_from_tag, boost::json::value& to, const statistics& from);
statistics tag_invoke(boost::json::value_to_tag<statistics>, const boost::json::value& from);

/// As JSON text, indented, and back. `from_json` throws std::invalid_argument.
std::string to_json(const run_result& result);
run_result run_result_from_json(std::string_view text);

}  // namespace vmxsys::platform
