#include "spin_detector.hpp"

#include <array>
#include <iterator>
#include <type_traits>

#include "backward_branch.hpp"
#include "coin_flip.hpp"
#include "dynamic_pause_exiting.hpp"
#include "lock_line.hpp"
#include "oracle.hpp"
#include "overcommit_aware.hpp"
#include "pause_count_in_period.hpp"
#include "pause_exiting.hpp"
#include "pause_filter.hpp"
#include "pause_loop_exiting.hpp"
#include "progress.hpp"
#include "rip_matched.hpp"

// The list of detectors and of what each can be made with. A parameter is a member of an options struct; its default is
// the member's initialiser, its comment stands there.
namespace vmxsys::vmx {

namespace {

constexpr std::int64_t any_number = 0x7FFF'FFFF'FFFF'FFFF;
constexpr std::int64_t any_32_bits = 0xFFFF'FFFF;

template <class Class, class Member>
Class class_of(Member Class::*);

template <auto First, auto...>
struct first_of {
  using options = decltype(class_of(First));
};

/// A row about the member that Path leads to, pointers to members from the options struct inwards.
template <auto... Path>
constexpr spin_detector_parameter row(const char* name, const char* unit, std::int64_t lowest, std::int64_t highest,
                                      const char* description) {
  using options = typename first_of<Path...>::options;
  return {name,
          unit,
          description,
          lowest,
          highest,
          [](const void* o) { return static_cast<std::int64_t>((*static_cast<const options*>(o).*....*Path)); },
          [](void* o, std::int64_t value) {
            auto& member = (*static_cast<options*>(o).*....*Path);
            member = static_cast<std::remove_reference_t<decltype(member)>>(value);
          }};
}

template <std::size_t A, std::size_t B>
constexpr std::array<spin_detector_parameter, A + B> operator+(const std::array<spin_detector_parameter, A>& a,
                                                               const std::array<spin_detector_parameter, B>& b) {
  std::array<spin_detector_parameter, A + B> all{};
  for (std::size_t i = 0; i < A; ++i) all[i] = a[i];
  for (std::size_t i = 0; i < B; ++i) all[A + i] = b[i];
  return all;
}

/// The switches of PAUSE-loop exiting, also of one inside another detector.
template <auto... Outer>
constexpr auto ple_rows() {
  using o = pause_loop_exiting_options;
  return std::array{
      row<Outer..., &o::gap_end_to_start>("gap_end_to_start", "flag", 0, 1,
                                          "the gap begins at the end of a PAUSE, not at its start"),
      row<Outer..., &o::counter_shift>("counter_shift", "bits", 0, 16, "the counter has steps of 2^this cycles"),
      row<Outer..., &o::exit_updates_last>("exit_updates_last", "flag", 0, 1,
                                           "a PAUSE that exits becomes the previous one"),
      row<Outer..., &o::broken_by>("broken_by", "choice", 0, 2,
                                   "what ends a loop besides the gap: 0 nothing, 1 CPL > 0, 2 any straight-line code"),
      row<Outer..., &o::width>("elapsed_width", "choice", 0, 2,
                               "elapsed times have 0: 64 bits, 1: 32 and wrap, 2: 32 and saturate"),
      row<Outer..., &o::kept_across_entries>("kept_across_entries", "flag", 0, 1,
                                             "a loop goes on over VM exits of other reasons"),
      row<Outer..., &o::stamp_at_end>("stamp_at_end", "flag", 0, 1,
                                      "the time of a PAUSE is read at its end, not at its start")};
}

using ple = pause_loop_exiting_options;
constexpr ple ple_initial{};
constexpr ple ple_end_to_start = [] {
  ple o;
  o.gap_end_to_start = true;
  return o;
}();
constexpr auto ple_parameters = ple_rows<>();

using filter = pause_filter_options;
constexpr filter filter_initial{};
constexpr filter filter_literal{-1, true};
constexpr std::array filter_parameters{
    row<&filter::count_adjustment>("count_adjustment", "PAUSEs", -1, 1, "added to the number of PAUSEs that execute"),
    row<&filter::first_reloads>("first_reloads", "flag", 0, 1,
                                "with a threshold, the first PAUSE after an entry reloads the counter")};

using rip = rip_matched_options;
constexpr rip rip_initial{};
constexpr auto rip_parameters =
    std::array{row<&rip::reach>("reach", "bytes", 0, any_number,
                                "PAUSEs at most so far apart in memory may belong to one loop")} +
    ple_rows<&rip::loop>();

using period = pause_count_in_period_options;
constexpr period period_initial{};
constexpr std::array period_parameters{
    row<&period::count>("count", "PAUSEs", 0, any_32_bits, "how many a period may have; 0: from the two fields"),
    row<&period::period>("period", "cycles", 0, any_number, "length of a period; 0: from the two fields"),
    row<&period::any_cpl>("any_cpl", "flag", 0, 1, "counts at every CPL, not only at 0")};

using dynamic = dynamic_pause_exiting_options;
constexpr dynamic dynamic_initial{};
constexpr auto dynamic_parameters =
    std::array{row<&dynamic::enable_after>("enable_after", "cycles", 1, any_32_bits,
                                           "from one switching on of \"PAUSE exiting\" to the next"),
               row<&dynamic::disable_after>("disable_after", "cycles", 0, any_32_bits, "how long it then stays on"),
               row<&dynamic::offset>("offset", "cycles", 0, any_32_bits, "how much of the first stretch is over at 0"),
               row<&dynamic::with_ple>("with_ple", "flag", 0, 1, "PAUSE-loop exiting is in effect beside it")} +
    ple_rows<&dynamic::loop>();

constexpr progress_options progress_initial{};
constexpr std::array progress_parameters{
    row<&progress_options::window>("window", "instructions", 0, any_number,
                                   "exits after more than so many without a new store; 0: ple_window"),
    row<&progress_options::entries>("entries", "stores", 1, progress::most_entries, "how many stores are remembered")};

using branch = backward_branch_options;
constexpr branch branch_initial{};
constexpr std::array branch_parameters{
    row<&branch::iterations>("iterations", "iterations", 1, any_32_bits, "how many equal ones in a row are a spin"),
    row<&branch::obeys_window>("obeys_window", "flag", 0, 1, "a spin exits only after more than ple_window cycles")};

using line = lock_line_options;
constexpr line line_initial{};
constexpr std::array line_parameters{
    row<&line::any_cpl>("any_cpl", "flag", 0, 1, "watches loops at every CPL, not only at 0"),
    row<&line::own_store_restarts>("own_store_restarts", "flag", 0, 1, "the processor's own store to the line counts"),
    row<&line::obeys_gap>("obeys_gap", "flag", 0, 1, "PAUSEs more than ple_gap apart are of two loops")};

constexpr coin_flip_options coin_initial{};
constexpr std::array coin_parameters{
    row<&coin_flip_options::probability_ppm>("probability_ppm", "of a million", 0, 1'000'000, "waits that exit"),
    row<&coin_flip_options::seed>("seed", "number", 0, any_number, "of the coin")};

template <class Detector>
constexpr spin_detector_entry plain(const char* name, const char* description) {
  return {name,    description,
          nullptr, 0,
          nullptr, [](const auto&) -> std::unique_ptr<spin_detector> {
            return std::make_unique<Detector>(); }};
}

template <class Detector, const auto& Initial, const auto& Parameters>
constexpr spin_detector_entry entry(const char* name, const char* description) {
  return {name,
          description,
          Parameters.data(),
          Parameters.size(),
          &Initial,
          [](const std::vector<spin_detector_setting>& settings) -> std::unique_ptr<spin_detector> {
            auto options = Initial;
            for (const spin_detector_setting& s : settings)
              for (const spin_detector_parameter& p : Parameters)
                if (s.name == p.name) p.set(&options, s.value);
            return std::make_unique<Detector>(options);
          }};
}

constexpr spin_detector_entry table[] = {
    entry<pause_loop_exiting, ple_initial, ple_parameters>(
        "pause_loop_exiting", "Intel: exits when PAUSEs at CPL 0 come within PLE_Gap for longer than PLE_Window"),
    entry<pause_loop_exiting, ple_end_to_start, ple_parameters>(
        "pause_loop_exiting_end_to_start", "the same with the gap measured from the end of a PAUSE to the next"),
    entry<pause_filter, filter_initial, filter_parameters>(
        "pause_filter",
        "AMD: exits after a count of PAUSEs (ple_window); a pause longer than the threshold (ple_gap) reloads"),
    entry<pause_filter, filter_literal, filter_parameters>(
        "pause_filter_literal_count", "the same where the count-th PAUSE exits instead of the one after it"),
    plain<pause_exiting>("pause_exiting", "every PAUSE exits, at any CPL"),
    plain<no_spin_detector>("none", "no spin detection; only the control \"PAUSE exiting\" is obeyed"),
    entry<rip_matched, rip_initial, rip_parameters>(
        "rip_matched", "PAUSE-loop exiting where a PAUSE at another address starts a new loop"),
    entry<pause_count_in_period, period_initial, period_parameters>(
        "pause_count_in_period", "exits when more PAUSEs fall in a period than a loop at PLE_Gap has in PLE_Window"),
    entry<dynamic_pause_exiting, dynamic_initial, dynamic_parameters>(
        "dynamic_pause_exiting", "a hypervisor switches \"PAUSE exiting\" on and off by the clock, beside PLE"),
    entry<progress, progress_initial, progress_parameters>(
        "progress", "exits when a window of instructions has retired without a new store"),
    entry<backward_branch, branch_initial, branch_parameters>(
        "backward_branch", "exits when a loop repeats with equal registers and no store for longer than PLE_Window"),
    entry<lock_line, line_initial, line_parameters>(
        "lock_line", "exits when the polled cache line has not been taken away for longer than PLE_Window"),
    entry<overcommit_aware, ple_initial, ple_parameters>(
        "overcommit_aware", "PAUSE-loop exiting while the host says that somebody waits for the processor"),
    plain<oracle>("oracle", "a control, not hardware: exits exactly while the awaited strand runs nowhere"),
    entry<coin_flip, coin_initial, coin_parameters>(
        "coin_flip", "a control, not hardware: exits at the first PAUSE of a random share of the waits"),
};

}  // namespace

const spin_detector_entry* spin_detector_table() noexcept { return table; }
std::size_t spin_detector_table_size() noexcept { return std::size(table); }

const spin_detector_entry* find_spin_detector(std::string_view name) noexcept {
  for (const spin_detector_entry& e : table)
    if (name == e.name) return &e;
  return nullptr;
}

const spin_detector_parameter* spin_detector_entry::parameter(std::string_view wanted) const noexcept {
  for (std::size_t i = 0; i < parameter_count; ++i)
    if (wanted == parameters[i].name) return &parameters[i];
  return nullptr;
}

spin_detector_fault spin_detector_entry::check(const spin_detector_setting& setting) const noexcept {
  const spin_detector_parameter* p = parameter(setting.name);
  if (p == nullptr) return spin_detector_fault::unknown_name;
  return setting.value < p->lowest || setting.value > p->highest ? spin_detector_fault::out_of_range
                                                                 : spin_detector_fault::none;
}

std::unique_ptr<spin_detector> spin_detector_entry::make(const std::vector<spin_detector_setting>& settings) const {
  for (const spin_detector_setting& s : settings)
    if (check(s) != spin_detector_fault::none) return nullptr;
  return build(settings);
}

std::unique_ptr<spin_detector> make_spin_detector(std::string_view name,
                                                  const std::vector<spin_detector_setting>& settings) {
  const spin_detector_entry* e = find_spin_detector(name);
  return e == nullptr ? nullptr : e->make(settings);
}

}  // namespace vmxsys::vmx
