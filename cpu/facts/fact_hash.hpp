#pragma once
#include <bit>
#include <cstdint>
#include <string_view>
#include <vector>

#include "fact.hpp"

namespace vmxsys::cpu {

/// A hash over all facts of a run: per source over the canonical form of its facts, then over the sources in
/// their order. Facts of different sources are not ordered against each other, because engines are free to run
/// components at one cycle in any order that has no effect.
class fact_hash final : public fact_observer {
 public:
  void observe(const fact_view& fact) override {
    const fact_header& h = fact.header();
    if (sources_.size() <= h.id.source) sources_.resize(h.id.source + std::size_t{1}, seed);
    std::uint64_t& state = sources_[h.id.source];
    mix(state, name_hash(h.kind));
    mix(state, h.at.count());
    mix(state, h.cause.index == 0 ? 0 : h.cause.source + std::uint64_t{1});
    mix(state, h.cause.index);
    std::uint64_t values[fact_kind::max_fields];
    h.kind->values(fact.payload(), values);
    for (std::size_t i = 0; i < h.kind->field_count; ++i) mix(state, values[i]);
    ++count_;
  }

  std::uint64_t value() const {
    std::uint64_t all = seed;
    for (std::uint64_t s : sources_) mix(all, s);
    return all;
  }
  std::uint64_t count() const { return count_; }

 private:
  static constexpr std::uint64_t seed = 0x766d78737973ULL;

  static void mix(std::uint64_t& state, std::uint64_t value) {
    state = std::rotl(state ^ value * 0x9e3779b97f4a7c15ULL, 29) * 0xbf58476d1ce4e5b9ULL + 0x94d049bb133111ebULL;
  }
  std::uint64_t name_hash(const fact_kind* kind) {
    for (const auto& [known, hash] : names_)
      if (known == kind) return hash;
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (char c : std::string_view{kind->name}) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    names_.emplace_back(kind, hash);
    return hash;
  }

  std::vector<std::uint64_t> sources_;
  std::vector<std::pair<const fact_kind*, std::uint64_t>> names_;
  std::uint64_t count_ = 0;
};

}  // namespace vmxsys::cpu
