#pragma once
#include <cstdint>

#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/base/physical_memory.hpp>

namespace vmxsys::cpu {

/// One access of a CPU to something outside the machine.
struct bus_request {
  unsigned cpu = 0;
  std::uint64_t tag = 0;  ///< goes back with the answer
  physical_address address = 0;
  std::uint64_t value = 0;  ///< of a write
  std::uint8_t bytes = 0;   ///< 1, 2, 4 or 8
  bool write = false;
};

/// What carries the CPUs' accesses to devices outside the machine. Without one, or where it refuses, a read gives all
/// ones and a write has no effect, at the cost of an access to memory.
class bus_if {
 public:
  virtual ~bus_if() = default;
  /// Takes a request that leaves its CPU now; the CPU waits until `logical_cpu::bus_answer`, at least one cycle later.
  /// False: no device is there, the CPU goes on at once.
  virtual bool issue(const bus_request& request, cycles now) = 0;
};

}  // namespace vmxsys::cpu
