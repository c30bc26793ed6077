#pragma once
#include <vector>

#include "spin_policy.hpp"

namespace vmxsys::models {

/// What KVM's directed yield did in one span of releases. A row differs from its neighbour by what one or two commits
/// changed; directed_yield.cpp holds the rows. Source: virt/kvm/kvm_main.c, kvm_vcpu_on_spin, of the release named.
struct directed_yield_rules {
  /// In which order candidates are looked at, from the one after the last that was boosted.
  enum class scan {
    two_passes_from_last,   ///< jumps over indices below the last: with last 0 it begins with vCPU 0, not 1
    two_passes_after_last,  ///< jumps over indices up to the last
    once_around,            ///< one loop modulo the number of vCPUs
  };
  /// Which candidates pass the first test.
  enum class want { anybody, preempted, ready };
  /// Which blocked candidates are left alone.
  enum class blocked { all, without_event };
  /// Which candidates are left alone because they were preempted in user mode, if the spinner was in kernel mode.
  enum class user_mode { none, by_cached_mode, preempted_only, preempted_without_posted_interrupt };
  /// What results of yield_to mean.
  enum class result {
    nonzero_succeeds,  ///< no limit to the attempts; from v3.9 to v3.15 -ESRCH was taken for success
    limited_tries,     ///< so many negative results end the scan
  };

  scan order = scan::once_around;
  bool look_before_me = false;  ///< the first test comes before the test for the spinner itself
  want first = want::anybody;
  blocked halted = blocked::without_event;
  user_mode mode = user_mode::none;
  bool tests_task = false;  ///< no host thread, or thread in guest mode: passed over by the scan itself
  bool eligibility = true;  ///< who is in its own handler is accepted every other time
  result results = result::limited_tries;
  bool stores_loop_count = false;  ///< the last boosted is stored as a distance and not as an index
  vcpu_yield_rules yield{};
};

/// May a spinner yield to this vCPU? One that is in its own spin handler is refused and accepted in turns: the answer
/// flips `dy_eligible`. Source: virt/kvm/kvm_main.c, v3.6, kvm_vcpu_eligible_for_directed_yield.
bool eligible_for_directed_yield(bool in_spin_loop, bool& dy_eligible) noexcept;

/// What KVM keeps of a VM for its directed yield.
struct directed_yield_state final : spin_vm_state {
  struct vcpu {
    bool in_spin_loop = false;  ///< inside its own spin handler
    bool dy_eligible = false;
  };
  explicit directed_yield_state(unsigned number) : vcpus(number) {}

  unsigned last_boosted = 0;  ///< the last vCPU that was yielded to
  std::vector<vcpu> vcpus;
};

/// KVM's directed yield: the spinner gives its CPU time to a sibling that may hold what it waits for.
class directed_yield final : public spin_policy {
 public:
  /// `rules` must outlive the policy. `tries` is the number of negative results that ends a scan, where the rules limit
  /// them.
  explicit directed_yield(const directed_yield_rules& rules, unsigned tries = 3) : rules_{rules}, tries_{tries} {}

  const directed_yield_rules& rules() const noexcept { return rules_; }
  vcpu_yield_rules yield_rules() const override { return rules_.yield; }
  std::unique_ptr<spin_vm_state> make_vm_state(unsigned vcpus) const override {
    return std::make_unique<directed_yield_state>(vcpus);
  }
  cpu::program on_spin(spin_context& context) override;

 private:
  static directed_yield_state& state_of(spin_context& context) {
    return static_cast<directed_yield_state&>(context.state());
  }
  /// What one scan has come to so far.
  struct scan_state {
    int result = 0;  // of the last yield_to
    unsigned tries;
    bool over() const { return result > 0 || tries == 0; }
  };

  cpu::program scan_twice(spin_context& context) const;
  cpu::program scan_once_around(spin_context& context) const;
  bool looks_at(const spin_context& context, unsigned vcpu) const;
  bool boosts(spin_context& context, unsigned vcpu, const spin_candidate& candidate) const;
  cpu::program boost(spin_context& context, unsigned vcpu, unsigned stored, scan_state& state) const;
  bool wanted(const spin_candidate& candidate) const;
  bool passes(const spin_context& context, const spin_candidate& candidate) const;
  bool passes_mode(const spin_candidate& candidate) const;

  const directed_yield_rules& rules_;
  unsigned tries_;
};

}  // namespace vmxsys::models
