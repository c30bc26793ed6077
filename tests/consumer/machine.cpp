#include <vmxsys/vmx/base/cycles.hpp>

#ifdef HAVE_PLATFORM
#include <vmxsys/platform/presets/preset.hpp>
static bool library_works() { return vmxsys::platform::presets().size() >= 3; }
#else
static bool library_works() { return true; }
#endif

#ifdef HAVE_SYSTEMC
#include <systemc>
int sc_main(int, char*[]) {
  sc_core::sc_start(sc_core::SC_ZERO_TIME);
  return library_works() ? 0 : 1;
}
#else
int main() { return library_works() ? 0 : 1; }
#endif
