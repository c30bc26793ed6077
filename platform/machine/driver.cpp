#include "driver.hpp"

namespace vmxsys::platform {

namespace {

class bare_driver final : public driver {
 public:
  explicit bare_driver(simulation& of) : of_{of} {}
  void run_until(cycles end) override { of_.hardware().run_until(end); }
  const char* name() const noexcept override { return "bare"; }

 private:
  simulation& of_;
};

}  // namespace

std::unique_ptr<driver> make_bare_driver(simulation& of) { return std::make_unique<bare_driver>(of); }

std::unique_ptr<driver> make_driver(simulation& of) {
  if (std::unique_ptr<driver> under_systemc = make_systemc_driver(of)) return under_systemc;
  return make_bare_driver(of);
}

#ifndef VMXSYS_WITH_SYSTEMC
std::unique_ptr<driver> make_systemc_driver(simulation&) { return nullptr; }
#endif

}  // namespace vmxsys::platform
