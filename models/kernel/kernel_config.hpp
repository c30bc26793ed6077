#pragma once
#include <cstdint>
#include <string>

#include <vmxsys/models/kernel/apic_drivers/catalogue.hpp>
#include <vmxsys/models/kernel/idle/catalogue.hpp>
#include <vmxsys/models/kernel/locks/catalogue.hpp>
#include <vmxsys/models/schedulers/catalogue.hpp>
#include <vmxsys/vmx/base/physical_memory.hpp>

#include "kernel_costs.hpp"

namespace vmxsys::models {

/// What a kernel is made from.
struct kernel_config {
  std::string name = "host";
  unsigned cpus = 1;
  unsigned hz = 250;
  std::uint64_t tsc_khz = 2'300'000;
  kernel_costs costs;
  selection<lock_entry> locks = spinlocks().select();  ///< of its run queues and of the locks it hands out
  selection<apic_driver_entry> apic = apic_drivers().select();
  selection<idle_driver_entry> idle = idle_drivers().select();
  /// Calls of all other CPUs go out by one ICR write with a shorthand (native_send_call_func_ipi, Linux v5.4 and later
  /// with every present CPU online).
  bool ipi_shorthands = false;
  /// By how much its IPI vectors are below Linux': for a guest whose IPIs reach physical CPUs as they are, where the
  /// host's own vectors are taken.
  std::uint8_t ipi_vector_shift = 0;
  bool tracing = false;                          ///< tracepoints are enabled and cost time
  physical_address memory_base = 0x1'0000'0000;  ///< where its shared words live
  std::uint64_t memory_bytes = 64u << 20;
  selection<scheduler_entry> scheduler = schedulers().select();
};

}  // namespace vmxsys::models
