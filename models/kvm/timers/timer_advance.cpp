#include "timer_advance.hpp"

namespace vmxsys::models {

cycles timer_advance::settle(cycles now, std::uint64_t tsc_khz) {
  const cycles deadline = expired_;
  expired_ = cycles::never();
  adjust(static_cast<std::int64_t>(now.count()) - static_cast<std::int64_t>(deadline.count()), tsc_khz);
  return now < deadline ? min(deadline - now, lead(tsc_khz)) : cycles{0};
}

}  // namespace vmxsys::models
