#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace vmxsys::apic {

/// A set of interrupt vectors, 0..255: the shape of IRR, ISR and TMR (SDM Vol. 3A §13.8.4).
/// Every operation is a few instructions and never allocates; a small summary says which of the four 64-bit words
/// hold anything, so `highest` looks at one word only.
class vector_set {
 public:
  /// What `highest` answers for the empty set.
  static constexpr int none = -1;

  constexpr bool test(std::uint8_t vector) const noexcept { return (words_[word_of(vector)] & bit_of(vector)) != 0; }

  /// Adds the vector; true if it was not yet a member.
  constexpr bool set(std::uint8_t vector) noexcept {
    std::uint64_t& word = words_[word_of(vector)];
    const bool added = (word & bit_of(vector)) == 0;
    word |= bit_of(vector);
    summary_ |= 1U << word_of(vector);
    return added;
  }

  /// Removes the vector; true if it was a member.
  constexpr bool clear(std::uint8_t vector) noexcept {
    std::uint64_t& word = words_[word_of(vector)];
    const bool removed = (word & bit_of(vector)) != 0;
    word &= ~bit_of(vector);
    if (word == 0) summary_ &= ~(1U << word_of(vector));
    return removed;
  }

  constexpr void clear() noexcept { *this = vector_set{}; }

  constexpr void assign(std::uint8_t vector, bool member) noexcept {
    if (member)
      set(vector);
    else
      clear(vector);
  }

  constexpr bool empty() const noexcept { return summary_ == 0; }

  /// The largest member, or `none`. Vectors of a higher number have the higher priority.
  constexpr int highest() const noexcept {
    if (summary_ == 0) return none;
    const int word = 31 - __builtin_clz(summary_);
    return word * 64 + 63 - __builtin_clzll(words_[static_cast<std::size_t>(word)]);
  }

  /// Number of members, 0..256.
  constexpr int count() const noexcept {
    int members = 0;
    for (std::uint64_t word : words_) members += __builtin_popcountll(word);
    return members;
  }

  /// The set as its registers show it: eight 32-bit registers, register i holding vectors 32i..32i+31.
  constexpr std::uint32_t register32(unsigned index) const noexcept {
    return static_cast<std::uint32_t>(words_[(index >> 1) & 3] >> ((index & 1) * 32));
  }

  friend constexpr bool operator==(const vector_set& a, const vector_set& b) noexcept {
    for (std::size_t i = 0; i < 4; ++i)
      if (a.words_[i] != b.words_[i]) return false;
    return true;
  }
  friend constexpr bool operator!=(const vector_set& a, const vector_set& b) noexcept { return !(a == b); }

 private:
  static constexpr std::size_t word_of(std::uint8_t vector) noexcept { return vector >> 6; }
  static constexpr std::uint64_t bit_of(std::uint8_t vector) noexcept { return std::uint64_t{1} << (vector & 63); }

  std::array<std::uint64_t, 4> words_{};
  std::uint32_t summary_ = 0;  // bit i: words_[i] is not zero
};

}  // namespace vmxsys::apic
