#pragma once
#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>

#include <vmxsys/vmx/base/physical_memory.hpp>

namespace vmxsys::vmx::test {

/// Sparse bytes; unwritten ones are zero.
class flat_memory final : public physical_memory {
 public:
  using physical_memory::read;
  using physical_memory::write;

  void read(physical_address at, void* to, std::size_t bytes) const override {
    auto* out = static_cast<unsigned char*>(to);
    for (; bytes > 0; --bytes, ++at) {
      const auto page = pages_.find(at >> 12);
      *out++ = page == pages_.end() ? 0 : page->second[at & 0xFFF];
    }
  }
  void write(physical_address at, const void* from, std::size_t bytes) override {
    const auto* in = static_cast<const unsigned char*>(from);
    for (; bytes > 0; --bytes, ++at) pages_[at >> 12][at & 0xFFF] = *in++;
  }
  /// The same pages written, with the same bytes.
  friend bool operator==(const flat_memory& a, const flat_memory& b) { return a.pages_ == b.pages_; }

 private:
  std::unordered_map<physical_address, std::array<unsigned char, 4096>> pages_;
};

}  // namespace vmxsys::vmx::test
