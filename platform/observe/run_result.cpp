#include "run_result.hpp"

#include <boost/json.hpp>
#include <stdexcept>

#include <vmxsys/platform/config/json_text.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

// Members of a tally, in the document.
constexpr const char *times = "count", *least = "min", *mean = "mean", *most = "max";

json::value value_of(const statistic_value& v) {
  if (const auto* t = std::get_if<tally_summary>(&v))
    return json::object{{times, t->count}, {least, t->min}, {mean, t->mean}, {most, t->max}};
  if (const auto* d = std::get_if<double>(&v)) return *d;
  return std::get<std::uint64_t>(v);
}

statistic_value statistic_from(const json::value& v) {
  if (v.is_double()) return v.get_double();
  if (!v.is_object()) return v.to_number<std::uint64_t>();
  const auto member = [&](const char* name) { return v.at(name).to_number<std::uint64_t>(); };
  return tally_summary{member(times), member(least), member(mean), member(most)};
}

}  // namespace

void tag_invoke(json::value_from_tag, json::value& to, const statistics& from) {
  json::object all;
  for (const statistic& s : from) all[s.name] = json::object{{"value", value_of(s.value)}, {"unit", s.unit}};
  to = std::move(all);
}
statistics tag_invoke(json::value_to_tag<statistics>, const json::value& from) {
  statistics all;
  for (const auto& [name, s] : from.as_object())
    all.add({std::string{name.data(), name.size()}, json::value_to<std::string>(s.at("unit")),
             statistic_from(s.at("value"))});
  return all;
}

std::string to_json(const run_result& result) { return pretty_json(boost::json::value_from(result)); }

run_result run_result_from_json(std::string_view text) {
  boost::system::error_code fault;
  const boost::json::value document = boost::json::parse({text.data(), text.size()}, fault);
  if (fault) throw std::invalid_argument("not a result document: " + fault.message());
  return boost::json::value_to<run_result>(document);
}

}  // namespace vmxsys::platform
