#pragma once
#include <cstdint>
#include <iosfwd>

#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/platform/machine/simulation.hpp>

namespace vmxsys::platform {

/// Writes the KVM trace of a run as `perf script` prints the events kvm:kvm_entry and kvm:kvm_exit of Linux 5.6, one
/// line an event in the order of time per CPU. Attach it to the machine's facts.
class kvm_trace final : public cpu::fact_observer {
 public:
  kvm_trace(simulation& of, std::ostream& to) : of_{of}, to_{to} {}

  void observe(const cpu::fact_view& fact) override;
  std::uint64_t lines() const { return lines_; }

 private:
  simulation& of_;
  std::ostream& to_;
  std::uint64_t lines_ = 0;
};

}  // namespace vmxsys::platform
