#include "field.hpp"

namespace vmxsys::vmx {

const field_info* find_field(std::string_view name) noexcept {
  for (const field_info& row : field_table)
    if (name == row.name) return &row;
  return nullptr;
}

const char* name_of(field f) noexcept {
  const field_info* row = find_field(encoding_of(f));
  return row ? row->name : "unknown_field";
}

const char* name_of(field_width w) noexcept {
  switch (w) {
    case field_width::bits_16:
      return "16 bits";
    case field_width::bits_64:
      return "64 bits";
    case field_width::bits_32:
      return "32 bits";
    case field_width::natural:
      return "natural";
  }
  return "?";
}

const char* name_of(field_type t) noexcept {
  switch (t) {
    case field_type::control:
      return "control";
    case field_type::exit_information:
      return "VM-exit information";
    case field_type::guest_state:
      return "guest state";
    case field_type::host_state:
      return "host state";
  }
  return "?";
}

}  // namespace vmxsys::vmx
