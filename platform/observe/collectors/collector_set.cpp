#include "collector_set.hpp"

#include <algorithm>

namespace vmxsys::platform {

collector_set::collector_set(const std::vector<component<collector_entry>>& chosen,
                             const catalogue<collector_entry>& from, const observed_machine& of)
    : tsc_khz_{of.host.config().tsc_khz} {
  for (const component<collector_entry>& c : chosen) add(from.select(c), of);
  for (const collector_entry* e : from) {
    const auto is = [&](const running& r) { return r.entry == e; };
    if (e->always && std::none_of(all_.begin(), all_.end(), is)) add(from.select(e->name), of);
  }
}

void collector_set::add(const selection<collector_entry>& chosen, const observed_machine& of) {
  all_.push_back({&chosen.entry(), chosen.make(of)});
  all_.back().runs->listen(switch_);
}

void collector_set::begin(cycles at) {
  for (const running& r : all_) r.runs->begin(at);
}

void collector_set::finish(cycles at) {
  for (const running& r : all_) r.runs->finish(at);
}

statistics collector_set::sum_up() const {
  statistics sum;
  for (const running& r : all_) {
    statistic_sink to{r.entry->name, tsc_khz_, sum};
    for (const statistic_row& row : r.entry->statistics) row.give(row, r.runs->figures(), to);
  }
  return sum;
}

}  // namespace vmxsys::platform
