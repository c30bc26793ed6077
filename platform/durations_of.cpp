#include <boost/json.hpp>

#include <vmxsys/platform/json_binding.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

void collect(const json::value& at, const value_type& type, const parameter* about, const std::string& path,
             std::vector<duration_in_force>& all) {
  if (const record_type* record = type.record()) {
    for (const field& f : record->fields()) {
      const std::string name{f.about->name};
      if (const json::value* member = at.get_object().if_contains(name))
        collect(*member, *f.type, f.about, path.empty() ? name : path + '.' + name, all);
    }
  } else if (type.is_list()) {
    const json::array& list = at.get_array();
    for (std::size_t i = 0; i < list.size(); ++i)
      collect(list[i], *type.element(), about, path + '[' + std::to_string(i) + ']', all);
  } else if (type.element() != nullptr) {
    collect(at, *type.element(), about, path, all);
  } else if (&type == &leaf_type(static_cast<const duration*>(nullptr))) {
    const json::string& text = at.get_string();
    all.push_back({path, about, *parse_duration({text.data(), text.size()})});
  }
}

}  // namespace

// The document as it is written leaves out what is not in force.
std::vector<duration_in_force> durations_of(const record_type& document, const void* object) {
  json::value value;
  document.write(object, value);
  std::vector<duration_in_force> all;
  collect(value, document, nullptr, "", all);
  return all;
}

}  // namespace vmxsys::platform
