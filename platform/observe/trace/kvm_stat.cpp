#include "kvm_stat.hpp"

#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>

#include <vmxsys/vmx/vmcs/exit.hpp>

namespace vmxsys::models::trace {
namespace {

int name_width(trace_version version) { return version >= trace_version::v7_2 ? 40 : 20; }

double percent(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

double microseconds(double ns) { return ns / 1000.0; }

const char* reason_name(std::uint32_t reason) {
  const vmx::exit_reason_info* row = vmx::find_exit_reason(reason);
  return row && row->kvm_name ? row->kvm_name : "UNKNOWN";
}

}  // namespace

void duration_statistics::add(std::uint64_t ns) noexcept {
  min_ = count_ == 0 ? ns : std::min(min_, ns);
  max_ = std::max(max_, ns);
  ++count_;
  total_ += ns;
  const double value = static_cast<double>(ns);
  const double distance = value - mean_;
  mean_ += distance / static_cast<double>(count_);
  squares_ += distance * (value - mean_);
}

double duration_statistics::relative_error_percent() const noexcept {
  if (count_ < 2 || mean_ == 0) return 0;
  const double n = static_cast<double>(count_);
  return 100.0 * std::sqrt(squares_ / (n - 1) / n) / mean_;
}

void kvm_stat::on_entry(int thread, unsigned vcpu, std::uint64_t time) {
  thread_record& record = threads_.try_emplace(thread, thread_record{vcpu, std::nullopt}).first->second;
  if (!record.pending) return;
  const std::uint64_t took = time - record.pending->since;
  all_[record.pending->reason].add(took);
  by_vcpu_[record.vcpu][record.pending->reason].add(took);
  record.pending.reset();
}

void kvm_stat::on_exit(int thread, std::uint32_t reason, std::uint64_t time) {
  const auto record = threads_.find(thread);
  if (record != threads_.end()) record->second.pending = pending_exit{reason, time};
}

std::vector<kvm_stat::row> kvm_stat::rows(std::optional<unsigned> vcpu) const {
  std::vector<row> result;
  const auto collect = [&](const auto& table) {
    for (const auto& [reason, time] : table) result.push_back({reason, time});
  };
  if (!vcpu)
    collect(all_);
  else if (const auto found = by_vcpu_.find(*vcpu); found != by_vcpu_.end())
    collect(found->second);
  std::stable_sort(result.begin(), result.end(),
                   [](const row& a, const row& b) { return a.time.count() > b.time.count(); });
  return result;
}

std::string kvm_stat_row(trace_version version, const kvm_stat::row& row, std::uint64_t all_count,
                         std::uint64_t all_time) {
  char text[192];
  const duration_statistics& t = row.time;
  const double mean = t.count() == 0 ? 0.0 : static_cast<double>(t.total()) / static_cast<double>(t.count());
  std::snprintf(text, sizeof text, "%*s %10" PRIu64 " %8.2f%% %8.2f%% %9.2fus %9.2fus %9.2fus ( +-%7.2f%% )\n",
                name_width(version), reason_name(row.reason), t.count(), percent(t.count(), all_count),
                percent(t.total(), all_time), microseconds(static_cast<double>(t.min())),
                microseconds(static_cast<double>(t.max())), microseconds(mean), t.relative_error_percent());
  return text;
}

std::string kvm_stat::report(trace_version version, std::optional<unsigned> vcpu) const {
  const std::vector<row> table = rows(vcpu);
  std::uint64_t count = 0;
  std::uint64_t time = 0;
  for (const row& r : table) {
    count += r.time.count();
    time += r.time.total();
  }
  char line[192];
  const std::string whose = vcpu ? "VCPU " + std::to_string(*vcpu) : "all VCPUs";
  std::string text = "\n\nAnalyze events for all VMs, " + whose + ":\n\n";
  std::snprintf(line, sizeof line, "%*s %10s %9s %9s %11s %11s %16s \n\n", name_width(version), "VM-EXIT", "Samples",
                "Samples%", "Time%", "Min Time", "Max Time", "Avg time");
  text += line;
  for (const row& r : table) text += kvm_stat_row(version, r, count, time);
  std::snprintf(line, sizeof line, "\nTotal Samples:%" PRIu64 ", Total events handled time:%.2fus.\n\n", count,
                microseconds(static_cast<double>(time)));
  return text + line;
}

}  // namespace vmxsys::models::trace
