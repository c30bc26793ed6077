#include <vmxsys/vmx/pause_exiting.hpp>
#include <vmxsys/vmx/pause_filter.hpp>
#include <vmxsys/vmx/pause_loop_exiting.hpp>
#include <vmxsys/vmx/spin_detector.hpp>

#include <iterator>

namespace vmxsys::vmx {

namespace {

using detector = std::unique_ptr<spin_detector>;

constexpr spin_detector_entry table[] = {
    {"pause_loop_exiting", "Intel: exits when PAUSEs at CPL 0 come within PLE_Gap for longer than PLE_Window",
     []() -> detector { return std::make_unique<pause_loop_exiting>(); }},
    {"pause_loop_exiting_end_to_start", "the same with the gap measured from the end of a PAUSE to the next",
     []() -> detector {
       return std::make_unique<pause_loop_exiting>(pause_loop_exiting_options{true, 0});
     }},
    {"pause_filter",
     "AMD: exits after a count of PAUSEs (ple_window); a pause longer than the threshold (ple_gap) reloads",
     []() -> detector { return std::make_unique<pause_filter>(); }},
    {"pause_filter_literal_count", "the same where the count-th PAUSE exits instead of the one after it",
     []() -> detector {
       return std::make_unique<pause_filter>(pause_filter_options{-1, true});
     }},
    {"pause_exiting", "every PAUSE exits, at any CPL", []() -> detector { return std::make_unique<pause_exiting>(); }},
    {"none", "no spin detection; only the control \"PAUSE exiting\" is obeyed",
     []() -> detector { return std::make_unique<no_spin_detector>(); }},
};

}  // namespace

const spin_detector_entry* spin_detector_table() noexcept { return table; }
std::size_t spin_detector_table_size() noexcept { return std::size(table); }

std::unique_ptr<spin_detector> make_spin_detector(std::string_view name) {
  for (const spin_detector_entry& entry : table)
    if (name == entry.name) return entry.make();
  return nullptr;
}

}  // namespace vmxsys::vmx
