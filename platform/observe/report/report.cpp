#include "report.hpp"

#include <cmath>
#include <cstdio>
#include <iomanip>
#include <ostream>

namespace vmxsys::platform {

std::string readable_ns(double ns) {
  char text[32];
  if (ns < 1e3)
    std::snprintf(text, sizeof text, "%.0f ns", ns);
  else if (ns < 1e6)
    std::snprintf(text, sizeof text, "%.2f us", ns / 1e3);
  else if (ns < 1e9)
    std::snprintf(text, sizeof text, "%.2f ms", ns / 1e6);
  else
    std::snprintf(text, sizeof text, "%.2f s", ns / 1e9);
  return text;
}

std::string grouped(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, 1, ' ');
  return digits;
}

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f%%", share * 100);
  return text;
}

namespace {

void title(std::ostream& out, const char* text) { out << '\n' << text << '\n'; }

void print_exits(std::ostream& out, const run_result& r) {
  title(out, "VM exits (software: kvm_exit to kvm_entry, as a tracer sees it; all: with the hardware's part)");
  out << "  " << std::left << std::setw(22) << "reason" << std::right << std::setw(12) << "count" << std::setw(8)
      << "share" << std::setw(12) << "min" << std::setw(12) << "mean" << std::setw(12) << "max" << std::setw(14)
      << "mean, all" << '\n';
  for (const exit_row& e : r.exits)
    out << "  " << std::left << std::setw(22) << e.reason << std::right << std::setw(12) << grouped(e.count)
        << std::setw(8) << percent(e.share) << std::setw(12) << readable_ns(static_cast<double>(e.software.min_ns))
        << std::setw(12) << readable_ns(static_cast<double>(e.software.mean_ns)) << std::setw(12)
        << readable_ns(static_cast<double>(e.software.max_ns)) << std::setw(14)
        << readable_ns(static_cast<double>(e.all.mean_ns)) << '\n';
  out << "  Exits still being handled at the end of the measurement are not in this table: its counts may be smaller\n"
         "  than others by up to the number of vCPUs.\n";
}

void print_pause_parts(std::ostream& out, const run_result& r) {
  if (r.pause_parts.empty()) return;
  title(out, "What the mean PAUSE exit is made of, from the guest's last cycle to its next");
  for (const part_row& p : r.pause_parts)
    out << "  " << std::left << std::setw(34) << p.part << std::right << std::setw(12) << readable_ns(p.mean_ns)
        << std::setw(8) << percent(p.share) << '\n';
}

void print_cpu_time(std::ostream& out, const run_result& r) {
  title(out, "Where every CPU cycle went");
  for (const time_row& t : r.cpu_time)
    out << "  " << std::left << std::setw(10) << t.operation << std::setw(24) << t.bucket << std::right << std::setw(12)
        << readable_ns(static_cast<double>(t.ns)) << std::setw(8) << percent(t.share) << '\n';
}

void print_vms(std::ostream& out, const run_result& r) {
  title(out, "Virtual machines");
  out << "  " << std::left << std::setw(16) << "name" << std::right << std::setw(12) << "work" << std::setw(12)
      << "PLE exits" << std::setw(14) << "guest time" << std::setw(16) << "least vCPU" << std::setw(14) << "most vCPU"
      << '\n';
  for (const vm_row& v : r.vms)
    out << "  " << std::left << std::setw(16) << v.name << std::right << std::setw(12) << grouped(v.work)
        << std::setw(12) << grouped(v.ple_exits) << std::setw(14) << readable_ns(static_cast<double>(v.guest_ns))
        << std::setw(16) << readable_ns(static_cast<double>(v.least_vcpu_ns)) << std::setw(14)
        << readable_ns(static_cast<double>(v.most_vcpu_ns)) << '\n';
  out << "  fairness over the vCPUs (Jain's index): " << std::fixed << std::setprecision(3) << r.fairness << '\n'
      << std::defaultfloat;
}

void print_detection(std::ostream& out, const run_result& r) {
  if (r.detection.detectors.empty()) return;
  title(out, "Spin detectors that watched, scored wait by wait");
  out << "  " << grouped(r.detection.waits) << " waits of guests, " << grouped(r.detection.futile_waits)
      << " of them in vain at some PAUSE\n";
  print_detectors(out, r.detection.detectors);
}

}  // namespace

std::string optional_percent(const std::optional<double>& share) { return share ? percent(*share) : "-"; }

