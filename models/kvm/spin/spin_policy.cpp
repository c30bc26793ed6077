#include "spin_policy.hpp"

#include <vector>

#include "directed_yield.hpp"
#include "sleep_on_spin.hpp"

namespace vmxsys::models {

namespace {

std::vector<spin_policy_entry> all_policies() {
  std::vector<spin_policy_entry> all{
      {"none", "", "PAUSE-loop exiting stays off", [] { return std::make_unique<no_spin_policy>(); }},
      {"sleep", "v2.6.33", "the spinner sleeps for 100 us", [] { return std::make_unique<sleep_on_spin>(); }},
  };
  for (const directed_yield_rules& era : directed_yield_eras())
    all.push_back({era.name, era.kernel, era.description, [&era] { return std::make_unique<directed_yield>(era); }});
  return all;
}

}  // namespace

std::span<const spin_policy_entry> spin_policies() {
  static const std::vector<spin_policy_entry> all = all_policies();
  return all;
}

std::unique_ptr<spin_policy> make_spin_policy(std::string_view name) {
  for (const spin_policy_entry& entry : spin_policies())
    if (name == entry.name) return entry.make();
  return nullptr;
}

}  // namespace vmxsys::models
