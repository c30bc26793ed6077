#include <vmxsys/vmx/vmcs.hpp>

namespace vmxsys::vmx {

std::uint64_t vmcs::read_component(std::uint32_t encoding) const noexcept {
  const std::uint64_t value = values_[detail::slot_index[detail::slot_position(encoding)]];
  return is_high(encoding) ? value >> 32 : value;
}

void vmcs::write_component(std::uint32_t encoding, std::uint64_t value) noexcept {
  const std::size_t slot = detail::slot_index[detail::slot_position(encoding)];
  if (is_high(encoding)) value = (value << 32) | (values_[slot] & 0xFFFF'FFFF);
  write_slot(slot, value);
}

void vmcs::load(const physical_memory& memory, physical_address region) {
  revision_ = memory.read<std::uint32_t>(region + vmcs_region::revision);
  abort_ = memory.read<std::uint32_t>(region + vmcs_region::abort_indicator);
  launch_ =
      memory.read<std::uint32_t>(region + vmcs_region::launch) == 1 ? launch_state::launched : launch_state::clear;
  memory.read(region + vmcs_region::fields, values_.data(), sizeof values_);
  for (std::size_t i = 0; i < field_count; ++i) values_[i] &= detail::masks[i];
  forget_checks();
}

void vmcs::store(physical_memory& memory, physical_address region) const {
  memory.write(region + vmcs_region::revision, revision_);
  memory.write(region + vmcs_region::abort_indicator, abort_);
  memory.write(region + vmcs_region::launch, static_cast<std::uint32_t>(launch_));
  memory.write(region + vmcs_region::launch + 4, std::uint32_t{0});
  memory.write(region + vmcs_region::fields, values_.data(), sizeof values_);
}

}  // namespace vmxsys::vmx
