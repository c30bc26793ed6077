#include "config_loader.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <optional>
#include <system_error>

#include <vmxsys/platform/config/json_text.hpp>
#include <vmxsys/platform/config/overrides.hpp>

#include "combinations.hpp"

namespace vmxsys::platform {

namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

class loader {
 public:
  loader(loaded_config& result, const config_limits& limits, const catalogues& from)
      : result_{result}, limits_{limits}, catalogues_{from}, type_{run_config_record(from)} {
    result_.config = *static_cast<const run_config*>(type_.defaults());
  }

  /// Reads a file and what it includes into the document.
  void file(const fs::path& path, const std::string& asked_by) {
    std::error_code error;
    const auto fail = [&](std::string reason, bool missing = true) {
      result_.errors.push_back({"", "", std::move(reason), "", asked_by.empty() ? path.string() : asked_by});
      if (missing) result_.file_missing = true;
    };
    const std::string what = asked_by.empty() ? "" : "included file \"" + path.string() + "\": ";
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) return fail(what + "no such file");
    if (!fs::is_regular_file(status)) return fail(what + "not a regular file");
    const fs::path canonical = fs::canonical(path, error);
    if (error) return fail(what + error.message());
    if (std::find(open_.begin(), open_.end(), canonical) != open_.end()) {
      return fail(what + "includes itself, directly or through another file", false);
    }
    if (open_.size() >= limits_.include_depth) {
      return fail(what + "includes are nested more than " + std::to_string(limits_.include_depth) + " deep", false);
    }
    if (result_.files.size() + open_.size() >= limits_.files) {
      if (!too_many_) fail("more than " + std::to_string(limits_.files) + " files are included", false);
      too_many_ = true;
      return;
    }
    std::ifstream in{path, std::ios::binary};
    // Not its size as the file system has it: that may change, or be 0 for special files.
    std::string text(limits_.file_bytes + 1, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    if (!in && !in.eof()) return fail(what + "cannot be read");
    text.resize(static_cast<std::size_t>(in.gcount()));
    if (text.size() > limits_.file_bytes) {
      return fail(what + "larger than " + byte_size{limits_.file_bytes}.to_string() + ", which no configuration is");
    }
    open_.push_back(canonical);
    this->text(text, path.string(), path.parent_path());
    open_.pop_back();
    result_.files.push_back(path);
  }

  void text(std::string_view text, const std::string& origin, const fs::path& directory) {
    reading r = reader(origin);
    std::optional<json::value> parsed = parse_json(text, r);
    if (!parsed) return;
    if (!parsed->is_object()) return r.fault(*parsed, "a configuration is an object {...}");
    if (json::value* includes = parsed->get_object().if_contains("include")) {
      r.path = "include";
      const auto one = [&](const json::value& name) {
        if (!name.is_string() || name.get_string().empty())
          return r.fault(name, "must be a file name, or a list of file names");
        const std::string_view view{name.get_string().data(), name.get_string().size()};
        if (view.find('\0') != std::string_view::npos) return r.fault(name, "no file name");
        file(directory / fs::path{std::string{view}}, origin);
      };
      if (const json::array* list = includes->if_array()) {
        for (const json::value& name : *list) one(name);
      } else {
        one(*includes);
      }
      r.path.clear();
      parsed->get_object().erase("include");
    }
    name_files_from(directory, *parsed);
    run_config scratch;
    type_.read(*parsed, &scratch, r);
    type_.merge(document_, *parsed);
  }

  /// A preset in a file is named relative to the document that asks for it.
  void name_files_from(const fs::path& directory, json::value& document) const {
    json::value* machine = document.get_object().if_contains("machine");
    if (machine == nullptr || !machine->is_object()) return;
    json::value* preset = machine->get_object().if_contains("preset");
    if (preset == nullptr || !preset->is_string()) return;
    const std::string name{preset->get_string().data(), preset->get_string().size()};
    if (catalogues_.presets.find(name) != nullptr || fs::path{name}.extension() != ".json") return;
    *preset = json::string{(directory / name).string()};
  }

