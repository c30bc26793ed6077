#include <vmxsys/models/hypervisor/spin_policy.hpp>

#include <vmxsys/models/hypervisor/directed_yield.hpp>
#include <vmxsys/models/hypervisor/sleep_on_spin.hpp>

#include <vector>

namespace vmxsys::models {

namespace {

std::vector<spin_policy_entry> all_policies() {
  std::vector<spin_policy_entry> all{
      {"none", "", "PAUSE-loop exiting stays off"},
      {"sleep", "v2.6.33", "the spinner sleeps for 100 us"},
  };
  for (const directed_yield_rules& era : directed_yield_eras())
    all.push_back({era.name, era.kernel, era.description});
  return all;
}

}  // namespace

std::span<const spin_policy_entry> spin_policies() {
  static const std::vector<spin_policy_entry> all = all_policies();
  return all;
}

std::unique_ptr<spin_policy> make_spin_policy(std::string_view name) {
  if (name == "none") return std::make_unique<no_spin_policy>();
  if (name == "sleep") return std::make_unique<sleep_on_spin>();
  if (const directed_yield_rules* era = find_directed_yield(name)) return std::make_unique<directed_yield>(*era);
  return nullptr;
}

}  // namespace vmxsys::models
