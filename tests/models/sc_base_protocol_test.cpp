#include "cpu/sc_base_protocol.hpp"

#include <vmxsys/models/devices/sc_io_apic.hpp>

namespace vmxsys::cpu::testing {
namespace {

std::shared_ptr<void> make_io_apic(timeline_module& timeline, base_protocol_initiator& initiator) {
  auto module = std::make_shared<models::io_apic_module>("target", timeline);
  initiator.socket.bind(module->socket);
  return module;
}

INSTANTIATE_TEST_SUITE_P(
    models, sc_base_protocol,
    ::testing::Values(target_case{"io_apic", false, true, 0xFEC00010, 0xFEC00000, 0xFEC01000, make_io_apic},
                      target_case{"io_apic_by_offset", false, true, 0x10, 0, 0x1000, make_io_apic}),
    [](const auto& test) { return std::string{test.param.name}; });

}  // namespace
}  // namespace vmxsys::cpu::testing
