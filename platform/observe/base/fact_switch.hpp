#pragma once
#include <cstdint>
#include <vector>

#include <vmxsys/cpu/facts/fact.hpp>

namespace vmxsys::platform {

/// Hands each fact to the listeners of its kind, in the order in which they were added. A fact that has none costs a
/// look into a table, however many listeners there are.
class fact_switch final : public cpu::fact_observer {
 public:
  fact_switch() : table_(64) {}

  /// `to.on(const F&, const cpu::fact_header&)` is called with every fact F from now on. `to` outlives this.
  template <cpu::fact_payload F, class Listener>
  void add(Listener& to) {
    const listener one{&to, [](void* l, const cpu::fact_view& fact) {
                         static_cast<Listener*>(l)->on(*static_cast<const F*>(fact.payload()), fact.header());
                       }};
    slot* at = &slot_of(&cpu::kind_of<F>);
    if (at->kind == nullptr && ++kinds_ * 2 > table_.size()) {
      grow();
      at = &slot_of(&cpu::kind_of<F>);
    }
    at->kind = &cpu::kind_of<F>;
    at->listeners.push_back(one);
  }

  void observe(const cpu::fact_view& fact) override {
    for (const listener& l : slot_of(fact.header().kind).listeners) l.call(l.to, fact);
  }

 private:
  struct listener {
    void* to;
    void (*call)(void* to, const cpu::fact_view& fact);
  };
  struct slot {
    const cpu::fact_kind* kind = nullptr;
    std::vector<listener> listeners;
  };

  /// The kind's slot, or the empty one where it would be. At most half of the slots are taken; their number is a power
  /// of two.
  slot& slot_of(const cpu::fact_kind* kind) {
    constexpr std::uint64_t spread = 0x9E3779B97F4A7C15;  // 2^64 over the golden ratio: neighbours land far apart
    std::size_t at = static_cast<std::size_t>(reinterpret_cast<std::uintptr_t>(kind) * spread >> 32);
    for (;; ++at) {
      slot& s = table_[at & (table_.size() - 1)];
      if (s.kind == kind || s.kind == nullptr) return s;
    }
  }
  void grow() {
    std::vector<slot> before(2 * table_.size());
    before.swap(table_);
    for (slot& s : before)
      if (s.kind != nullptr) slot_of(s.kind) = std::move(s);
  }

  std::vector<slot> table_;
  std::size_t kinds_ = 0;
};

}  // namespace vmxsys::platform
