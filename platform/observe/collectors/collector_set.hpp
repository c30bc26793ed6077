#pragma once
#include <memory>
#include <vector>

#include "collector.hpp"

namespace vmxsys::platform {

/// The collectors of one run, as one observer of its facts.
class collector_set final : public cpu::fact_observer {
 public:
  /// Those that are chosen, and with their defaults those that run always.
  collector_set(const std::vector<component<collector_entry>>& chosen, const catalogue<collector_entry>& from,
                const observed_machine& of);

  void observe(const cpu::fact_view& fact) override { switch_.observe(fact); }
  void begin(cycles at);
  void finish(cycles at);
  /// After `finish`: in the order in which they were chosen, each in the order of its rows.
  statistics sum_up() const;

 private:
  void add(const selection<collector_entry>& chosen, const observed_machine& of);

  struct running {
    const collector_entry* entry;
    std::unique_ptr<collector> runs;
  };
  std::vector<running> all_;
  fact_switch switch_;
  std::uint64_t tsc_khz_;
};

}  // namespace vmxsys::platform
