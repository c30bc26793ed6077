#include "detail/study_ple_storm.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

#include <vmxsys/models/kernel/kernel_facts.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>
#include <vmxsys/models/schedulers/yield_to.hpp>
#include <vmxsys/platform/observe/report/report.hpp>
#include <vmxsys/platform/run/execution.hpp>

#include "detail/study_kit.hpp"

namespace vmxsys::platform {

std::string_view ple_storm_configuration() { return study_configuration("ple_storm"); }

std::vector<ple_storm_case> ple_storm_cases(const run_config& base) {
  constexpr const char* policies[] = {"none", "sleep", "directed", "preempted_only", "kernel_mode", "ipi_receivers"};
  std::vector<ple_storm_case> cases;
  for (const char* placement : {"stacked", "spread"})
    for (const std::uint32_t grow : {2u, 0u})
      for (const char* policy : policies) {
        if (grow == 0 && std::string_view{policy} == "none") continue;  // without PLE there is no window
        ple_storm_case c{placement, grow, policy, base};
        c.config.host.vcpu_affinity = placement;
        c.config.host.ple_window_grow = grow;
        c.config.host.spin_policy = policy;
        cases.push_back(std::move(c));
      }
  return cases;
}

// -- sentences --------------------------------------------------------------------------------------------------------

namespace {

class findings {
 public:
  findings(const std::vector<ple_storm_case>& cases, const std::vector<run_result>& results)
      : cases_{cases}, results_{results} {}

  std::vector<std::string> all() {
    storms();
    flat_slices();
    spread();
    fixed_window();
    refusals();
    parts();
    work();
    return std::move(sentences_);
  }

 private:
  const run_result* find(std::string_view placement, std::uint32_t grow, std::string_view policy) const {
    for (std::size_t i = 0; i < cases_.size(); ++i)
      if (cases_[i].placement == placement && cases_[i].grow == grow && cases_[i].policy == policy) return &results_[i];
    return nullptr;
  }
  void say(std::string sentence) { sentences_.push_back(std::move(sentence)); }
  static std::string us(std::uint64_t ns) { return readable_ns(static_cast<double>(ns)); }

  void storms() {
    std::string where;
    for (const char* placement : {"stacked", "spread"})
      for (const std::uint32_t grow : {2u, 0u}) {
        std::string of_case;
        for (std::size_t i = 0; i < cases_.size(); ++i)
          if (cases_[i].placement == placement && cases_[i].grow == grow && results_[i].exit_streaks_over_100 != 0)
            of_case += (of_case.empty() ? "" : ", ") + cases_[i].policy + " (" +
                       grouped(results_[i].exit_streaks_over_100) + ", longest " +
                       grouped(results_[i].longest_exit_streak) + ")";
        if (!of_case.empty())
          where += (where.empty() ? "" : "; ") + std::string{placement} +
                   (grow == 0 ? " with a fixed window under " : " with a doubling window under ") + of_case;
      }
    say(where.empty() ? "No vCPU took more than 100 PLE exits in a row at one RIP in any case."
                      : "Runs of more than 100 PLE exits of one vCPU at one RIP arose " + where + ".");
  }

  static std::string of(std::uint64_t part, std::uint64_t all) {
    const auto whole = static_cast<double>(std::max<std::uint64_t>(1, all));
    return grouped(part) + " (" + percent(static_cast<double>(part) / whole) + ")";
  }
  /// What became of the accepted yields, as counted.
  static std::string yields_of(const run_result& r) {
    const yield_summary& y = r.yields;
    if (y.accepted == 0) return "no yield was accepted";
    return "of " + grouped(y.accepted) + " accepted yields the target was on the yielder's own run queue in " +
           of(y.same_queue, y.accepted) + " and on another one in " + of(y.other_queue, y.accepted) +
           "; the yielder's CPU switched to a vCPU of the same VM in " + of(y.to_sibling, y.accepted) +
           ", and the yielder was picked again in " + of(y.futile, y.accepted);
  }

