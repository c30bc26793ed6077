#include "vmcs.hpp"

namespace vmxsys::vmx {

namespace {

std::size_t slot_of_component(std::uint32_t encoding) { return detail::slot_index[detail::slot_position(encoding)]; }

std::uint64_t part_of(std::uint64_t value, std::uint32_t encoding) { return is_high(encoding) ? value >> 32 : value; }

std::uint64_t with_part(std::uint64_t old, std::uint32_t encoding, std::uint64_t value) {
  return is_high(encoding) ? (value << 32) | (old & 0xFFFF'FFFF) : value;
}

}  // namespace

std::uint64_t vmcs::read_component(std::uint32_t encoding) const noexcept {
  return part_of(values_[slot_of_component(encoding)], encoding);
}

void vmcs::write_component(std::uint32_t encoding, std::uint64_t value) noexcept {
  const std::size_t slot = slot_of_component(encoding);
  write_slot(slot, with_part(values_[slot], encoding, value));
}

std::uint64_t read_component(const physical_memory& memory, physical_address region, std::uint32_t encoding) {
  const std::size_t slot = slot_of_component(encoding);
  const auto value = memory.read<std::uint64_t>(region + vmcs_region::fields + 8 * slot);
  return part_of(value & detail::masks[slot], encoding);
}

void write_component(physical_memory& memory, physical_address region, std::uint32_t encoding, std::uint64_t value) {
  const std::size_t slot = slot_of_component(encoding);
  const physical_address at = region + vmcs_region::fields + 8 * slot;
  memory.write(at, with_part(memory.read<std::uint64_t>(at), encoding, value) & detail::masks[slot]);
}

void vmcs::load(const physical_memory& memory, physical_address region) {
  revision_ = memory.read<std::uint32_t>(region + vmcs_region::revision);
  abort_ = memory.read<std::uint32_t>(region + vmcs_region::abort_indicator);
  const auto launch = memory.read<std::uint32_t>(region + vmcs_region::launch);
  launch_ = launch == 1 || launch == 2 ? launch_state::launched : launch_state::clear;
  vmxoff_since_launch_ = launch == 2;
  memory.read(region + vmcs_region::fields, values_.data(), sizeof values_);
  for (std::size_t i = 0; i < field_count; ++i) values_[i] &= detail::masks[i];
  forget_checks();
}

void vmcs::store(physical_memory& memory, physical_address region) const {
  memory.write(region + vmcs_region::revision, revision_);
  memory.write(region + vmcs_region::abort_indicator, abort_);
  const auto launch = static_cast<std::uint32_t>(launch_);
  memory.write(region + vmcs_region::launch, vmxoff_since_launch_ ? 2u : launch);
  memory.write(region + vmcs_region::launch + 4, std::uint32_t{0});
  memory.write(region + vmcs_region::fields, values_.data(), sizeof values_);
}

}  // namespace vmxsys::vmx
