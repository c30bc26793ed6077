#include "statistic.hpp"

namespace vmxsys::platform {

const statistic* statistics::find(std::string_view name) const {
  for (const statistic& s : all_)
    if (s.name == name) return &s;
  return nullptr;
}

std::uint64_t statistics::count(std::string_view name) const {
  const statistic* s = find(name);
  const auto* value = s == nullptr ? nullptr : std::get_if<std::uint64_t>(&s->value);
  return value == nullptr ? 0 : *value;
}

tally_summary statistics::tally(std::string_view name) const {
  const statistic* s = find(name);
  const auto* value = s == nullptr ? nullptr : std::get_if<tally_summary>(&s->value);
  return value == nullptr ? tally_summary{} : *value;
}

tally_summary summary_of(const time_tally& times, std::uint64_t tsc_khz) {
  if (times.count == 0) return {};
  const auto ns = [&](cycles c) { return to_nanoseconds(c, tsc_khz); };
  return {times.count, ns(times.least), ns(cycles{times.total.count() / times.count}), ns(times.most)};
}

void statistic_sink::put_value(const statistic_row& row, const std::string& key, statistic_value value) {
  std::string name = prefix_ + '.' + row.name;
  const std::size_t open = name.find('<');
  if (open != std::string::npos) name.replace(open, name.find('>', open) + 1 - open, key);
  to_.add({std::move(name), row.unit, value});
}

void statistic_sink::put(const statistic_row& row, const std::string& key, std::uint64_t count) {
  put_value(row, key, count);
}
void statistic_sink::put(const statistic_row& row, const std::string& key, double number) {
  put_value(row, key, number);
}
void statistic_sink::put(const statistic_row& row, const std::string& key, cycles time) {
  put_value(row, key, to_nanoseconds(time, tsc_khz_));
}
void statistic_sink::put(const statistic_row& row, const std::string& key, const time_tally& times) {
  put_value(row, key, summary_of(times, tsc_khz_));
}

}  // namespace vmxsys::platform