  void flat_slices() {
    const run_result* r = find("stacked", 2, "ipi_receivers");
    if (r == nullptr || r->ple_exits == 0) return;
    std::string text = "Stacked siblings with a doubling window (ipi_receivers): " + yields_of(*r) + ".";
    if (r->yields.to_sibling > r->yields.same_queue)
      text +=
          " A yielder is switched out with any target: yield_to marks it SKIP, and the next pick of its CPU "
          "is the other thread there, its sibling.";
    if (cases_.front().config.host.ple_window_shrink == 0) text += " Each switch-in resets the window to ple_window;";
    say(text + " the mean guest slice is " + us(r->guest_slice_ns) + ".");
  }

  void spread() {
    const run_result* s = find("stacked", 2, "ipi_receivers");
    const run_result* r = find("spread", 2, "ipi_receivers");
    if (r == nullptr || s == nullptr || r->ple_exits + s->ple_exits == 0) return;
    say("Spread siblings with a doubling window (ipi_receivers): " + grouped(r->ple_exits) + " PLE exits instead of " +
        grouped(s->ple_exits) + " when stacked, mean guest slice " + us(r->guest_slice_ns) + ", longest run " +
        grouped(r->longest_exit_streak) + ", window up to " + grouped(r->largest_ple_window) + " cycles; " +
        yields_of(*r) +
        ". A spinner that is not switched out keeps its window, and each exit doubles what it may spin.");
  }

  void fixed_window() {
    const run_result* r = find("spread", 0, "ipi_receivers");
    const run_result* d = find("spread", 2, "ipi_receivers");
    if (r == nullptr || d == nullptr || r->ple_exits == 0) return;
    const std::string times = d->ple_exits == 0
                                  ? "where a doubling window has none"
                                  : grouped(r->ple_exits / d->ple_exits) + " times those of a doubling one";
    say("Spread siblings with a fixed window (ipi_receivers): " + grouped(r->ple_exits) + " PLE exits, " + times +
        ", longest run " + grouped(r->longest_exit_streak) + ", mean guest slice " + us(r->guest_slice_ns) + ", and " +
        grouped(r->switches) +
        " context switches in all: a flat guest slice alone does not tell a switch-out from a "
        "window that does not grow.");
  }

  void refusals() {
    const run_result* worst = nullptr;
    for (const run_result& r : results_)
      if (worst == nullptr || r.yields.futile > worst->yields.futile) worst = &r;
    if (worst == nullptr || worst->yields.futile == 0) {
      const bool any =
          std::any_of(results_.begin(), results_.end(), [](const auto& r) { return r.yields.accepted != 0; });
      say(any ? "No yielder was picked again after a directed yield that CFS had accepted."
              : "No directed yield was accepted in any case.");
      return;
    }
    say("CFS accepted a directed yield and picked the yielder again most often in " + worst->vcpu_affinity +
        " / grow " + std::to_string(worst->ple_window_grow) + " / " + worst->policy + ": " + yields_of(*worst) + ".");
  }

  void parts() {
    const run_result* r = find("stacked", 2, "ipi_receivers");
    if (r == nullptr || r->pause_parts.empty()) return;
    std::vector<part_row> sorted = r->pause_parts;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const part_row& a, const part_row& b) { return a.mean_ns > b.mean_ns; });
    double all = 0;
    for (const part_row& p : sorted) all += p.mean_ns;
    std::string list;
    for (std::size_t i = 0; i < sorted.size() && i < 5; ++i)
      list += (i == 0 ? "" : ", ") + sorted[i].part + " " + readable_ns(sorted[i].mean_ns);
    say("A PAUSE exit of the stacked case (doubling window, ipi_receivers) takes " + readable_ns(all) +
        " on average from the guest's last cycle to its next, all of it named: " + list + ", and " +
        std::to_string(sorted.size() > 5 ? sorted.size() - 5 : 0) +
        " smaller parts. Costs of host paths are assumed values (vmxsys list costs).");
  }

  void work() {
    for (const char* placement : {"stacked", "spread"}) {
      const run_result* none = find(placement, 2, "none");
      if (none == nullptr || none->vms.empty()) continue;
      std::uint64_t least = ~std::uint64_t{0}, most = 0;
      for (std::size_t i = 0; i < cases_.size(); ++i) {
        if (cases_[i].placement != placement || cases_[i].policy == "none") continue;
        least = std::min(least, results_[i].vms[0].work);
        most = std::max(most, results_[i].vms[0].work);
      }
      say(std::string{"Work of "} + none->vms[0].name + ", " + placement + ": " + grouped(none->vms[0].work) +
          " units without PLE, " + grouped(least) + " to " + grouped(most) +
          " over the policies and windows with it. This is one seed; differences of a few percent say nothing.");
    }
  }

