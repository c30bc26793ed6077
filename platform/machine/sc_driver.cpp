#include <systemc>
#include <tlm>

#include <vmxsys/cpu/systemc/sc_timeline_module.hpp>

#include "driver.hpp"

namespace vmxsys::platform {

namespace {

/// While it lives, a broken invariant is thrown; SystemC's default for SC_FATAL aborts the process.
class thrown_invariants {
 public:
  thrown_invariants()
      : before_{sc_core::sc_report_handler::set_actions(cpu::message::invariant, sc_core::SC_FATAL,
                                                        sc_core::SC_CACHE_REPORT | sc_core::SC_THROW)} {}
  ~thrown_invariants() { sc_core::sc_report_handler::set_actions(cpu::message::invariant, sc_core::SC_FATAL, before_); }
  thrown_invariants(const thrown_invariants&) = delete;
  thrown_invariants& operator=(const thrown_invariants&) = delete;

 private:
  sc_core::sc_actions before_;
};

class systemc_driver final : public driver {
 public:
  explicit systemc_driver(simulation& of) : of_{of} {
    tlm::tlm_global_quantum& quantum = tlm::tlm_global_quantum::instance();
    if (quantum.get() == sc_core::SC_ZERO_TIME) quantum.set(sc_core::sc_time{1, sc_core::SC_MS});
    module_ = std::make_unique<cpu::timeline_module>("machine", of.hardware(), of.preset().tsc_khz);
  }

  void run_until(cycles end) override {
    try {
      advance(end);
    } catch (const sc_core::sc_report&) {
      // As a bare machine throws it: what went wrong, not how the kernel reports it.
      if (const std::exception_ptr cause = module_->failure()) std::rethrow_exception(cause);
      throw;
    }
  }
  const char* name() const noexcept override { return "SystemC"; }

 private:
  void advance(cycles end) {
    if (!elaborated_) sc_core::sc_start(sc_core::SC_ZERO_TIME);
    elaborated_ = true;
    const sc_core::sc_time to = module_->clock().time_of(end);
    if (to > sc_core::sc_time_stamp()) module_->run_for(to - sc_core::sc_time_stamp());
    module_->synchronise();
    // The kernel's time is coarser or finer than a cycle: the last step to `end` is the machine's own.
    if (of_.hardware().time().now() < end) of_.hardware().run_until(end);
  }

  simulation& of_;
  thrown_invariants actions_;
  std::unique_ptr<cpu::timeline_module> module_;
  bool elaborated_ = false;
};

}  // namespace

std::unique_ptr<driver> make_systemc_driver(simulation& of) { return std::make_unique<systemc_driver>(of); }

}  // namespace vmxsys::platform
