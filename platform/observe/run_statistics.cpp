#include "run_statistics.hpp"

#include <algorithm>

#include <vmxsys/cpu/core/logical_cpu.hpp>

namespace vmxsys::platform {

namespace {
constexpr std::uint64_t long_run = 100;
}

void run_statistics::times::add(cycles c) {
  ++count;
  total += c.count();
  min = std::min(min, c.count());
  max = std::max(max, c.count());
}

run_statistics::run_statistics(simulation& of) : of_{of}, detectors_{of}, work_(of.vms()) {
  for (auto& vm : of.hypervisor().vms()) {
    first_of_vm_.push_back(vcpus_.size());
    for (unsigned i = 0; i < vm->vcpus(); ++i) {
      vcpu_record v;
      v.vm = vm->number();
      v.index = i;
      v.pid = vm->cpu(i).thread().pid;
      by_vmcs_[vm->cpu(i).vmcs()] = vcpus_.size();
      by_pid_[v.pid] = vcpus_.size();
      vcpus_.push_back(v);
    }
  }
}

run_statistics::vcpu_record* run_statistics::by_vmcs(std::uint64_t vmcs) {
  const auto it = by_vmcs_.find(vmcs);
  return it == by_vmcs_.end() ? nullptr : &vcpus_[it->second];
}

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
  detectors_.begin(from_);
  of_.hardware().check_accounting();  // settles how much of a spin under way was futile
  cpu_at_begin_.clear();
  for (unsigned c = 0; c < of_.hardware().cpus(); ++c) cpu_at_begin_.push_back(snapshot(c));
  for (vcpu_record& v : vcpus_) {
    v.exited = false;
    v.guest_cycles = 0;
    v.entered_at = from_;
    v.run = 0;
    if (v.in_guest) note_window(v.window);
  }
}

void run_statistics::observe(const cpu::fact_view& fact) {
  const cycles at = fact.header().at;
  if (fact.as<cpu::micro_step_fact>() != nullptr) return;
  if (const auto* f = fact.as<cpu::vm_entry_fact>()) return on_vm_entry(*f, at);
  if (const auto* f = fact.as<cpu::vm_exit_fact>()) return on_vm_exit(*f, at);
  if (!measuring_) return;
  if (const auto* f = fact.as<models::kvm_exit_fact>()) return on_kvm_exit(*f, at);
  if (const auto* f = fact.as<models::kvm_entry_fact>()) return on_kvm_entry(*f, at);
  if (const auto* f = fact.as<models::sched_switch_fact>()) return on_switch(*f, at);
  if (const auto* f = fact.as<models::yield_to_fact>()) return on_yield(*f);
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
  if (const auto* f = fact.as<models::on_spin_fact>()) {
    ++result_.yields.handled;
    result_.yields.candidates += f->candidates;
    result_.yields.attempts += f->attempts;
    return;
  }
  if (const auto* f = fact.as<models::ple_window_fact>()) note_window(f->to);
}

// -- transitions of the hardware --------------------------------------------------------------------------------------

void run_statistics::on_vm_entry(const cpu::vm_entry_fact& f, cycles at) {
  vcpu_record* v = by_vmcs(f.vmcs);
  if (v == nullptr) return;
  if (measuring_ && v->exited) {
    exit_record& row = exits_[v->reason];
    row.all.add(at - v->exit_began);
    if (v->reason == vmx::exit_reason::pause) {
      ++pause_rounds_;
      if (v->on_cpu) add_difference(v->parts, snapshot(v->cpu), v->at_switch);
      for (std::size_t i = 0; i < pause_parts_.size(); ++i) pause_parts_[i] += v->parts[i];
      pause_waited_ += v->waited;
      pause_hardware_exit_ += (v->exit_visible - v->exit_began).count();
      if (v->yield_accepted && !v->switched) ++result_.yields.futile;
    }
    v->exited = false;
  }
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
  vcpu_record* v = by_vmcs(f.vmcs);
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
  v->switched = false;
  v->yield_accepted = false;
}

// -- what the hypervisor's tracepoints see ----------------------------------------------------------------------------

void run_statistics::on_kvm_exit(const models::kvm_exit_fact& f, cycles at) {
  vcpu_record& v = this->at(f.vm, f.vcpu);
  v.on_cpu = true;
  v.cpu = f.cpu;
  if (f.reason == vmx::exit_reason::pause) {
    v.at_switch = snapshot(f.cpu);
    ++result_.ple_exits;
    ++v.ple_exits;
    if (v.run == 0 || v.run_rip != f.rip) {
      end_run(v);
      v.run_rip = f.rip;
      v.run_began = at;
    }
    ++v.run;
    if (v.run > result_.longest_exit_streak) {
      result_.longest_exit_streak = v.run;
      result_.longest_exit_streak_vm = f.vm;
      result_.longest_exit_streak_vcpu = f.vcpu;
      result_.longest_exit_streak_began_cycle = v.run_began.count();
    }
  } else {
    end_run(v);
  }
}