  const std::vector<ple_storm_case>& cases_;
  const std::vector<run_result>& results_;
  std::vector<std::string> sentences_;
};

// -- the excerpt ------------------------------------------------------------------------------------------------------

class excerpt_writer final : public cpu::fact_observer {
 public:
  excerpt_writer(const run_config& config, const run_result& of, unsigned rounds)
      : config_{config},
        vm_{of.longest_exit_streak_vm},
        vcpu_{of.longest_exit_streak_vcpu},
        from_{of.longest_exit_streak_began_cycle},
        rounds_{rounds} {
    std::uint32_t pid = 1;
    for (const vm_config& v : config.vms)
      for (std::uint32_t i = 0; i < v.vcpus; ++i, ++pid) {
        if (&v - config.vms.data() == vm_ && i == vcpu_) me_ = pid;
        names_.push_back(v.name + "/" + std::to_string(i));
      }
    tsc_khz_ = tsc_khz_of(config);
  }

  ple_storm_excerpt take() {
    for (auto& [pid, open] : lanes_) close(open, pid, last_);
    return {std::move(lines_), std::move(segments_)};
  }

  void observe(const cpu::fact_view& fact) override {
    const cycles at = fact.header().at;
    if (at.count() < from_ || seen_ > rounds_) return;
    last_ = at;
    if (const auto* f = fact.as<models::kvm_exit_fact>(); f != nullptr && mine(f->vm, f->vcpu)) cpu_ = f->cpu;
    draw(fact, at);
    if (const auto* f = fact.as<models::kvm_exit_fact>(); f != nullptr && mine(f->vm, f->vcpu)) {
      if (++seen_ > rounds_) return;
      char rip[32];
      std::snprintf(rip, sizeof rip, "0x%llx", static_cast<unsigned long long>(f->rip));
      line(at, std::string{"kvm_exit   "} + vmx::kvm_name_of(f->reason) + " rip " + rip,
           entered_ == cycles{0} ? "" : "after " + time(at - entered_) + " in the guest");
      exited_ = at;
    } else if (const auto* w = fact.as<models::ple_window_fact>(); w != nullptr && mine(w->vm, w->vcpu)) {
      line(at, "ple_window " + std::to_string(w->from) + " -> " + std::to_string(w->to),
           w->to > w->from ? "grows at the exit" : "reset: the vCPU was switched in");
    } else if (const auto* y = fact.as<models::yield_to_fact>(); y != nullptr && y->pid == me_) {
      line(at, "yield_to   " + name(y->target_pid) + " (on CPU " + std::to_string(y->target_cpu) + ")",
           static_cast<models::yield_to_outcome>(y->outcome) == models::yield_to_outcome::yielded
               ? "accepted: NEXT on the target, SKIP on the yielder"
               : "refused: " + refusal(y->outcome));
    } else if (const auto* s = fact.as<models::sched_switch_fact>();
               s != nullptr && s->kernel == 0 && s->cpu == cpu_ && exited_ != cycles{0}) {
      line(at, "switch     " + name(s->prev_pid) + " -> " + name(s->next_pid),
           s->prev_pid == me_   ? "switched out, still runnable"
           : s->next_pid == me_ ? "and back"
                                : "");
    } else if (const auto* e = fact.as<models::kvm_entry_fact>();
               e != nullptr && mine(e->vm, e->vcpu) && exited_ != cycles{0}) {
      line(at, "kvm_entry", time(at - exited_) + " after the exit");
      entered_ = at;
      exited_ = cycles{0};
    }
  }

 private:
  struct open_segment {
    const char* state = nullptr;
    cycles since{0};
  };

