#pragma once
#include <memory>
#include <vector>

#include <vmxsys/vmx/base/cycles.hpp>

namespace vmxsys::cpu {

class strand;

/// Told in the cycle in which the strand that a spin loop waits for comes to a CPU or leaves it. A
/// reader of `futile` looks again one cycle later.
class spin_subject_watcher {
 public:
  virtual void subject_changed(cycles now) = 0;

 protected:
  ~spin_subject_watcher() = default;
};

/// Ground truth beside a spin loop: which strand the loop really waits for, and for how many cycles so far that strand
/// was on a CPU. Waiting while it is on none is futile: no amount of spinning helps. A lock keeps one, names its holder
/// (or, between holders, the next owner), and spinners take differences of `running`.
///
/// No hardware sees it. While no strand is named, waiting counts as useful.
class spin_subject {
 public:
  spin_subject() = default;
  spin_subject(const spin_subject&) = delete;
  spin_subject& operator=(const spin_subject&) = delete;
  ~spin_subject();

  /// From `now` on the loop waits for `who`; null for no strand.
  void await(strand* who, cycles now);
  strand* awaited() const { return awaited_; }

  /// Cycles until `now` in which waiting was useful.
  cycles running(cycles now) const { return on_cpu_ ? total_ + (now - since_) : total_; }

  /// Was the awaited strand on no CPU when the cycle `now` began? What changes within the cycle shows in the next one.
  bool futile(cycles now) const { return since_ < now ? !on_cpu_ : !before_; }
  /// Did that change within the cycle `now`?
  bool changing(cycles now) const { return since_ == now && before_ != on_cpu_; }

  void watch(spin_subject_watcher& who) {
    if (!watchers_) watchers_ = std::make_unique<std::vector<spin_subject_watcher*>>();
    watchers_->push_back(&who);
  }
  void unwatch(spin_subject_watcher& who);

 private:
  friend class strand;
  void set_on_cpu(bool on_cpu, cycles now);

  strand* awaited_ = nullptr;
  bool on_cpu_ = true;
  bool before_ = true;  // on_cpu_ at the beginning of the cycle `since_`
  cycles since_{0};     // of the last change
  cycles total_{0};
  std::unique_ptr<std::vector<spin_subject_watcher*>> watchers_;  // made at the first use: most have none
};

}  // namespace vmxsys::cpu
