#include <vmxsys/platform/presets/catalogue.hpp>

// A preset of one's own: its difference from one that ships.
namespace extend {

using namespace vmxsys;
using namespace vmxsys::platform;

extern const preset_entry slow_pause_entry =
    entry_without<preset_entry>("slow_pause", "haswell_ep with the PAUSE of its successor", R"({
  "base": "haswell_ep",
  "instruction": {
    "pause": {"value": 140, "unit": "core_cycles", "source": "uops.info, PAUSE on Skylake-X", "status": "published",
              "range": [138, 142]}
  }
})");

}  // namespace extend
