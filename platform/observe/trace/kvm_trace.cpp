#include "kvm_trace.hpp"

#include <ostream>

#include <vmxsys/models/kvm/kvm_facts.hpp>

#include "trace_format.hpp"

namespace vmxsys::platform {

namespace trace = models::trace;

void kvm_trace::observe(const cpu::fact_view& fact) {
  constexpr auto version = trace::trace_version::v5_6;
  constexpr std::size_t event_width = std::string_view{"kvm:kvm_entry"}.size();
  const std::uint64_t time = of_.host().to_ns(fact.header().at);
  if (const auto* f = fact.as<models::kvm_entry_fact>()) {
    trace::kvm_entry_event e;
    e.vcpu = f->vcpu;
    e.rip = f->rip;
    to_ << trace::perf_script_line(version, "CPU " + std::to_string(f->vcpu) + "/KVM", static_cast<int>(f->pid), f->cpu,
                                   time, "kvm:kvm_entry", event_width, trace::kvm_entry(version, e))
        << '\n';
    ++lines_;
  } else if (const auto* x = fact.as<models::kvm_exit_fact>()) {
    trace::kvm_exit_event e;
    e.vcpu = x->vcpu;
    e.reason = static_cast<std::uint32_t>(x->reason);
    e.rip = x->rip;
    e.info1 = x->qualification;
    e.intr_info = x->interruption_information;
    to_ << trace::perf_script_line(version, "CPU " + std::to_string(x->vcpu) + "/KVM", static_cast<int>(x->pid), x->cpu,
                                   time, "kvm:kvm_exit", event_width, trace::kvm_exit(version, e))
        << '\n';
    ++lines_;
  }
}

}  // namespace vmxsys::platform
