#pragma once
#include <array>

#include <vmxsys/vmx/base/parameter.hpp>
#include <vmxsys/vmx/spin_detectors/pause_loop_exiting.hpp>

namespace vmxsys::vmx {

/// Numbered as loop_breaker.
inline constexpr std::array loop_breaker_names{named{"time_only", "nothing: between two PAUSEs only time passes"},
                                               named{"user_mode", "a PAUSE or straight-line code at CPL > 0"},
                                               named{"any_work", "these, and straight-line code at CPL 0"}};
/// Numbered as elapsed_width.
inline constexpr std::array elapsed_width_names{named{"bits_64", "64 bits, never wrap"},
                                                named{"bits_32_wrapping", "32 bits, modulo 2^32"},
                                                named{"bits_32_saturating", "32 bits, stop at 2^32 - 1"}};

/// The switches of PAUSE-loop exiting, also of one inside another detector: Outer leads to its options.
template <auto... Outer>
constexpr auto pause_loop_exiting_rows() {
  using o = pause_loop_exiting_options;
  return std::array{
      row<Outer..., &o::gap_end_to_start>("gap_end_to_start", "the gap begins at the end of a PAUSE, not at its start"),
      row<Outer..., &o::counter_shift>("counter_shift", "bits", 0, 16, "the counter has steps of 2^this cycles"),
      row<Outer..., &o::exit_updates_last>("exit_updates_last", "a PAUSE that exits becomes the previous one"),
      row<Outer..., &o::broken_by>("broken_by", names<loop_breaker_names>, "what ends a loop besides the gap"),
      row<Outer..., &o::width>("elapsed_width", names<elapsed_width_names>, "how wide elapsed times are"),
      row<Outer..., &o::kept_across_entries>("kept_across_entries", "a loop goes on over VM exits of other reasons"),
      row<Outer..., &o::stamp_at_end>("stamp_at_end", "the time of a PAUSE is read at its end, not at its start")};
}

}  // namespace vmxsys::vmx
