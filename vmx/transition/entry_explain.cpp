#include <cstdio>

#include "entry.hpp"

namespace vmxsys::vmx {

namespace {

std::string hex(std::uint64_t value) {
  char text[2 + 16 + 1];
  std::snprintf(text, sizeof text, "0x%llX", static_cast<unsigned long long>(value));
  return text;
}

std::string fields_of(const field_list& reads, const vmcs* v) {
  std::string text;
  if (v == nullptr) return text;
  for (const field f : reads) text += (text.empty() ? ": " : ", ") + (name_of(f) + (" = " + hex(v->read(f))));
  return text;
}

std::string check_of(const char* check, const char* section, const field_list& reads, const vmcs* v) {
  return std::string{check} + " (" + section + ")" + fields_of(reads, v);
}

std::string ending_of(const entry_result& result) {
  switch (result.outcome) {
    case entry_outcome::enter:
      return "VM entry succeeds";
    case entry_outcome::failed_entry:
      return "VM entry fails, exit " + std::to_string(static_cast<unsigned>(result.reason)) + " (" +
             name_of(result.reason) + "), qualification " + hex(result.qualification);
    case entry_outcome::fail_invalid:
      return "VMfailInvalid";
    case entry_outcome::fail_valid: {
      const auto number = static_cast<unsigned>(result.error);
      return "VMfailValid " + std::to_string(number) + " (" + describe_error(number) + ")";
    }
    case entry_outcome::fault_ud:
      return "#UD";
    case entry_outcome::fault_gp:
      return "#GP(0)";
    case entry_outcome::vm_exit:
      return std::string{"VM exit "} + std::to_string(static_cast<unsigned>(result.reason)) + " (" +
             name_of(result.reason) + ")";
  }
  return "?";
}

}  // namespace

std::string explain(const entry_result& result, const vmcs* v) {
  if (result.check == nullptr) return ending_of(result);
  return ending_of(result) + ": " + check_of(result.check, result.section, result.reads, v);
}

std::string explain(const check_record& record, const vmcs* v) {
  return (record.passed ? "passed " : "FAILED ") + check_of(record.check, record.section, record.reads, v);
}

}  // namespace vmxsys::vmx
