#pragma once
// Single costs of a preset that a configuration sets: {"costs": {"instruction": {"pause": "140cycles"}}}.
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <vmxsys/platform/config/record.hpp>

#include "catalogue.hpp"

namespace vmxsys::platform {

/// A cost that replaces the preset's.
struct cost_override {
  std::string path;   ///< as `vmxsys list costs` has it: "instruction.pause", "idle_states.C1.exit_latency"
  std::string value;  ///< "140cycles" (of the TSC), "140core_cycles", "44ns", "2us"
  friend bool operator==(const cost_override&, const cost_override&) = default;
};

struct cost_value {
  double value;      ///< 0 .. 10^12
  std::string unit;  ///< "cycles", "core_cycles", "ns" or "us"
};
/// Reads the value of a cost_override. Nothing when `text` is none; then `reason`, if given, says why.
std::optional<cost_value> parse_cost(std::string_view text, std::string* reason = nullptr);

/// A member std::vector<cost_override> of a struct, in a document the tree of all costs that a preset of a catalogue
/// has. The document holds those that are set; whether the machine's preset has them is known when it is made.
class costs_type final : public value_type {
 public:
  explicit costs_type(const catalogue<preset_entry>& from = presets());
  ~costs_type() override;

  std::string type_name() const override { return "object"; }
  /// Adds to the list; a cost that is there already is replaced.
  void read(const boost::json::value& from, void* to, reading& r) const override;
  void write(const void* from, boost::json::value& to) const override;
  const value_type* member(std::string_view name, const boost::json::value& object) const override;
  std::vector<std::string> members(const boost::json::value& object) const override;
  bool has_members() const override { return true; }
  /// One row for all: `vmxsys list costs` has them one by one.
  void rows(const std::string& path, const void* at, std::string_view description,
            std::vector<parameter_row>& to) const override;

 private:
  class group;
  class leaf;
  std::unique_ptr<group> all_;
};

/// A member std::vector<cost_override> as a member of a record.
template <auto Member>
field costs_field(const char* name, const char* description, const catalogue<preset_entry>& from = presets()) {
  static_assert(std::is_same_v<decltype(detail::type_of_member(Member)), std::vector<cost_override>>);
  return {name, description, std::make_shared<costs_type>(from), detail::place_of<Member>};
}

}  // namespace vmxsys::platform
