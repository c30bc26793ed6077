#pragma once

namespace vmxsys::platform {

/// Set by SIGINT and SIGTERM once catch_interrupts() was called. A run looks at it between events and ends with
/// exit_interrupted; a second signal ends the process at once.
bool interrupted() noexcept;
void catch_interrupts();

}  // namespace vmxsys::platform
