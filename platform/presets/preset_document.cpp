#include "detail/preset_document.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <system_error>

#include <vmxsys/platform/config/json_text.hpp>
#include <vmxsys/vmx/base/nearest.hpp>

namespace vmxsys::platform {

namespace json = boost::json;
namespace fs = std::filesystem;

bool is_cost_group(std::string_view key) {
  static constexpr std::string_view groups[] = {"instruction", "transfer", "exit",   "entry",
                                                "interrupt",   "apic",     "kernel", "kvm"};
  return std::find(std::begin(groups), std::end(groups), key) != std::end(groups);
}

const std::string& preset_document::origin_of(std::string path) const {
  for (;;) {
    if (const auto found = origins.find(path); found != origins.end()) return found->second;
    const std::size_t cut = path.find_last_of(".[");
    if (cut == std::string::npos) return origin;
    path.resize(cut);
  }
}

namespace {

constexpr std::size_t most_bytes = std::size_t{1} << 20;
constexpr std::size_t most_bases = 16;

/// Text of a preset, of a catalogue or a file.
struct preset_text {
  std::string text;
  std::string origin;    // for messages
  std::string identity;  // the same for the same text, however it is named
  fs::path directory;    // what a base's file name is relative to
  const preset_entry* entry = nullptr;
};

using fault_function = std::function<void(std::string reason, std::string nearest)>;

std::optional<preset_text> from_file(const fs::path& path, const fault_function& fault) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  const auto fail = [&](const std::string& reason) {
    fault(reason, "");
    return std::nullopt;
  };
  if (!fs::exists(status)) return fail("no such file: " + path.string());
  if (!fs::is_regular_file(status)) return fail("not a regular file: " + path.string());
  const fs::path canonical = fs::canonical(path, error);
  if (error) return fail(error.message() + ": " + path.string());
  std::ifstream in{path, std::ios::binary};
  // Not its size as the file system has it: that may change, or be 0 for special files.
  std::string text(most_bytes + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in && !in.eof()) return fail("cannot be read: " + path.string());
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > most_bytes) return fail("larger than 1MiB, which no preset is: " + path.string());
  return preset_text{std::move(text), path.string(), canonical.string(), path.parent_path(), nullptr};
}

std::optional<preset_text> from_catalogue(const std::string& name, const catalogue<preset_entry>& from,
                                          const fault_function& fault) {
  if (const preset_entry* e = from.find(name)) return preset_text{e->text, "preset " + name, name, {}, e};
  fault("no preset; must be one of: " + joined(from.names()) + ", or a file (its name ends in .json or holds a '/')",
        nearest(name, from.names()));
  return std::nullopt;
}

std::optional<preset_text> find_text(const std::string& name, const fs::path& directory,
                                     const catalogue<preset_entry>& from, const fault_function& fault) {
  const bool is_file = name.ends_with(".json") || name.find('/') != std::string::npos;
  if (name.find('\0') != std::string::npos) {
    fault("no file name", "");
    return std::nullopt;
  }
  return is_file ? from_file(directory / name, fault) : from_catalogue(name, from, fault);
}

class chain_loader {
 public:
  chain_loader(preset_document& result, const catalogue<preset_entry>& from, std::vector<config_error>& errors)
      : result_{result}, catalogue_{from}, errors_{errors} {}

  /// Lays the text over what its base comes to.
  bool load(const preset_text& from) {
    reading r{&errors_, from.origin};
    const std::optional<json::value> parsed = parse_json(from.text, r);
    if (!parsed) return false;
    if (!parsed->is_object()) {
      r.fault(*parsed, "a preset is an object {...}");
      return false;
    }
    open_.push_back(from.identity);
    if (const json::value* base = parsed->get_object().if_contains("base"); base && !load_base(*base, from, r))
      return false;
    lay_over(parsed->get_object(), from.origin);
    return from.entry == nullptr || name_by_entry(*from.entry, parsed->get_object(), r);
  }

 private:
  bool name_by_entry(const preset_entry& entry, const json::object& own, reading& r) {
    if (const json::value* name = own.if_contains("name"); name != nullptr && *name != json::string{entry.name}) {
      const path_part part{r, "name"};
      r.fault(*name, std::string{"is not the name of its entry, \""} + entry.name + '"');
      return false;
    }
    result_.content["name"] = entry.name;
    result_.content["description"] = entry.description;
    return true;
  }

  bool load_base(const json::value& base, const preset_text& of, reading& r) {
    const path_part part{r, "base"};
    bool well = true;
    const fault_function fault = [&](std::string reason, std::string like) {
      r.fault(base, std::move(reason), std::move(like));
      well = false;
    };
    if (!base.is_string() || base.get_string().empty()) {
      fault("must be the name of a preset, or a file name", "");
      return false;
    }
    const std::string name{base.get_string().data(), base.get_string().size()};
    const std::optional<preset_text> text = find_text(name, of.directory, catalogue_, fault);
    if (!text) return false;
    if (std::find(open_.begin(), open_.end(), text->identity) != open_.end())
      fault("is its own base, directly or through another preset", "");
    else if (open_.size() > most_bases)
      fault("bases are nested more than " + std::to_string(most_bases) + " deep", "");
    else
      well = load(*text);
    return well;
  }

  void lay_over(const json::object& own, const std::string& origin) {
    result_.content.erase("name");  // each has its own
    result_.origins.erase("name");
    for (const auto& [key_string, value] : own) {
      const std::string key{key_string.data(), key_string.size()};
      if (key == "base") continue;
      json::value& to = result_.content[key_string];
      if (is_cost_group(key) && value.is_object() && to.is_object()) {
        for (const auto& [name, quantity] : value.get_object()) {
          to.get_object()[name] = quantity;
          result_.origins[key + '.' + std::string{name.data(), name.size()}] = origin;
        }
      } else {
        to = value;
        result_.origins[key] = origin;
      }
    }
  }

  preset_document& result_;
  const catalogue<preset_entry>& catalogue_;
  std::vector<config_error>& errors_;
  std::vector<std::string> open_;  // identities of the texts that are being read
};

}  // namespace

std::optional<preset_document> load_preset_document(const std::string& name_or_file,
                                                    const catalogue<preset_entry>& from,
                                                    std::vector<config_error>& errors) {
  const std::optional<preset_text> text = find_text(name_or_file, {}, from, [&](std::string reason, std::string like) {
    errors.push_back({"preset", '"' + shown(name_or_file) + '"', std::move(reason), std::move(like), ""});
  });
  if (!text) return std::nullopt;
  preset_document result;
  result.origin = text->origin;
  if (!chain_loader{result, from, errors}.load(*text)) return std::nullopt;
  return result;
}

}  // namespace vmxsys::platform
