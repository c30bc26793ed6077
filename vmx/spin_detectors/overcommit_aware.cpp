#include "overcommit_aware.hpp"

#include <memory>

#include "catalogue.hpp"
#include "detail/pause_loop_exiting_rows.hpp"

namespace vmxsys::vmx {

namespace {
constexpr auto rows = pause_loop_exiting_rows<>();
}  // namespace

extern const spin_detector_entry overcommit_aware_entry =
    entry_with<spin_detector_entry, pause_loop_exiting_options, rows>(
        "overcommit_aware", "PAUSE-loop exiting while the host says that a thread waits for the processor",
        [](const void* options) -> std::unique_ptr<spin_detector> {
          return std::make_unique<overcommit_aware>(options_as<pause_loop_exiting_options>(options));
        },
        true);

}  // namespace vmxsys::vmx
