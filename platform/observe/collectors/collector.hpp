#pragma once
// A collector turns facts into statistics. Its file holds a struct of figures with a row for each statistic
// (statistic.hpp), its options, a class with a function `on` for each kind of fact that it counts, and its entry:
//
//   class wakeups final : public collects<wakeups, figures, models::sched_wakeup_fact> {
//    public:
//     explicit wakeups(const observed_machine&) {}
//     void on(const models::sched_wakeup_fact&, const cpu::fact_header&) { ++figures_.wakeups; }
//   };
//   extern const collector_entry wakeups_entry = entry_without<collector_entry>(
//       "wakeups", "threads that the host wakes", statistic_list{given},
//       [](const void*, const observed_machine& m) -> std::unique_ptr<collector> {
//         return std::make_unique<wakeups>(m);
//       });
//
// Its statistics are then called "wakeups." and what their rows say.
#include <memory>

#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/platform/observe/base/fact_switch.hpp>
#include <vmxsys/platform/observe/base/observed_machine.hpp>
#include <vmxsys/platform/observe/base/statistic.hpp>
#include <vmxsys/vmx/base/catalogue.hpp>

namespace vmxsys::platform {

/// Observes one run. It hears facts from cycle 0 on, so that it knows the machine's state; its figures are those of the
/// measured interval. It changes no fact, and allocates nothing for a fact but what a key that is new needs.
class collector {
 public:
  virtual ~collector() = default;
  /// Asks for the kinds of facts that it counts.
  virtual void listen(fact_switch& to) = 0;
  /// The measured interval begins: what was counted before is dropped.
  virtual void begin(cycles at) = 0;
  /// The run is over: the last chance to complete the figures.
  virtual void finish(cycles at) = 0;
  /// The struct that the rows of its entry are about.
  virtual const void* figures() const = 0;
};

/// A collector that counts `Facts` into `Figures`. `Derived` has a public `on(const F&, const cpu::fact_header&)` for
/// each of them, and where it keeps more than figures a `begin` that first calls this one.
template <class Derived, class Figures, cpu::fact_payload... Facts>
class collects : public collector {
 public:
  void listen(fact_switch& to) final { (to.add<Facts>(static_cast<Derived&>(*this)), ...); }
  void begin(cycles) override { figures_ = {}; }
  void finish(cycles) override {}
  const void* figures() const final { return &figures_; }

 protected:
  Figures figures_;
};

/// Options, parameters and name as of every entry; the name is the first part of its statistics' names.
struct collector_entry : entry {
  statistic_list statistics;
  std::unique_ptr<collector> (*make)(const void* options, const observed_machine& of);
  /// The report and the fixed members of a run's document are filled from it, so it runs in every run.
  bool always = false;
};

/// The collectors that ship.
catalogue<collector_entry> collectors();

}  // namespace vmxsys::platform
