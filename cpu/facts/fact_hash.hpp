#pragma once
#include <cstdint>
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
    std::uint64_t state = sources_[h.id.source];
    state = detail::hash_step(state, h.kind->name_hash);
    state = detail::hash_step(state, h.at.count());
    state = detail::hash_step(state, h.cause.index == 0 ? 0 : h.cause.source + std::uint64_t{1});
    state = detail::hash_step(state, h.cause.index);
    sources_[h.id.source] = h.kind->hash(fact.payload(), state);
    ++count_;
  }

  std::uint64_t value() const {
    std::uint64_t all = seed;
    for (std::uint64_t s : sources_) all = detail::hash_step(all, s);
    return all;
  }
  std::uint64_t count() const { return count_; }

 private:
  static constexpr std::uint64_t seed = 0x766d78737973ULL;

  std::vector<std::uint64_t> sources_;
  std::uint64_t count_ = 0;
};

}  // namespace vmxsys::cpu
