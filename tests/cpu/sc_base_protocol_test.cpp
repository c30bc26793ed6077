#include "sc_base_protocol.hpp"

#include <vmxsys/cpu/systemc/sc_interrupt_port.hpp>
#include <vmxsys/cpu/systemc/sc_local_apic.hpp>
#include <vmxsys/cpu/systemc/sc_memory.hpp>
#include <vmxsys/cpu/systemc/sc_remapping_unit.hpp>

namespace vmxsys::cpu::testing {
namespace {

template <class Module, class... Arguments>
auto maker(Arguments... arguments) {
  return [=](timeline_module& timeline, base_protocol_initiator& initiator) -> std::shared_ptr<void> {
    auto module = std::make_shared<Module>("target", timeline, arguments...);
    initiator.socket.bind(module->socket);
    return module;
  };
}

constexpr std::uint64_t window = apic::msi_window;
constexpr std::uint64_t window_end = apic::msi_window + apic::msi_window_size;

INSTANTIATE_TEST_SUITE_P(
    cpu, sc_base_protocol,
    ::testing::Values(
        target_case{"memory", true, true, 0x1000, 0, 0x10000, maker<memory_target>(physical_address{0}, 0x10000)},
        target_case{"memory_at_a_base", true, true, 0x1000, 0, 0x1800,
                    maker<memory_target>(physical_address{0x345000}, 0x1800)},
        target_case{"interrupt_port", false, false, window + 0x1000, window, window_end, maker<interrupt_port>()},
        target_case{"interrupt_port_by_offset", false, false, 0x1000, 0, apic::msi_window_size,
                    maker<interrupt_port>()},
        target_case{"remapping_unit", false, false, window + 0x1010, window, window_end,
                    maker<remapping_unit>(apic::remapping_table{})},
        target_case{"local_apic", false, true, 0xFEE00080, 0xFEE00000, 0xFEE01000, maker<local_apic>(1u)},
        target_case{"local_apic_by_offset", false, true, 0x80, 0, 0x1000, maker<local_apic>(0u)}),
    [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace vmxsys::cpu::testing
