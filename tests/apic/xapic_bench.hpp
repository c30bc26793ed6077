#pragma once
#include <cstdint>
#include <gtest/gtest.h>
#include <vector>

#include <vmxsys/apic/local/local_apic.hpp>

namespace vmxsys::apic::testing_bench {

/// A load that must be an ordinary one.
inline std::uint32_t load(local_apic& apic, std::uint32_t offset, std::uint64_t now = 0) {
  const register_outcome outcome = apic.read_page(offset, 4, cycles{now});
  EXPECT_FALSE(outcome.fault || outcome.undefined || outcome.unclaimed) << std::hex << offset;
  return static_cast<std::uint32_t>(outcome.value);
}

/// A store that must be an ordinary one.
inline register_outcome store(local_apic& apic, std::uint32_t offset, std::uint32_t value, std::uint64_t now = 0) {
  const register_outcome outcome = apic.write_page(offset, 4, value, cycles{now});
  EXPECT_FALSE(outcome.fault || outcome.undefined || outcome.unclaimed) << std::hex << offset << " = " << value;
  return outcome;
}

/// In xAPIC mode and enabled by SVR.
inline local_apic enabled_xapic(std::uint32_t id = 3, const local_apic_options& options = {}) {
  local_apic apic{id, false, {}, options};
  store(apic, page::svr, 0x1FF);
  return apic;
}

inline local_apic in_mode(apic_mode mode, std::uint32_t id, const local_apic_options& options = {}) {
  local_apic apic{id, false, {}, options};
  if (mode == apic_mode::disabled) apic.write_msr(msr::apic_base, 0xFEE00000, cycles{0});
  if (mode == apic_mode::x2apic) apic.enter_x2apic();
  return apic;
}

/// Everything that can be observed of a local APIC; two that answer the same everywhere have the same.
inline std::vector<std::uint64_t> fingerprint(local_apic apic) {
  const apic_address address = apic.address();
  std::vector<std::uint64_t> all{static_cast<std::uint64_t>(apic.mode()),
                                 apic.read_msr(msr::apic_base, cycles{0}).value,
                                 apic.read_msr(msr::tsc_deadline, cycles{0}).value,
                                 address.id,
                                 address.logical_id,
                                 address.flat,
                                 apic.task_priority(),
                                 apic.processor_priority(),
                                 apic.errors(),
                                 static_cast<std::uint64_t>(apic.highest_request()),
                                 apic.next_timer_event().count(),
                                 apic.timer().initial_count(),
                                 apic.timer().divide_configuration(),
                                 static_cast<std::uint64_t>(apic.timer().mode()),
                                 apic.ext_int_asserted()};
  for (unsigned i = 0; i < 8; ++i)
    for (const vector_set* set : {&apic.requests(), &apic.in_service(), &apic.level_triggered()})
      all.push_back(set->register32(i));
  for (std::uint32_t number = msr::x2apic_first; number <= msr::x2apic_last; ++number)
    all.push_back(apic.read_msr(number, cycles{0}).value);
  const local_apic before = apic;
  for (std::uint32_t offset = 0; offset < page::size; offset += 16) {
    apic = before;  // a load can set an error bit
    all.push_back(apic.read_page(offset, 4, cycles{0}).value);
  }
  return all;
}

}  // namespace vmxsys::apic::testing_bench
