#pragma once
#include <vmxsys/vmx/cycles.hpp>

namespace vmxsys::cpu {

class strand;

/// Ground truth beside a spin loop: which strand the loop really waits for, and for how many cycles so far that strand
/// was on a CPU. Waiting while it is on none is futile: no amount of spinning helps. A lock keeps one, names its holder
/// (or, between holders, the next owner), and spinners take differences of `running`.
///
/// No hardware sees it. While nobody is named, waiting counts as useful.
class spin_subject {
 public:
  spin_subject() = default;
  spin_subject(const spin_subject&) = delete;
  spin_subject& operator=(const spin_subject&) = delete;
  ~spin_subject();

  /// From `now` on the loop waits for `who`; null for nobody.
  void await(strand* who, cycles now);
  strand* awaited() const { return awaited_; }

  /// Cycles until `now` in which waiting was useful.
  cycles running(cycles now) const { return on_cpu_ ? total_ + (now - since_) : total_; }

 private:
  friend class strand;
  void set_on_cpu(bool on_cpu, cycles now);

  strand* awaited_ = nullptr;
  bool on_cpu_ = true;
  cycles since_{0};
  cycles total_{0};
};

}  // namespace vmxsys::cpu
