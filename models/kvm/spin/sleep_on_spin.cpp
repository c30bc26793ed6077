#include "sleep_on_spin.hpp"

namespace vmxsys::models {

cpu::program sleep_on_spin::on_spin(spin_context& context) { co_await context.sleep(sleep_nanoseconds); }

cpu::program no_spin_policy::on_spin(spin_context& /*context*/) { co_return; }

}  // namespace vmxsys::models
