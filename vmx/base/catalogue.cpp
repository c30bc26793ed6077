#include "catalogue.hpp"

#include "nearest.hpp"

namespace vmxsys::detail {

namespace {
std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}
std::string like(std::string_view name, const std::vector<std::string>& known) {
  const std::string guess = nearest(name, known);
  return guess.empty() ? "" : " (did you mean \"" + guess + "\"?)";
}
}  // namespace

std::string unknown_entry(std::string_view kind, std::string_view name, const std::vector<std::string>& known) {
  return "no " + std::string{kind} + " \"" + std::string{name} + "\"" + like(name, known) + "; known: " + joined(known);
}

std::shared_ptr<void> options_with(const entry& of, const settings& given, std::vector<std::string>& faults) {
  std::shared_ptr<void> options = of.defaults == nullptr ? nullptr : of.defaults();
  for (const setting& s : given) {
    const parameter* p = of.parameters.find(s.name);
    if (p == nullptr) {
      const std::vector<std::string> known = of.parameters.names();
      faults.push_back(s.name + ": no such option" + like(s.name, known) +
                       (known.empty() ? "; it has none" : "; known: " + joined(known)));
    } else if (const auto fault = p->check(s.value)) {
      faults.push_back(s.name + " = " + s.value.to_string() + ": " + fault->reason +
                       (fault->nearest.empty() ? "" : " (did you mean \"" + fault->nearest + "\"?)"));
    } else {
      p->assign(options.get(), s.value);
    }
  }
  return options;
}

void fail(std::string_view kind, std::string_view name, const std::vector<std::string>& faults) {
  std::string text;
  for (const std::string& fault : faults)
    text += (text.empty() ? "" : "\n") + std::string{kind} + " \"" + std::string{name} + "\": " + fault;
  throw catalogue_error{text};
}

}  // namespace vmxsys::detail
