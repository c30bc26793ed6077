#pragma once
// Things chosen by name as parts of a document: {"name": "cfs", "latency": "6ms"}, or just "cfs".
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <vmxsys/vmx/base/catalogue.hpp>

#include "value_type.hpp"

namespace vmxsys::platform {

/// A catalogue of any kind.
struct catalogue_view {
  std::string kind;  ///< "scheduler"
  std::vector<const entry*> entries;

  template <class Entry>
  explicit catalogue_view(const catalogue<Entry>& of) : kind{of.kind()} {
    for (const Entry* e : of) entries.push_back(e);
  }
  const entry* find(std::string_view name) const;
  std::vector<std::string> names() const;
};

class parameter_type;

/// A component; works on its named_options.
class component_type final : public value_type {
 public:
  explicit component_type(catalogue_view of);
  ~component_type() override;

  std::string type_name() const override { return "object, or its \"name\""; }
  void read(const boost::json::value& from, void* to, reading& r) const override;
  void write(const void* from, boost::json::value& to) const override;
  const value_type* member(std::string_view name, const boost::json::value& object) const override;
  std::vector<std::string> members(const boost::json::value& object) const override;
  bool has_members() const override { return true; }
  boost::json::value expanded(const boost::json::value& given) const override;
  void merge(boost::json::value& base, const boost::json::value& overlay) const override;
  void rows(const std::string& path, const void* at, std::string_view description,
            std::vector<parameter_row>& to) const override;

  /// Reads from an object in which other members may stand, too: those that `known` says.
  void read_members(const boost::json::value& object, named_options& to, reading& r,
                    const std::vector<std::string>& known) const;
  const catalogue_view& entries() const { return view_; }

 private:
  const entry& entry_of(const named_options& options) const;
  const entry& entry_in(const boost::json::value& object) const;
  void wrong_name(const boost::json::value& name, reading& r) const;
  void option_of_another(std::string_view option, const boost::json::value& value, const entry& of, reading& r,
                         const boost::json::value& object, const std::vector<std::string>& known) const;

  class name_type;
  catalogue_view view_;
  std::unique_ptr<name_type> name_;
  std::vector<std::pair<const parameter*, std::unique_ptr<parameter_type>>> types_;
};

/// The options of `e` with `given` put in; settings that `e` has no legal place for are left out.
std::shared_ptr<void> options_of(const entry& e, const settings& given);

}  // namespace vmxsys::platform