void print_detectors(std::ostream& out, const std::vector<detector_row>& detectors) {
  out << "  " << std::left << std::setw(33) << "detector" << std::right << std::setw(6) << "bits" << std::setw(6)
      << "gap" << std::setw(8) << "window" << std::setw(8) << "true+" << std::setw(8) << "false+" << std::setw(8)
      << "false-" << std::setw(8) << "true-" << std::setw(11) << "precision" << std::setw(8) << "recall"
      << std::setw(12) << "latency" << std::setw(12) << "p90" << '\n';
  for (const detector_row& d : detectors) {
    const auto time = [&](std::uint64_t ns) {
      return d.answered_in_vain == 0 ? std::string{"-"} : readable_ns(static_cast<double>(ns));
    };
    out << "  " << std::left << std::setw(33) << d.name << std::right << std::setw(6) << d.state_bits << std::setw(6)
        << d.gap << std::setw(8) << d.window << std::setw(8) << d.true_positives << std::setw(8) << d.false_positives
        << std::setw(8) << d.false_negatives << std::setw(8) << d.true_negatives << std::setw(11)
        << optional_percent(d.precision) << std::setw(8) << optional_percent(d.recall) << std::setw(12)
        << time(d.latency_median_ns) << std::setw(12) << time(d.latency_p90_ns) << '\n';
  }
}

std::string interruption(const run_result& r) {
  const std::string where = "interrupted at " + readable_ns(static_cast<double>(r.simulated_ns)) + " of " +
                            readable_ns(static_cast<double>(r.until_ns));
  if (r.measured_ns == 0) return where + ", before the measurement began: nothing was measured";
  return where + ": figures are of what was measured until then";
}

void print_report(std::ostream& out, const run_result& r) {
  if (r.partial) out << interruption(r) << '\n';
  out << "simulated " << readable_ns(static_cast<double>(r.simulated_ns)) << " of " << r.cpus << " CPUs (" << r.preset
      << "), measured " << readable_ns(static_cast<double>(r.measured_ns)) << "; spin policy " << r.policy
      << ", vCPU affinity " << r.vcpu_affinity << ", seed " << r.seed << '\n';
  if (r.partial && r.measured_ns == 0) return;
  out << "fact hash " << r.fact_hash << " over " << grouped(r.facts) << " facts\n";
  out << "guest " << percent(r.guest_share) << ", host " << percent(r.host_share) << ", idle " << percent(r.idle_share)
      << "; " << grouped(r.switches) << " context switches\n";
  out << grouped(r.ple_exits) << " PLE exits; longest run of one vCPU at one RIP " << grouped(r.longest_exit_streak)
      << ", " << grouped(r.exit_streaks_over_100) << " runs over " << grouped(r.statistics.count("exits.long_streak"))
      << "; largest ple_window " << grouped(r.largest_ple_window) << '\n';

  print_vms(out, r);
  print_exits(out, r);
  print_pause_parts(out, r);
  print_cpu_time(out, r);

  title(out, "Spinning in guests");
  out << "  " << grouped(r.spins.episodes) << " episodes, " << grouped(r.spins.pauses) << " PAUSEs, "
      << readable_ns(static_cast<double>(r.spins.spinning_ns)) << " spent spinning, of it "
      << readable_ns(static_cast<double>(r.spins.futile_ns)) << " while the awaited holder was on no CPU\n";
  print_detection(out, r);
  title(out, "Lock waits");
  out << "  guests: " << grouped(r.locks.waits.count) << ", mean "
      << readable_ns(static_cast<double>(r.locks.waits.mean_ns)) << ", longest "
      << readable_ns(static_cast<double>(r.locks.waits.max_ns)) << "; in " << grouped(r.locks.holder_preempted)
      << " of them the holder or next owner was off its CPU, for "
      << readable_ns(static_cast<double>(r.locks.futile_ns)) << " in all\n";
  out << "  host run queues: " << grouped(r.locks.host_waits.count) << ", mean "
      << readable_ns(static_cast<double>(r.locks.host_waits.mean_ns)) << ", longest "
      << readable_ns(static_cast<double>(r.locks.host_waits.max_ns)) << '\n';
  title(out, "Directed yields");
  out << "  " << grouped(r.yields.handled) << " handler runs looked at " << grouped(r.yields.candidates)
      << " candidates; " << grouped(r.yields.attempts) << " yield_to: " << grouped(r.yields.accepted) << " accepted, "
      << grouped(r.yields.nobody) << " no other task to run, " << grouped(r.yields.target_running) << " target running\n"
      << "  of the accepted, the target was on the yielder's run queue in " << grouped(r.yields.same_queue)
      << ", on another in " << grouped(r.yields.other_queue)
      << "; the yielder's CPU switched to a vCPU of the same VM in " << grouped(r.yields.to_sibling)
      << ", the yielder was picked again in " << grouped(r.yields.futile) << '\n';
}

}  // namespace vmxsys::platform
