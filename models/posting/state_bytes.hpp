#pragma once
#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vmxsys::models {

/// The canonical form of a small state: the same fields written in the same order give equal bytes exactly when
/// the states are equal. Holds `capacity` bytes and never allocates.
class state_bytes {
 public:
  static constexpr std::size_t capacity = 512;

  /// The low `bytes` bytes (1 .. 8) of a value that has no others.
  void put(std::uint64_t value, unsigned bytes = 1) {
    assert(bytes >= 1 && bytes <= 8 && size_ + bytes <= capacity);
    assert(bytes == 8 || value >> (8 * bytes) == 0);
    for (unsigned i = 0; i < bytes; ++i) bytes_[size_++] = static_cast<char>(value >> (8 * i));
  }
  /// A value that is small most of the time: 7 bits a byte, lowest first.
  void put_short(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) put((value & 0x7f) | 0x80);
    put(value);
  }
  std::string_view view() const noexcept { return {bytes_.data(), size_}; }
  std::size_t size() const noexcept { return size_; }

 private:
  // Bytes beyond the size mean nothing, so they need no value.
  std::array<char, capacity> bytes_;
  std::size_t size_ = 0;
};

}  // namespace vmxsys::models