void run_statistics::end_run(vcpu_record& v) {
  if (v.run > long_run) {
    ++result_.exit_streaks_over_100;
    result_.exits_in_long_streaks += v.run;
  }
  v.run = 0;
}

void run_statistics::on_kvm_entry(const models::kvm_entry_fact& f, cycles at) {
  vcpu_record& v = this->at(f.vm, f.vcpu);
  if (!v.exited) return;
  exits_[v.reason].software.add(at - v.exit_visible);
}

void run_statistics::on_switch(const models::sched_switch_fact& f, cycles at) {
  if (f.kernel != 0) return;
  ++result_.switches;
  if (vcpu_record* v = by_pid(f.prev_pid); v != nullptr && v->exited && v->on_cpu) {
    if (v->reason == vmx::exit_reason::pause) add_difference(v->parts, snapshot(f.cpu), v->at_switch);
    v->on_cpu = false;
    v->off_since = at;
    if (const vcpu_record* next = by_pid(f.next_pid);
        v->yield_accepted && !v->switched && next != nullptr && next->vm == v->vm)
      ++result_.yields.to_sibling;
    v->switched = true;
  }
  if (vcpu_record* v = by_pid(f.next_pid); v != nullptr && v->exited && !v->on_cpu) {
    v->on_cpu = true;
    v->cpu = f.cpu;
    if (v->reason == vmx::exit_reason::pause) v->at_switch = snapshot(f.cpu);
    v->waited += (at - v->off_since).count();
  }
}

void run_statistics::on_yield(const models::yield_to_fact& f) {
  using outcome = models::yield_to_outcome;
  switch (static_cast<outcome>(f.outcome)) {
    case outcome::yielded:
      ++result_.yields.accepted;
      ++(f.cpu == f.target_cpu ? result_.yields.same_queue : result_.yields.other_queue);
      if (vcpu_record* v = by_pid(f.pid)) v->yield_accepted = true;
      break;
    case outcome::nobody_to_switch:
      ++result_.yields.nobody;
      break;
    case outcome::target_running:
      ++result_.yields.target_running;
      break;
    default:
      break;
  }
}

// -- the sum ----------------------------------------------------------------------------------------------------------

time_summary run_statistics::summary(const times& t) const {
  if (t.count == 0) return {};
  return {t.count, ns(t.min), ns(t.total / t.count), ns(t.max)};
}

void run_statistics::sum_up_exits(run_result& r) const {
  std::uint64_t count = 0;
  for (const auto& [reason, e] : exits_) count += e.all.count;
  for (const auto& [reason, e] : exits_) {
    if (e.all.count == 0) continue;
    const char* kvm_name = vmx::kvm_name_of(reason);
    r.exits.push_back({kvm_name != nullptr ? kvm_name : vmx::name_of(reason), static_cast<std::uint32_t>(reason),
                       e.all.count, static_cast<double>(e.all.count) / static_cast<double>(count), summary(e.software),
                       summary(e.all)});
  }
  std::stable_sort(r.exits.begin(), r.exits.end(),
                   [](const exit_row& a, const exit_row& b) { return a.count > b.count; });

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
    const unsigned vcpus = vm < first_of_vm_.size() ? of_.config().vms[vm].vcpus : 0;  // none on bare metal
    row.least_vcpu_ns = vcpus == 0 ? 0 : ~std::uint64_t{0};
    for (unsigned i = 0; i < vcpus; ++i) {
      const vcpu_record& v = vcpus_[first_of_vm_[vm] + i];
      const std::uint64_t t = ns(v.guest_cycles);
      row.guest_ns += t;
      row.least_vcpu_ns = std::min(row.least_vcpu_ns, t);
      row.most_vcpu_ns = std::max(row.most_vcpu_ns, t);
      row.ple_exits += v.ple_exits;
      sum += static_cast<double>(t);
      squares += static_cast<double>(t) * static_cast<double>(t);
    }
    r.vms.push_back(row);
  }
  if (squares > 0) r.fairness = sum * sum / (static_cast<double>(vcpus_.size()) * squares);
}

run_result run_statistics::finish() {
  const cycles now = of_.hardware().time().now();
  for (vcpu_record& v : vcpus_) {
    end_run(v);
    if (v.in_guest) v.guest_cycles += (now - std::min(now, v.entered_at)).count();
  }
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
  if (guest_slices_.count != 0) r.guest_slice_ns = ns(guest_slices_.total / guest_slices_.count);
  r.locks.waits = summary(lock_waits_);
  r.locks.host_waits = summary(host_lock_waits_);
  r.detection = {detectors_.waits(), detectors_.futile_waits(), detectors_.rows()};
  sum_up_vms(r);
  sum_up_exits(r);
  sum_up_cpu_time(r);
  return r;
}

}  // namespace vmxsys::platform
