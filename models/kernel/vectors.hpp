#pragma once
#include <cstdint>

/// Vectors a kernel uses, as Linux numbers them (arch/x86/include/asm/irq_vectors.h).
namespace vmxsys::models::vector {

inline constexpr std::uint8_t local_timer = 0xec;
inline constexpr std::uint8_t call_function_single = 0xfb;
inline constexpr std::uint8_t call_function = 0xfc;
inline constexpr std::uint8_t reschedule = 0xfd;

}  // namespace vmxsys::models::vector