  void document(json::value value) { document_ = std::move(value); }

  void finish(std::span<const std::string> overrides) {
    std::vector<config_error> errors;
    for (const std::string& assignment : overrides) {
      reading r = reader("-p " + assignment);
      apply_override(document_, assignment, type_, r);
    }
    const std::vector<config_error> of_layers = result_.errors;
    reading r = reader("");
    r.complete = true;
    r.errors = &errors;
    type_.read(document_, &result_.config, r);
    // What a layer was already blamed for stands; the rest came with an override or from layers together.
    for (config_error& e : errors) {
      const bool known =
          std::any_of(of_layers.begin(), of_layers.end(), [&](const config_error& o) { return o.path == e.path; });
      if (known) continue;
      for (const std::string& assignment : overrides) {
        if (same_place(assignment.substr(0, assignment.find('=')), e.path)) e.origin = "-p " + assignment;
      }
      result_.errors.push_back(std::move(e));
    }
    std::vector<config_error> combinations;
    check_combinations(result_.config, catalogues_, result_.errors, combinations);
    result_.errors.insert(result_.errors.end(), combinations.begin(), combinations.end());
    collect_warnings(result_.config, catalogues_, result_.errors, result_.warnings);
  }

 private:
  reading reader(std::string origin) { return {&result_.errors, std::move(origin), "", &type_}; }

  /// Does `pattern`, which may hold [*] or the name of an element, name `path` or something above it?
  static bool same_place(std::string_view pattern, std::string_view path) {
    std::size_t i = 0, j = 0;
    while (i < pattern.size() && j < path.size()) {
      if (pattern[i] == '.' && path[j] == '[') {
        i = std::min(pattern.find_first_of(".[", i + 1), pattern.size());
        j = path.find(']', j) + 1;
      } else if (pattern[i] == '*') {
        while (j < path.size() && path[j] != ']') ++j;
        ++i;
      } else if (pattern[i++] != path[j++]) {
        return false;
      }
    }
    return i == pattern.size() && (j == path.size() || path[j] == '.' || path[j] == '[');
  }

  loaded_config& result_;
  const config_limits& limits_;
  const catalogues& catalogues_;
  record_type type_;
  json::value document_ = json::object{};
  std::vector<fs::path> open_;
  bool too_many_ = false;
};

}  // namespace

namespace {

std::string lines_of(const std::vector<config_error>& all, const char* prefix) {
  constexpr std::size_t enough = 50;
  std::string text;
  for (std::size_t i = 0; i < all.size() && i < enough; ++i) text += prefix + all[i].message() + '\n';
  if (all.size() > enough) text += prefix + ("... and " + std::to_string(all.size() - enough)) + " more\n";
  return text;
}

}  // namespace

std::string loaded_config::report() const { return lines_of(errors, ""); }
std::string loaded_config::warning_report() const { return lines_of(warnings, "warning: "); }

loaded_config load_config(const fs::path& file, std::span<const std::string> overrides, const config_limits& limits,
                          const catalogues& from) {
  loaded_config result;
  loader l{result, limits, from};
  l.file(file, "");
  // Of a document that was not there nothing else is worth saying.
  if (!result.file_missing || !result.files.empty()) l.finish(overrides);
  return result;
}

loaded_config load_config_text(std::string_view text, std::span<const std::string> overrides, const std::string& origin,
                               const fs::path& directory, const config_limits& limits, const catalogues& from) {
  loaded_config result;
  loader l{result, limits, from};
  if (text.size() > limits.file_bytes) {
    result.errors.push_back({"", "", "larger than " + byte_size{limits.file_bytes}.to_string(), "", origin});
    return result;
  }
  l.text(text, origin, directory);
  l.finish(overrides);
  return result;
}

loaded_config override_config(const run_config& config, std::span<const std::string> overrides,
                              const catalogues& from) {
  loaded_config result;
  const config_limits limits;
  loader l{result, limits, from};
  json::value value;
  run_config_record(from).write(&config, value);
  l.document(std::move(value));
  l.finish(overrides);
  return result;
}

}  // namespace vmxsys::platform
