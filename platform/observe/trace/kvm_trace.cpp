#include <array>
#include <ostream>

#include "trace_sink.hpp"
#include "tracepoints.hpp"

namespace vmxsys::platform {

namespace {

struct kvm_trace_options {
  bool ns = false;
};
constexpr std::array rows{row<&kvm_trace_options::ns>("ns", "times in nanoseconds, as perf script --ns prints them")
                              .from("Linux v5.6, tools/perf/builtin-script.c")};

/// The tracepoints of a run as `perf script` prints them (tools/perf/builtin-script.c, v5.6), in the order of time.
class kvm_trace final : public trace_sink {
 public:
  kvm_trace(const kvm_trace_options& o, const trace_environment& e)
      : events_{e.machine, e.tracepoints.empty() ? std::vector<std::string>{"kvm:*"} : e.tracepoints},
        to_{e.to},
        time_{o.ns ? models::trace::perf_time::nanoseconds : models::trace::perf_time::microseconds} {}

  void observe(const cpu::fact_view& fact) override {
    const std::optional<tracepoint_event> event = events_.next(fact);
    if (!event) return;
    to_ << models::trace::perf_script_line(models::trace::trace_version::v5_6, event->current.comm, event->current.pid,
                                           event->cpu, event->ns, event->name, events_.width(), event->payload, time_)
        << '\n';
  }

 private:
  tracepoint_stream events_;
  std::ostream& to_;
  models::trace::perf_time time_;
};

}  // namespace

extern const trace_format_entry kvm_trace_entry = entry_with<trace_format_entry, kvm_trace_options, rows>(
    "kvm", "tracepoints of the host as `perf script` prints them: those of KVM, or those that -e chooses",
    [](const void* o, const trace_environment& e) -> std::unique_ptr<trace_sink> {
      return std::make_unique<kvm_trace>(options_as<kvm_trace_options>(o), e);
    },
    known_tracepoints);

}  // namespace vmxsys::platform
