#pragma once
#include <cstdint>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/models/posting/posting_protocol.hpp>

// Short ways to write the actions of the protocol's machines.
namespace vmxsys::models::posting_actions {

using op = posting_operation;

namespace layout = apic::posted_interrupt_descriptor;

/// NV and NDST of a descriptor's information word.
constexpr std::uint8_t nv_of(std::uint64_t info) { return apic::decode_descriptor_info(info).vector; }
constexpr std::uint64_t with_nv(std::uint64_t info, std::uint8_t vector) {
  return (info & ~(std::uint64_t{0xff} << layout::nv_shift)) | std::uint64_t{vector} << layout::nv_shift;
}
constexpr std::uint64_t with_ndst(std::uint64_t info, std::uint32_t destination) {
  return (info & 0xffffffffu) | std::uint64_t{destination} << layout::ndst_shift;
}

inline posting_action on_vcpu(op what, std::uint16_t vcpu) {
  posting_action a;
  a.what = what;
  a.vcpu = vcpu;
  return a;
}
inline posting_action with_vector(op what, std::uint16_t vcpu, std::uint8_t vector) {
  posting_action a = on_vcpu(what, vcpu);
  a.vector = vector;
  return a;
}
inline posting_action with_word(op what, std::uint16_t vcpu, std::uint8_t word, std::uint64_t value = 0) {
  posting_action a = on_vcpu(what, vcpu);
  a.word = word;
  a.value = value;
  return a;
}
inline posting_action with_value(op what, std::uint16_t vcpu, std::uint64_t value, std::uint64_t expected = 0) {
  posting_action a = on_vcpu(what, vcpu);
  a.value = value;
  a.expected = expected;
  return a;
}
inline posting_action with_mode(op what, std::uint16_t vcpu, vcpu_mode mode, vcpu_mode expected = {}) {
  return with_value(what, vcpu, static_cast<std::uint64_t>(mode), static_cast<std::uint64_t>(expected));
}
inline posting_action on_list(op what, std::uint32_t cpu, std::uint16_t vcpu = 0, std::uint64_t value = 0) {
  posting_action a = with_value(what, vcpu, value);
  a.cpu = cpu;
  return a;
}
inline posting_action ipi(std::uint32_t cpu, std::uint8_t vector) {
  posting_action a;
  a.what = op::send_ipi;
  a.vector = vector;
  a.cpu = cpu;
  return a;
}
inline posting_action here(op what) {
  posting_action a;
  a.what = what;
  return a;
}

template <class Enum>
std::uint8_t number(Enum e) {
  return static_cast<std::uint8_t>(e);
}

}  // namespace vmxsys::models::posting_actions
