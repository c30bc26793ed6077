#include "run_result.hpp"

#include <boost/json.hpp>
#include <stdexcept>

#include <vmxsys/platform/config/json_text.hpp>

namespace vmxsys::platform {

std::string to_json(const run_result& result) { return pretty_json(boost::json::value_from(result)); }

run_result run_result_from_json(std::string_view text) {
  boost::system::error_code fault;
  const boost::json::value document = boost::json::parse({text.data(), text.size()}, fault);
  if (fault) throw std::invalid_argument("not a result document: " + fault.message());
  return boost::json::value_to<run_result>(document);
}

}  // namespace vmxsys::platform