  /// Lanes of the threads that run on the spinner's CPU.
  void draw(const cpu::fact_view& fact, cycles at) {
    if (const auto* s = fact.as<models::sched_switch_fact>(); s != nullptr && s->kernel == 0 && s->cpu == cpu_) {
      close(lanes_[s->prev_pid], s->prev_pid, at);
      lanes_[s->next_pid] = {"host", at};
    } else if (const auto* x = fact.as<models::kvm_exit_fact>(); x != nullptr && x->cpu == cpu_) {
      close(lanes_[x->pid], x->pid, at);
      lanes_[x->pid] = {"host", at};
    } else if (const auto* e = fact.as<models::kvm_entry_fact>(); e != nullptr && e->cpu == cpu_) {
      close(lanes_[e->pid], e->pid, at);
      lanes_[e->pid] = {"guest", at};
    }
  }
  void close(open_segment& l, std::uint32_t pid, cycles at) {
    if (l.state != nullptr && at > l.since) segments_.push_back({name(pid), l.state, us(l.since), us(at)});
    l.state = nullptr;
  }
  double us(cycles c) const { return static_cast<double>(c.count() - from_) * 1e3 / static_cast<double>(tsc_khz_); }

  bool mine(unsigned vm, unsigned vcpu) const { return vm == vm_ && vcpu == vcpu_; }
  std::string time(cycles c) const {
    return readable_ns(static_cast<double>(c.count()) * 1e6 / static_cast<double>(tsc_khz_));
  }
  std::string name(std::uint32_t pid) const { return pid == 0 ? "idle" : pid <= names_.size() ? names_[pid - 1] : "?"; }
  static std::string refusal(std::uint8_t outcome) {
    switch (static_cast<models::yield_to_outcome>(outcome)) {
      case models::yield_to_outcome::nobody_to_switch:
        return "both run queues hold one task";
      case models::yield_to_outcome::target_running:
        return "the target runs";
      case models::yield_to_outcome::target_not_runnable:
        return "the target sleeps";
      default:
        return "the scheduler did not find it";
    }
  }
  void line(cycles at, const std::string& what, const std::string& note) {
    char text[200];
    std::snprintf(text, sizeof text, "%12.3f us  %-46s %s",
                  static_cast<double>(at.count()) * 1e3 / static_cast<double>(tsc_khz_), what.c_str(), note.c_str());
    lines_.emplace_back(text);
  }

  const run_config& config_;
  unsigned vm_, vcpu_;
  std::uint64_t from_;
  unsigned rounds_;
  std::uint32_t me_ = 0;
  unsigned cpu_ = ~0u;
  unsigned seen_ = 0;
  cycles entered_{0}, exited_{0};
  std::uint64_t tsc_khz_ = 1;
  cycles last_{0};
  std::vector<std::string> names_;
  std::vector<std::string> lines_;
  std::map<std::uint32_t, open_segment> lanes_;
  std::vector<lane_segment> segments_;
};

}  // namespace

std::vector<std::string> ple_storm_findings(const std::vector<ple_storm_case>& cases,
                                            const std::vector<run_result>& results) {
  return findings{cases, results}.all();
}

std::optional<std::size_t> ple_storm_excerpt_of(const std::vector<ple_storm_case>& cases,
                                                const std::vector<run_result>& results) {
  for (const bool any : {false, true}) {
    std::optional<std::size_t> found;
    for (std::size_t i = 0; i < cases.size(); ++i)
      if ((any || cases[i].grow == 2) &&
          results[i].longest_exit_streak > (found ? results[*found].longest_exit_streak : 0))
        found = i;
    if (found) return found;
  }
  return std::nullopt;
}

std::optional<traced_means> traced_means_of(const run_result& result) {
  for (const exit_row& e : result.exits)
    if (e.number == static_cast<std::uint32_t>(vmx::exit_reason::pause) && e.software.count != 0) {
      const std::uint64_t period = e.all.mean_ns + result.guest_slice_ns;
      return traced_means{e.software.mean_ns, period - e.software.mean_ns, period};
    }
  return std::nullopt;
}

ple_storm_excerpt take_ple_storm_excerpt(const run_config& config, const run_result& result, unsigned rounds) {
  run_config again = config;
  const std::uint64_t tsc_khz = tsc_khz_of(config);
  const std::uint64_t end = result.longest_exit_streak_began_cycle + tsc_khz;  // a millisecond is plenty
  again.until = duration::from_cycles(std::min(end, config.until.to_cycles(tsc_khz).count()));
  again.measure_from = duration{};
  excerpt_writer writer{again, result, rounds};
  execution_options how;
  how.observer = &writer;
  execute(again, how);
  return writer.take();
}

}  // namespace vmxsys::platform
