#include <cstdio>
#include <cstdlib>

#include "vmx_driver.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vmxsys::vmx::fuzz::vmx_driver driver{data, size};
  driver.run();
  if (!driver.failure().empty()) {
    std::fprintf(stderr, "%s\n", driver.failure().c_str());
    std::abort();
  }
  return 0;
}
