#pragma once
#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>

#include <vmxsys/vmx/base/cycles.hpp>

#include "code.hpp"

namespace vmxsys::cpu {

/// A rule of the model was broken: a defect of the model or of a plug-in, never of its input. Carries the cycle.
class invariant_error : public std::logic_error {
 public:
  invariant_error(const std::string& what, cycles at)
      : std::logic_error{what + " (cycle " + std::to_string(at.count()) + ")"}, at_{at} {}
  cycles at() const { return at_; }

 private:
  cycles at_;
};

enum class vmx_operation : std::uint8_t { root, non_root };

/// Where one CPU's cycles went. Every cycle from 0 on is in exactly one bucket: a bucket opens where the one before
/// closes, and `check` compares the sum with the elapsed time.
class accounting {
 public:
  static constexpr std::size_t buckets = static_cast<std::size_t>(bucket::count_);

  /// From `now` on, time belongs to (op, b).
  void enter(cycles now, vmx_operation op, bucket b) {
    close(now);
    operation_ = op;
    bucket_ = b;
  }
  /// Books the time up to `now`; the bucket stays open.
  void close(cycles now) {
    totals_[static_cast<std::size_t>(operation_)][static_cast<std::size_t>(bucket_)] += now - since_;
    since_ = now;
  }
  /// Books the time up to `now`, `futile` cycles of it as futile spinning.
  void close_spin(cycles now, cycles futile) {
    auto& row = totals_[static_cast<std::size_t>(operation_)];
    row[static_cast<std::size_t>(bucket::spin)] += now - since_ - futile;
    row[static_cast<std::size_t>(bucket::spin_futile)] += futile;
    since_ = now;
  }

  cycles since() const { return since_; }
  bucket open_bucket() const { return bucket_; }
  vmx_operation open_operation() const { return operation_; }
  cycles total(vmx_operation op, bucket b) const {
    return totals_[static_cast<std::size_t>(op)][static_cast<std::size_t>(b)];
  }
  cycles sum() const;

  /// Throws `invariant_error` unless the buckets add up to `elapsed` cycles and reach to `elapsed`.
  void check(cycles elapsed, unsigned cpu) const;

 private:
  friend struct accounting_access;  // tests break a bucket through it
  std::array<std::array<cycles, buckets>, 2> totals_{};
  cycles since_{0};
  vmx_operation operation_ = vmx_operation::root;
  bucket bucket_ = bucket::wait_for_sipi;
};

}  // namespace vmxsys::cpu
