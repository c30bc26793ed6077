#pragma once
#include <boost/describe.hpp>

#include <vmxsys/vmx/base/cycles.hpp>

#include "cost_table.hpp"

namespace vmxsys::cpu {

/// Sockets of cores of hardware threads. CPU numbers run over sockets, then cores, then threads:
/// cpu = (socket * cores + core) * threads + thread.
struct topology {
  unsigned sockets = 1;
  unsigned cores = 1;    ///< per socket
  unsigned threads = 1;  ///< per core

  constexpr unsigned cpus() const { return sockets * cores * threads; }
  constexpr unsigned socket_of(unsigned cpu) const { return cpu / (cores * threads); }
  constexpr unsigned core_of(unsigned cpu) const { return cpu / threads; }  ///< machine-wide core number

  /// One-way transfer of a cache line between two CPUs.
  constexpr cycles transfer(unsigned a, unsigned b, const transfer_costs& costs) const {
    if (core_of(a) == core_of(b)) return costs.same_core;
    return socket_of(a) == socket_of(b) ? costs.same_socket : costs.other_socket;
  }
  /// Flight of an interrupt message between two CPUs.
  constexpr cycles flight(unsigned a, unsigned b, const interrupt_costs& costs) const {
    if (a == b) return costs.flight_self;
    if (core_of(a) == core_of(b)) return costs.flight_same_core;
    return socket_of(a) == socket_of(b) ? costs.flight_same_socket : costs.flight_other_socket;
  }
};
BOOST_DESCRIBE_STRUCT(topology, (), (sockets, cores, threads))

}  // namespace vmxsys::cpu
