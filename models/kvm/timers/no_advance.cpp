#include "timer_advance.hpp"

namespace vmxsys::models {

extern const timer_advance_entry no_advance_entry =
    entry_without<timer_advance_entry>("off", "timers expire at their deadline",
                                       [](const void*, std::uint64_t) { return std::unique_ptr<timer_advance>{}; });

}  // namespace vmxsys::models
