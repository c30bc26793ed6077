#include "sc_memory.hpp"

#include <algorithm>

namespace vmxsys::cpu {

namespace {
constexpr std::uint64_t page_size = 4096;
}

memory_target::memory_target(const sc_core::sc_module_name& name, timeline_module& timeline, physical_address base,
                             std::uint64_t size)
    : sc_module{name}, timeline_{timeline}, sender_{timeline.add_sender()}, base_{base}, size_{size} {
  socket.register_b_transport(this, &memory_target::b_transport);
  socket.register_transport_dbg(this, &memory_target::transport_dbg);
  socket.register_get_direct_mem_ptr(this, &memory_target::get_direct_mem_ptr);
  timeline_.hardware().physical().attach(*this);
}

memory_target::~memory_target() { timeline_.hardware().physical().detach(*this); }

bool memory_target::valid(tlm::tlm_generic_payload& transaction) const {
  const std::uint64_t length = transaction.get_data_length();
  const std::uint64_t width = transaction.get_streaming_width();
  if (transaction.get_data_ptr() == nullptr && length != 0) {
    transaction.set_response_status(tlm::TLM_GENERIC_ERROR_RESPONSE);
    return false;
  }
  if (length == 0 || width == 0) {
    transaction.set_response_status(tlm::TLM_BURST_ERROR_RESPONSE);
    return false;
  }
  if (transaction.get_byte_enable_ptr() != nullptr && transaction.get_byte_enable_length() == 0) {
    transaction.set_response_status(tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE);
    return false;
  }
  const std::uint64_t reach = std::min(length, width);
  if (transaction.get_address() >= size_ || reach > size_ - transaction.get_address()) {
    transaction.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
    return false;
  }
  return true;
}

// Calls access(address, offset in the data, bytes) for every run of enabled bytes at consecutive addresses.
template <class Access>
void memory_target::for_each_run(tlm::tlm_generic_payload& transaction, Access access) {
  const std::size_t length = transaction.get_data_length();
  const std::size_t width = transaction.get_streaming_width();
  const unsigned char* enables = transaction.get_byte_enable_ptr();
  const std::size_t enables_length = transaction.get_byte_enable_length();
  const physical_address first = base_ + transaction.get_address();
  const auto enabled = [&](std::size_t i) {
    return enables == nullptr || enables[i % enables_length] == TLM_BYTE_ENABLED;
  };
  for (std::size_t beat = 0; beat < length; beat += width) {
    const std::size_t beat_end = std::min(length - beat, width) + beat;
    if (enables == nullptr) {
      access(first, beat, beat_end - beat);
      continue;
    }
    for (std::size_t i = beat; i < beat_end;) {
      if (!enabled(i)) {
        ++i;
        continue;
      }
      std::size_t end = i + 1;
      while (end < beat_end && enabled(end)) ++end;
      access(first + (i - beat), i, end - i);
      i = end;
    }
  }
}

void memory_target::b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay) {
  transaction.set_dmi_allowed(false);
  if (!valid(transaction)) return;
  unsigned char* data = transaction.get_data_ptr();
  if (transaction.is_read()) {
    if (delay != sc_core::SC_ZERO_TIME) {
      wait(delay);
      delay = sc_core::SC_ZERO_TIME;
    }
    for_each_run(transaction, [&](physical_address at, std::size_t offset, std::size_t bytes) {
      timeline_.read(at, data + offset, bytes);
    });
  } else if (transaction.is_write()) {
    for_each_run(transaction, [&](physical_address at, std::size_t offset, std::size_t bytes) {
      timeline_.write(sender_, at, data + offset, bytes, delay);
    });
  }
  transaction.set_dmi_allowed(!timeline_.hardware().physical().page_is_watched(base_ + transaction.get_address()));
  transaction.set_response_status(tlm::TLM_OK_RESPONSE);
}

unsigned memory_target::transport_dbg(tlm::tlm_generic_payload& transaction) {
  const std::uint64_t address = transaction.get_address();
  if (address >= size_) {
    transaction.set_response_status(tlm::TLM_ADDRESS_ERROR_RESPONSE);
    return 0;
  }
  if (transaction.get_data_ptr() == nullptr) {
    transaction.set_response_status(tlm::TLM_GENERIC_ERROR_RESPONSE);
    return 0;
  }
  const auto bytes = static_cast<unsigned>(std::min<std::uint64_t>(transaction.get_data_length(), size_ - address));
  if (transaction.is_read())
    timeline_.peek(base_ + address, transaction.get_data_ptr(), bytes);
  else if (transaction.is_write())
    timeline_.hardware().physical().write(base_ + address, transaction.get_data_ptr(), bytes);
  transaction.set_response_status(tlm::TLM_OK_RESPONSE);
  return transaction.is_read() || transaction.is_write() ? bytes : 0;
}

bool memory_target::get_direct_mem_ptr(tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& grant) {
  const std::uint64_t address = transaction.get_address();
  memory& bytes = timeline_.hardware().physical();
  if (address >= size_) {
    grant.set_start_address(size_);
    grant.set_end_address(~std::uint64_t{0});
    return false;
  }
  const physical_address page = (base_ + address) & ~(page_size - 1);
  // The part of the page that this module reaches.
  const physical_address first = std::max(page, base_);
  const physical_address last = base_ + std::min<std::uint64_t>(size_ - 1, page + page_size - 1 - base_);
  grant.set_start_address(first - base_);
  grant.set_end_address(last - base_);
  const bool watched = bytes.page_is_watched(page);
  if (watched && transaction.is_write()) return false;
  grant.set_dmi_ptr(bytes.direct_page(page) + (first - page));
  if (watched) {
    grant.allow_read();
  } else {
    grant.allow_read_write();
    granted_for_writing_.insert(page);
  }
  return true;
}

void memory_target::page_became_watched(physical_address page) {
  if (granted_for_writing_.erase(page) == 0) return;
  const physical_address first = std::max(page, base_);
  socket->invalidate_direct_mem_ptr(first - base_, page + page_size - 1 - base_);
}

}  // namespace vmxsys::cpu
