#include <array>
#include <optional>
#include <ostream>

#include <vmxsys/models/kvm/kvm_facts.hpp>

#include "kvm_stat.hpp"
#include "trace_sink.hpp"

namespace vmxsys::platform {

namespace {

struct kvm_stat_options {
  std::optional<unsigned> vcpu;
};
constexpr std::array rows{
    row<&kvm_stat_options::vcpu>("vcpu", "vCPU", 0, 1023,
                                 "only the exits of the vCPUs of this number, as perf kvm stat report --vcpu")
        .from("Linux v6.1, tools/perf/builtin-kvm.c")};

/// The exit table of the measured interval, at the end of the run. An exit counts if it begins and is followed by an
/// entry in the interval, as in the run's report; perf, which learns a thread's vCPU at its first entry, would leave
/// out the first exit of each.
class kvm_stat_trace final : public trace_sink {
 public:
  kvm_stat_trace(const kvm_stat_options& o, const trace_environment& e) : options_{o}, machine_{e.machine}, to_{e.to} {}

  void begin(cycles at) override {
    measuring_ = true;
    for (const auto& vm : machine_.hypervisor.vms())
      for (unsigned i = 0; i < vm->vcpus(); ++i)
        table_.on_entry(static_cast<int>(vm->cpu(i).thread().pid), i, machine_.host.to_ns(at));
  }
  void observe(const cpu::fact_view& fact) override {
    if (!measuring_) return;
    if (const auto* x = fact.as<models::kvm_exit_fact>())
      table_.on_exit(static_cast<int>(x->pid), static_cast<std::uint32_t>(x->reason), time(fact));
    else if (const auto* f = fact.as<models::kvm_entry_fact>())
      table_.on_entry(static_cast<int>(f->pid), f->vcpu, time(fact));
  }
  void finish(cycles) override { to_ << table_.report(models::trace::trace_version::v6_1, options_.vcpu); }

 private:
  std::uint64_t time(const cpu::fact_view& fact) const { return machine_.host.to_ns(fact.header().at); }

  kvm_stat_options options_;
  observed_machine machine_;
  std::ostream& to_;
  models::trace::kvm_stat table_;
  bool measuring_ = false;
};

}  // namespace

extern const trace_format_entry kvm_stat_entry = entry_with<trace_format_entry, kvm_stat_options, rows>(
    "kvm_stat", "VM exits by reason as `perf kvm stat report` prints them: counts and times of the measured interval",
    [](const void* o, const trace_environment& e) -> std::unique_ptr<trace_sink> {
      return std::make_unique<kvm_stat_trace>(options_as<kvm_stat_options>(o), e);
    });

}  // namespace vmxsys::platform
