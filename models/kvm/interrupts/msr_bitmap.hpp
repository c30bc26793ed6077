#pragma once
#include <cstdint>
#include <vector>

#include <vmxsys/vmx/base/physical_memory.hpp>

namespace vmxsys::models {

/// An MSR bitmap in memory (SDM Vol. 3C §27.6.9), of which only MSRs 0 to 1FFFH are ever let through: a 1 makes the
/// access exit; reads from byte 0, writes from byte 2048.
class msr_bitmap {
 public:
  static constexpr std::size_t bytes = 4096;

  msr_bitmap(physical_memory& memory, physical_address at) : memory_{memory}, at_{at} {}
  void intercept_all() {
    const std::vector<unsigned char> ones(bytes, 0xFF);
    memory_.write(at_, ones.data(), ones.size());
  }
  void allow_read(std::uint32_t msr) { clear(at_ + msr / 8, msr % 8); }
  void allow_write(std::uint32_t msr) { clear(at_ + 2048 + msr / 8, msr % 8); }

 private:
  void clear(physical_address at, unsigned bit) {
    memory_.write(at, static_cast<std::uint8_t>(memory_.read<std::uint8_t>(at) & ~(1u << bit)));
  }

  physical_memory& memory_;
  physical_address at_;
};

}  // namespace vmxsys::models
