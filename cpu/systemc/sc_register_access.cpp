#include "sc_register_access.hpp"

namespace vmxsys::cpu {

namespace {

tlm::tlm_response_status status_of(const tlm::tlm_generic_payload& t, std::uint64_t address, std::uint64_t size) {
  const std::uint64_t length = t.get_data_length();
  if (t.get_data_ptr() == nullptr) return tlm::TLM_GENERIC_ERROR_RESPONSE;
  if (t.get_byte_enable_ptr() != nullptr) return tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE;
  if (length == 0 || length > 8 || t.get_streaming_width() < length) return tlm::TLM_BURST_ERROR_RESPONSE;
  if (address >= size || length > size - address) return tlm::TLM_ADDRESS_ERROR_RESPONSE;
  return tlm::TLM_OK_RESPONSE;
}

}  // namespace

std::optional<register_access> register_access_of(tlm::tlm_generic_payload& t, std::uint64_t base, std::uint64_t size) {
  t.set_dmi_allowed(false);
  std::uint64_t address = t.get_address();
  if (address >= base) address -= base;
  const tlm::tlm_response_status status = status_of(t, address, size);
  t.set_response_status(status);
  if (status != tlm::TLM_OK_RESPONSE || !(t.is_read() || t.is_write())) return std::nullopt;
  register_access a{address, t.get_data_length(), t.is_write(), 0};
  if (a.write)
    for (unsigned i = a.bytes; i > 0; --i) a.value = a.value << 8 | t.get_data_ptr()[i - 1];
  return a;
}

void set_data(tlm::tlm_generic_payload& t, std::uint64_t value) {
  for (unsigned i = 0; i < t.get_data_length(); ++i) t.get_data_ptr()[i] = static_cast<unsigned char>(value >> 8 * i);
}

}  // namespace vmxsys::cpu
