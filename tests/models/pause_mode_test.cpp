#include <vmxsys/vmx/spin_detectors/catalogue.hpp>

#include "kvm_rig.hpp"

// Which mode a spin policy is told for a PAUSE exit: that of the guest, whatever detector counted.
namespace vmxsys::models::testing {
namespace {

constexpr cpu::code_location user_spin_site{"user_spin", 0x405000, 0, 3, cpu::bucket::spin};
constexpr cpu::code_location kernel_spin_site{"kernel_spin", 0xffffffff82002000, 0, 0, cpu::bucket::spin};

/// Notes what it is told and does nothing.
class mode_probe final : public spin_policy {
 public:
  explicit mode_probe(std::vector<bool>& seen) : seen_{seen} {}
  cpu::program on_spin(spin_context& context) override {
    seen_.push_back(context.kernel_mode());
    co_return;
  }

 private:
  std::vector<bool>& seen_;
};

const spin_policy_entry mode_probe_entry = entry_without<spin_policy_entry>(
    "mode_probe", "notes what it is told", "", [](const void* seen) -> std::unique_ptr<spin_policy> {
      return std::make_unique<mode_probe>(**static_cast<std::vector<bool>* const*>(seen));
    });

/// One vCPU whose only thread spins for ever in the kernel, in user mode, or in both by turns.
struct spinner {
  std::vector<bool> told;
  kvm_rig r;

  spinner(const char* detector, bool kernel, bool user)
      : r{{.cpus = 1,
           .window = {.grow = 0},
           .change_kvm =
               [this](kvm_config& k) {
                 k.spin_policy = {mode_probe_entry, std::make_shared<std::vector<bool>* const>(&told)};
               },
           .change_hardware =
               [detector](cpu::machine_config& c) {
                 c.make_detector = [detector] { return vmx::spin_detectors().select(detector).make(); };
               }},
          {{.vcpus = 1}}} {
    cpu::word& w = r.hw.physical().word_at(r.guest().memory().take(64, 64));
    r.add("spinner", {0}, [&w, kernel, user](thread&) -> cpu::program {
      constexpr std::uint64_t most = 2'000;
      for (;;) {
        if (user) co_await isa::spin_while(w, cpu::spin_predicate::while_equal(0), user_spin_site, nullptr, most);
        if (kernel) {
          auto here = co_await isa::in(kernel_text);
          co_await isa::spin_while(w, cpu::spin_predicate::while_equal(0), kernel_spin_site, nullptr, most);
        }
      }
    });
    r.run_until(30 * ms);
  }

  /// In the kernel or not, as the hardware's facts have it.
  std::vector<bool> modes() const {
    std::vector<bool> all;
    for (const auto& x : r.facts<cpu::vm_exit_fact>())
      if (x->reason == vmx::exit_reason::pause) all.push_back(x->cpl == 0);
    return all;
  }
};

TEST(pause_mode, is_that_of_the_guest_for_detectors_that_count_at_every_cpl) {
  for (const char* detector : {"pause_filter", "lock_line", "progress", "pause_exiting"})
    for (const auto& [kernel, user] : {std::pair{true, false}, {false, true}, {true, true}}) {
      const spinner s{detector, kernel, user};
      const std::vector<bool> modes = s.modes();
      EXPECT_EQ(s.told, modes) << detector;
      EXPECT_EQ(std::count(modes.begin(), modes.end(), true) > 10, kernel) << detector;
      EXPECT_EQ(std::count(modes.begin(), modes.end(), false) > 10, user) << detector;
    }
}

TEST(pause_mode, is_the_kernels_for_pause_loop_exiting_which_sees_no_other) {
  const spinner kernel{"pause_loop_exiting", true, false}, user{"pause_loop_exiting", false, true};
  EXPECT_GT(kernel.told.size(), 10u);
  EXPECT_EQ(kernel.told, std::vector<bool>(kernel.told.size(), true));
  EXPECT_EQ(std::count(user.told.begin(), user.told.end(), false), 0);
}

}  // namespace
}  // namespace vmxsys::models::testing
