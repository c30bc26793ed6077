#pragma once
#include <cstddef>
#include <cstdint>

namespace vmxsys {

/// A host-physical address, 0 .. 2^52 - 1 (MAXPHYADDR of the capability row decides what is legal).
using physical_address = std::uint64_t;

/// What the rules need of memory: bytes at physical addresses, no timing. VMCS regions, MSR lists, bitmaps and
/// descriptors are read and written through it. An implementation must accept every address; unbacked bytes read
/// as zero. Accesses may cross pages.
class physical_memory {
 public:
  virtual ~physical_memory() = default;
  virtual void read(physical_address at, void* to, std::size_t bytes) const = 0;
  virtual void write(physical_address at, const void* from, std::size_t bytes) = 0;

  template <class T>
  T read(physical_address at) const {
    T value{};
    read(at, &value, sizeof value);
    return value;
  }
  template <class T>
  void write(physical_address at, const T& value) {
    write(at, &value, sizeof value);
  }
};

}  // namespace vmxsys
