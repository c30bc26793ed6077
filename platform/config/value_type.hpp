#pragma once
// How documents are read, checked, merged and written. A document is a tree of records (structs with a table of rows),
// lists of records, and components (things chosen by name, with options).
#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include <vmxsys/vmx/base/parameter.hpp>

#include "reading.hpp"

namespace vmxsys::platform {

struct parameter_row;

/// What stands in place of the default of an option that has no value unless it is given.
inline constexpr const char* default_of_entry = "as the entry has it";

/// How one member of a document is read from JSON, checked and written. Objects of these classes are tables of
/// constants.
class value_type {
 public:
  virtual ~value_type() = default;
  virtual std::string type_name() const = 0;
  /// Reads `from` into the member at `to`; a fault leaves it, or the faulty part of it, as it was.
  virtual void read(const boost::json::value& from, void* to, reading& r) const = 0;
  virtual void write(const void* from, boost::json::value& to) const = 0;

  /// The type of the member `name` of a JSON object of this type; null when there is none. `object` is that object as
  /// far as it is known: the options of a component depend on its name.
  virtual const value_type* member(std::string_view /*name*/, const boost::json::value& /*object*/) const {
    return nullptr;
  }
  /// The members that `member` knows in `object`.
  virtual std::vector<std::string> members(const boost::json::value& /*object*/) const { return {}; }
  /// An object, so that it has members.
  virtual bool has_members() const { return false; }
  /// What a member is in an object that says nothing of it; null when that is not known.
  virtual boost::json::value initial(std::string_view member) const;
  /// Of a list: the type of what it holds.
  virtual const value_type* element() const { return nullptr; }
  /// True for values that a command line gives as plain text: names, durations, sizes.
  virtual bool is_text() const { return false; }

  /// The object that a bare text stands for; any other value as it is.
  virtual boost::json::value expanded(const boost::json::value& given) const;
  /// Lays `overlay` over `base`: objects member by member, everything else, lists included, replaced as a whole.
  virtual void merge(boost::json::value& base, const boost::json::value& overlay) const;
  /// Appends the rows of `vmxsys list parameters`; `at` is the default's place.
  virtual void rows(const std::string& path, const void* at, std::string_view description,
                    std::vector<parameter_row>& to) const = 0;
};

/// A member of an object that nothing is known of: the key, and where it would be right.
void unknown_key(std::string_view given, const boost::json::value& value, const value_type& type,
                 const boost::json::value& object, reading& r);

/// One row of `vmxsys list parameters`.
struct parameter_row {
  std::string path;  ///< "vms[].guest.hz"
  std::string type;
  std::string unit;
  std::string default_value;
  std::string range;  ///< "1 .. 16", the legal names, or ""
  std::string description;
};

}  // namespace vmxsys::platform
