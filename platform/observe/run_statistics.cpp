#include "run_statistics.hpp"

#include <algorithm>

#include <vmxsys/cpu/core/logical_cpu.hpp>

namespace vmxsys::platform {

namespace {

time_summary as_row(const tally_summary& t) { return {t.count, t.min, t.mean, t.max}; }

/// The members of the document that are statistics as well.
void fill(run_result& r) {
  const statistics& s = r.statistics;
  r.ple_exits = s.count("exits.pauses");
  r.longest_exit_streak = s.count("exits.longest_streak");
  r.exit_streaks_over_100 = s.count("exits.long_streaks");
  r.exits_in_long_streaks = s.count("exits.in_long_streaks");
  r.longest_exit_streak_vm = static_cast<std::uint32_t>(s.count("exits.longest_streak_vm"));
  r.longest_exit_streak_vcpu = static_cast<std::uint32_t>(s.count("exits.longest_streak_vcpu"));
  r.longest_exit_streak_began_cycle = s.count("exits.longest_streak_began");
  r.yields = {s.count("directed_yields.handled"),       s.count("directed_yields.candidates"),
              s.count("directed_yields.attempts"),      s.count("directed_yields.accepted"),
              s.count("directed_yields.same_queue"),    s.count("directed_yields.other_queue"),
              s.count("directed_yields.to_sibling"),    s.count("directed_yields.futile"),
              s.count("directed_yields.no_other_task"), s.count("directed_yields.target_running")};
  for (vm_row& vm : r.vms) vm.ple_exits = s.count("exits.vm." + vm.name + ".pauses");

  std::uint64_t count = 0;
  for (std::size_t i = 0; i < vmx::exit_reason_table_size(); ++i) {
    const vmx::exit_reason_info& info = vmx::exit_reason_table()[i];
    const std::string name = vmx::trace_name_of(info.reason), path = "exits." + name;
    exit_row row{name, static_cast<std::uint32_t>(info.reason), s.count(path + ".count"),
                 0,    as_row(s.tally(path + ".host_time")),    as_row(s.tally(path + ".time"))};
    count += row.count;
    if (row.count != 0) r.exits.push_back(std::move(row));
  }
  for (exit_row& row : r.exits) row.share = static_cast<double>(row.count) / static_cast<double>(count);
  std::stable_sort(r.exits.begin(), r.exits.end(),
                   [](const exit_row& a, const exit_row& b) { return a.count > b.count; });
}

}  // namespace

run_statistics::run_statistics(simulation& of)
    : of_{of},
      collectors_{of.config().collectors, of.names().collectors, of.observed()},
      detectors_{of},
      vcpus_{of.hypervisor()},
      work_(of.vms()) {}

run_statistics::totals run_statistics::snapshot(unsigned cpu) const {
  const cpu::accounting& a = of_.hardware().cpu(cpu).account();
  totals t{};
  for (std::size_t w = 0; w < 2; ++w)
    for (std::size_t b = 0; b < buckets; ++b)
      t[w * buckets + b] = a.total(static_cast<cpu::vmx_operation>(w), static_cast<cpu::bucket>(b)).count();
  t[static_cast<std::size_t>(a.open_operation()) * buckets + static_cast<std::size_t>(a.open_bucket())] +=
      (of_.hardware().time().now() - a.since()).count();
  return t;
}

void run_statistics::add_difference(totals& to, const totals& after, const totals& before) {
  for (std::size_t i = 0; i < to.size(); ++i) to[i] += after[i] - before[i];
}

void run_statistics::begin() {
  measuring_ = true;
  from_ = of_.hardware().time().now();
  collectors_.begin(from_);
  detectors_.begin(from_);
  of_.hardware().check_accounting();  // settles how much of a spin under way was futile
  cpu_at_begin_.clear();
  for (unsigned c = 0; c < of_.hardware().cpus(); ++c) cpu_at_begin_.push_back(snapshot(c));
  for (vcpu_record& v : vcpus_) {
    v.exited = false;
    v.guest_cycles = 0;
    v.entered_at = from_;
    if (v.in_guest) note_window(v.window);
  }
}

void run_statistics::observe(const cpu::fact_view& fact) {
  collectors_.observe(fact);
  const cycles at = fact.header().at;
  if (fact.as<cpu::micro_step_fact>() != nullptr) return;
  if (const auto* f = fact.as<cpu::vm_entry_fact>()) return on_vm_entry(*f, at);
  if (const auto* f = fact.as<cpu::vm_exit_fact>()) return on_vm_exit(*f, at);
  if (!measuring_) return;
  if (const auto* f = fact.as<models::kvm_exit_fact>()) return on_kvm_exit(*f);
  if (const auto* f = fact.as<models::sched_switch_fact>()) return on_switch(*f, at);
  if (const auto* f = fact.as<models::work_fact>()) {
    if (f->kernel >= 1 && f->kernel <= work_.size()) work_[f->kernel - 1u] += f->units;
    return;
  }
  if (const auto* f = fact.as<cpu::spin_fact>()) {
    if (f->non_root == 0) return;
    detectors_.on_spin(*f);
    ++result_.spins.episodes;
    result_.spins.pauses += f->iterations;
    result_.spins.total_ns += ns((at - f->began).count());
    return;
  }
  if (const auto* f = fact.as<cpu::spin_detected_fact>()) return detectors_.on_detection(*f, at);
  if (const auto* f = fact.as<models::lock_wait_fact>()) {
    const bool host = fact.header().id.source == of_.host().locks().fact_source();
    (host ? host_lock_waits_ : lock_waits_).add(f->waited);
    if (!host && f->futile != cycles{0}) {
      ++result_.locks.holder_preempted;
      result_.locks.futile_ns += ns(f->futile.count());
    }
    return;
  }
  if (const auto* f = fact.as<models::ple_window_fact>()) note_window(f->to);
}

// -- transitions of the hardware --------------------------------------------------------------------------------------

void run_statistics::on_vm_entry(const cpu::vm_entry_fact& f, cycles at) {
  vcpu_record* v = vcpus_.by_vmcs(f.vmcs);
  if (v == nullptr) return;
  if (measuring_ && v->exited && v->reason == vmx::exit_reason::pause) {
    ++pause_rounds_;
    if (v->on_cpu) add_difference(v->parts, snapshot(v->cpu), v->at_switch);
    for (std::size_t i = 0; i < pause_parts_.size(); ++i) pause_parts_[i] += v->parts[i];
    pause_waited_ += v->waited;
    pause_hardware_exit_ += (v->exit_visible - v->exit_began).count();
  }
  v->exited = false;
  v->window = f.ple_window;  // it may never change, which is no fact
  if (measuring_) note_window(v->window);
  v->in_guest = true;
  v->entered = true;
  v->entered_at = at;
}

void run_statistics::note_window(std::uint64_t window) {
  if (of_.hypervisor().pause_loop_exiting()) result_.largest_ple_window = std::max(result_.largest_ple_window, window);
}

void run_statistics::on_vm_exit(const cpu::vm_exit_fact& f, cycles at) {
  vcpu_record* v = vcpus_.by_vmcs(f.vmcs);
  if (v == nullptr) return;
  v->in_guest = false;
  if (!measuring_) return;
  v->guest_cycles += (f.began - std::min(f.began, v->entered_at)).count();
  if (f.reason == vmx::exit_reason::pause && v->entered) guest_slices_.add(f.began - std::min(f.began, v->entered_at));
  v->exited = true;
  v->reason = f.reason;
  v->exit_began = f.began;
  v->exit_visible = at;
  if (f.reason == vmx::exit_reason::pause) v->parts = {};
  v->waited = 0;
}

// -- what the hypervisor's tracepoints see ----------------------------------------------------------------------------

void run_statistics::on_kvm_exit(const models::kvm_exit_fact& f) {
  vcpu_record& v = vcpus_.at(f.vm, f.vcpu);
  v.on_cpu = true;
  v.cpu = f.cpu;
  if (f.reason == vmx::exit_reason::pause) v.at_switch = snapshot(f.cpu);
}

void run_statistics::on_switch(const models::sched_switch_fact& f, cycles at) {
  if (f.kernel != 0) return;
  ++result_.switches;
  if (vcpu_record* v = vcpus_.by_pid(f.prev_pid); v != nullptr && v->exited && v->on_cpu) {
    if (v->reason == vmx::exit_reason::pause) add_difference(v->parts, snapshot(f.cpu), v->at_switch);
    v->on_cpu = false;
    v->off_since = at;
  }
  if (vcpu_record* v = vcpus_.by_pid(f.next_pid); v != nullptr && v->exited && !v->on_cpu) {
    v->on_cpu = true;
    v->cpu = f.cpu;
    if (v->reason == vmx::exit_reason::pause) v->at_switch = snapshot(f.cpu);
    v->waited += (at - v->off_since).count();
  }
}

// -- the sum ----------------------------------------------------------------------------------------------------------

void run_statistics::sum_up_pauses(run_result& r) const {
  if (pause_rounds_ == 0) return;
  const auto rounds = static_cast<double>(pause_rounds_);
  const double ns_per_cycle = 1e6 / static_cast<double>(of_.preset().tsc_khz);
  double all = 0;
  const auto add = [&](std::string part, std::uint64_t total) {
    if (total == 0) return;
    const double mean = static_cast<double>(total) / rounds * ns_per_cycle;
    all += mean;
    r.pause_parts.push_back({std::move(part), mean, 0});
  };
  add("vm exit", pause_hardware_exit_);
  for (std::size_t w = 0; w < 2; ++w)
    for (std::size_t b = 0; b < buckets; ++b)
      add(std::string{w == 1 ? "another guest: " : ""} + cpu::bucket_name(static_cast<cpu::bucket>(b)),
          pause_parts_[w * buckets + b]);
  add("switched out, waiting for a CPU", pause_waited_);
  for (part_row& p : r.pause_parts) p.share = all == 0 ? 0 : p.mean_ns / all;
}

void run_statistics::sum_up_cpu_time(run_result& r) const {
  totals all{};
  std::uint64_t sum = 0;
  for (unsigned c = 0; c < of_.hardware().cpus(); ++c) add_difference(all, snapshot(c), cpu_at_begin_[c]);
  for (std::uint64_t t : all) sum += t;
  if (sum == 0) return;
  std::uint64_t guest = 0, idle = 0;
  for (std::size_t w = 0; w < 2; ++w)
    for (std::size_t b = 0; b < buckets; ++b) {
      const std::uint64_t t = all[w * buckets + b];
      if (t == 0) continue;
      const auto which = static_cast<cpu::bucket>(b);
      if (w == 1)
        guest += t;
      else if (which == cpu::bucket::idle || which == cpu::bucket::wait_for_sipi)
        idle += t;
      r.cpu_time.push_back({w == 1 ? "non-root" : "root", cpu::bucket_name(which), ns(t),
                            static_cast<double>(t) / static_cast<double>(sum)});
    }
  std::stable_sort(r.cpu_time.begin(), r.cpu_time.end(),
                   [](const time_row& a, const time_row& b) { return a.ns > b.ns; });
  r.guest_share = static_cast<double>(guest) / static_cast<double>(sum);
  r.idle_share = static_cast<double>(idle) / static_cast<double>(sum);
  r.host_share = 1 - r.guest_share - r.idle_share;
  const auto non_root = [&](cpu::bucket b) { return all[buckets + static_cast<std::size_t>(b)]; };
  r.spins.futile_ns = ns(non_root(cpu::bucket::spin_futile));
  r.spins.spinning_ns = ns(non_root(cpu::bucket::spin)) + r.spins.futile_ns;
}

void run_statistics::sum_up_vms(run_result& r) const {
  double sum = 0, squares = 0;
  for (unsigned vm = 0; vm < of_.vms(); ++vm) {
    vm_row row;
    row.name = of_.config().vms[vm].name;
    row.work = work_[vm];
    const unsigned vcpus = of_.config().bare_metal ? 0 : of_.config().vms[vm].vcpus;
    row.least_vcpu_ns = vcpus == 0 ? 0 : ~std::uint64_t{0};
    for (unsigned i = 0; i < vcpus; ++i) {
      const vcpu_record& v = vcpus_.at(vm, i);
      const std::uint64_t t = ns(v.guest_cycles);
      row.guest_ns += t;
      row.least_vcpu_ns = std::min(row.least_vcpu_ns, t);
      row.most_vcpu_ns = std::max(row.most_vcpu_ns, t);
      sum += static_cast<double>(t);
      squares += static_cast<double>(t) * static_cast<double>(t);
    }
    r.vms.push_back(row);
  }
  if (squares > 0) r.fairness = sum * sum / (static_cast<double>(vcpus_.size()) * squares);
}

run_result run_statistics::finish() {
  const cycles now = of_.hardware().time().now();
  for (vcpu_record& v : vcpus_)
    if (v.in_guest) v.guest_cycles += (now - std::min(now, v.entered_at)).count();
  run_result r = result_;
  r.seed = of_.config().seed;
  r.preset = of_.preset().name;
  r.tsc_khz = of_.preset().tsc_khz;
  r.policy = of_.hypervisor().config().spin_policy.name();
  r.vcpu_affinity = of_.hypervisor().config().vcpu_affinity.name();
  r.ple_window_grow = of_.config().host.ple_window_grow;
  r.partial = now < of_.end();
  r.until_ns = ns(of_.end().count());
  r.simulated_ns = ns(now.count());
  r.reached_cycle = now.count();
  r.measured_ns = ns((now - from_).count());
  r.cpus = of_.hardware().cpus();
  r.events = of_.hardware().time().events();
  r.guest_slice_ns = summary_of(guest_slices_, r.tsc_khz).mean;
  r.locks.waits = as_row(summary_of(lock_waits_, r.tsc_khz));
  r.locks.host_waits = as_row(summary_of(host_lock_waits_, r.tsc_khz));
  r.detection = {detectors_.waits(), detectors_.futile_waits(), detectors_.rows()};
  sum_up_vms(r);
  sum_up_pauses(r);
  sum_up_cpu_time(r);
  collectors_.finish(now);
  r.statistics = collectors_.sum_up();
  fill(r);
  return r;
}

}  // namespace vmxsys::platform
