#include "detail/instruction_rows.hpp"

namespace vmxsys::vmx {

namespace {

struct table_rows {
  vmx_instruction_info rows[13] = {
      detail::invept_info,   detail::invvpid_info, detail::vmcall_info,  detail::vmclear_info, detail::vmfunc_info,
      detail::vmlaunch_info, detail::vmptrld_info, detail::vmptrst_info, detail::vmread_info,  detail::vmresume_info,
      detail::vmwrite_info,  detail::vmxoff_info,  detail::vmxon_info,
  };
};

const table_rows& table() noexcept {
  static const table_rows rows;
  return rows;
}

}  // namespace

const vmx_instruction_info* vmx_instruction_table() noexcept { return table().rows; }
std::size_t vmx_instruction_table_size() noexcept { return std::size(table().rows); }

const vmx_instruction_info& info_of(vmx_instruction instruction) noexcept {
  return table().rows[static_cast<std::size_t>(instruction)];
}

const instruction_check* first_failing_check(const vmx_instruction_info& info, const instruction_call& call) {
  for (const instruction_check& check : info)
    if (!check.holds(call)) return &check;
  return nullptr;
}

}  // namespace vmxsys::vmx
