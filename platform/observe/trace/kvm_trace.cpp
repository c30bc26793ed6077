#include <ostream>

#include "trace_sink.hpp"
#include "tracepoints.hpp"

namespace vmxsys::platform {

namespace {

/// The tracepoints of a run as `perf script` prints them (tools/perf/builtin-script.c, v5.6), in the order of time.
class kvm_trace final : public trace_sink {
 public:
  explicit kvm_trace(const trace_environment& e)
      : events_{e.machine, e.tracepoints.empty() ? std::vector<std::string>{"kvm:*"} : e.tracepoints}, to_{e.to} {}

  void observe(const cpu::fact_view& fact) override {
    const std::optional<tracepoint_event> event = events_.next(fact);
    if (!event) return;
    to_ << models::trace::perf_script_line(models::trace::trace_version::v5_6, event->current.comm, event->current.pid,
                                           event->cpu, event->ns, event->name, events_.width(), event->payload)
        << '\n';
  }

 private:
  tracepoint_stream events_;
  std::ostream& to_;
};

}  // namespace

extern constinit const trace_format_entry kvm_trace_format{
    "kvm", "tracepoints of the host as `perf script` prints them: those of KVM, or those that -e chooses",
    [](const trace_environment& e) -> std::unique_ptr<trace_sink> { return std::make_unique<kvm_trace>(e); },
    known_tracepoints};

}  // namespace vmxsys::platform
