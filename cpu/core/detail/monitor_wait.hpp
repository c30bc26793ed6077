#pragma once
#include <cstdint>

#include <vmxsys/cpu/core/cpu_core.hpp>
#include <vmxsys/cpu/memory/memory.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>

namespace vmxsys::cpu {

/// MONITOR and UMONITOR, and the waits of MWAIT, UMWAIT and TPAUSE. A wait ends at its deadline, by a store to the
/// monitored line, or by an event that the CPU recognises. SDM Vol. 3A §10.10, Vol. 3C §28.3.
class monitor_wait final : private line_watcher {
 public:
  explicit monitor_wait(cpu_core& core) : core_{core} {}
  monitor_wait(const monitor_wait&) = delete;
  monitor_wait& operator=(const monitor_wait&) = delete;

  void arm(word& line);
  void disarm();
  bool armed() const { return line_ != nullptr; }

  /// How long TPAUSE and UMWAIT wait: `delay` cycles; `limited`: the operating system's limit made it so short.
  struct duration {
    std::uint64_t delay = 0;
    bool limited = false;
  };
  /// The instruction has nothing to wait for: its line is not armed.
  bool pointless(const system_instruction& i) const { return needs_line(i) && line_ == nullptr; }
  /// Begins the wait; `timed` is not looked at for MWAIT. False: it is over at once.
  bool begin(system_instruction& i, const duration& timed, cycles now);
  /// The wait is over. Leaving the state takes its time, then the instruction is behind.
  void end(cycles now);
  /// The CPU turns to something else: the instruction is behind.
  void abandon();
  /// MWAIT with ECX bit 0: an interrupt ends the wait though IF = 0.
  bool waits_for_masked() const { return waits_for_masked_; }

 private:
  static bool needs_line(const system_instruction& i) { return i.what.what != vmx::mnemonic::tpause; }
  void line_changed(cycles now) override;
  system_instruction& in_flight() { return static_cast<system_instruction&>(*core_.active->in_flight()); }

  cpu_core& core_;
  word* line_ = nullptr;
  bool waits_for_masked_ = false;
  cycles deadline_ = cycles::never();
};

}  // namespace vmxsys::cpu
