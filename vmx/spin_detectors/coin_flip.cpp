#include "coin_flip.hpp"

#include <array>
#include <memory>

#include "catalogue.hpp"

namespace vmxsys::vmx {

namespace {

// The output function of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
std::uint64_t scramble(std::uint64_t z) noexcept {
  z += 0x9E37'79B9'7F4A'7C15;
  z = (z ^ z >> 30) * 0xBF58'476D'1CE4'E5B9;
  z = (z ^ z >> 27) * 0x94D0'49BB'1331'11EB;
  return z ^ z >> 31;
}

}  // namespace

bool coin_flip::heads(std::uint64_t episode) const noexcept {
  const std::uint64_t drawn = scramble(scramble(options_.seed) ^ episode) >> 32;
  return drawn * 1'000'000 >> 32 < options_.probability_ppm;
}

spin_verdict coin_flip::on_pause(const pause_event& pause) {
  if (parameters_.pause_exiting) return spin_verdict::exit;
  if (!decides(pause)) return spin_verdict::execute;
  decided_ = pause.truth.episode;
  return heads(decided_) ? spin_verdict::exit : spin_verdict::execute;
}

spin_prediction coin_flip::predict(const pause_event& first, cycles /*period*/) const {
  if (parameters_.pause_exiting) return spin_prediction::at(0);
  return decides(first) && heads(first.truth.episode) ? spin_prediction::at(0) : spin_prediction::never();
}

void coin_flip::advance(const pause_event& first, cycles /*period*/, std::uint64_t k) {
  if (k != 0) on_pause(first);
}

namespace {
using o = coin_flip_options;
constexpr std::array rows{row<&o::probability_ppm>("probability_ppm", "of a million", 0, 1'000'000, "waits that exit"),
                          row<&o::seed>("seed", "number", "of the coin")};
}  // namespace

extern const spin_detector_entry coin_flip_entry = entry_with<spin_detector_entry, coin_flip_options, rows>(
    "coin_flip", "a control, not hardware: exits at the first PAUSE of a random share of the waits",
    [](const void* options) -> std::unique_ptr<spin_detector> {
      return std::make_unique<coin_flip>(options_as<coin_flip_options>(options));
    },
    true);

}  // namespace vmxsys::vmx
