#include "detail/spin_arithmetic.hpp"

namespace vmxsys::vmx {

namespace {

// The smallest i with i * step mod modulus in [low, high], where 0 < low and step < modulus.
std::optional<std::uint64_t> first_multiple(std::uint64_t step, std::uint64_t modulus, std::uint64_t low,
                                            std::uint64_t high) noexcept {
  if (step == 0) return std::nullopt;
  // Walking down by modulus - step is the same walk seen in a mirror; the shorter stride halves the problem.
  if (step > modulus - step) return first_multiple(modulus - step, modulus, modulus - high, modulus - low);
  const std::uint64_t steps = (low + step - 1) / step;
  if (steps * step <= high) return steps;
  // Every round jumps over the range. A round that does not is one that starts at the right remainder of the stride;
  // which round that is is the same question with the stride as modulus.
  const auto rounds = first_multiple(modulus % step, step, step - high % step, step - low % step);
  if (!rounds) return std::nullopt;
  return (low + modulus * *rounds + step - 1) / step;
}

}  // namespace

std::optional<std::uint64_t> first_hit(std::uint64_t start, std::uint64_t step, std::uint64_t modulus,
                                       std::uint64_t low, std::uint64_t high) noexcept {
  start %= modulus;
  if (low <= start && start <= high) return 0;
  const auto from_start = [&](std::uint64_t x) { return x >= start ? x - start : x + modulus - start; };
  return first_multiple(step % modulus, modulus, from_start(low), from_start(high));
}

}  // namespace vmxsys::vmx
