#pragma once
// Structs described with Boost.Describe <-> JSON, with every fault collected. Templates only say where the members of
// a struct are; reading, writing and checking are ordinary functions in json_binding.cpp, so that a file that includes
// this header does not compile Boost.JSON.
#include <boost/json/fwd.hpp>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <vmxsys/platform/parameter.hpp>
#include <vmxsys/platform/units.hpp>

namespace vmxsys::platform {

/// One fault of a configuration.
struct config_error {
  std::string path;     ///< "vms[0].vcpus"; "" for the document as a whole
  std::string value;    ///< what was found there, shortened
  std::string reason;   ///< what is wrong and what would be right
  std::string nearest;  ///< the legal name most like the one found, or ""
  std::string origin;   ///< the file, or "-p ..." it came from; "" when the layers together are at fault

  /// One line: origin, path, value, reason, suggestion.
  std::string message() const;
};

class record_type;

/// Where in a document a reader is, and what it has found wrong.
struct reading {
  std::vector<config_error>* errors;
  std::string origin;
  std::string path;
  const parameter* about = nullptr;       ///< of the value being read
  const record_type* document = nullptr;  ///< to say where a misplaced key belongs
  bool complete = false;                  ///< all layers are merged, so a record knows its final `name`

  void fault(const boost::json::value& found, std::string reason, std::string nearest = {});
};

/// How one C++ type is read from JSON, checked and written. Objects of these classes are tables of constants.
class value_type {
 public:
  virtual ~value_type() = default;
  virtual std::string type_name() const = 0;
  /// Reads `from` into the object at `to`; a fault leaves it, or the faulty part of it, as it was.
  virtual void read(const boost::json::value& from, void* to, reading& r) const = 0;
  virtual void write(const void* from, boost::json::value& to) const = 0;
  virtual const record_type* record() const { return nullptr; }
  /// Of a list: the type of what it holds; the element's type of an optional value.
  virtual const value_type* element() const { return nullptr; }
  virtual bool is_list() const { return false; }
  /// True for values that a command line gives as plain text: names, durations, sizes.
  virtual bool is_text() const { return false; }
};

const value_type& leaf_type(const bool*);
const value_type& leaf_type(const std::uint32_t*);
const value_type& leaf_type(const std::uint64_t*);
const value_type& leaf_type(const std::string*);
const value_type& leaf_type(const duration*);
const value_type& leaf_type(const byte_size*);

/// A member of a described struct.
struct field {
  const parameter* about;
  const value_type* type;
  const void* (*at)(const void* object);
};

/// A described struct.
class record_type final : public value_type {
 public:
  record_type(std::vector<field> fields, const void* defaults, std::string_view shorthand, std::string_view selector,
              void (*reset)(void*))
      : fields_{std::move(fields)}, defaults_{defaults}, shorthand_{shorthand}, selector_{selector}, reset_{reset} {}

  std::string type_name() const override { return "object"; }
  void read(const boost::json::value& from, void* to, reading& r) const override;
  void write(const void* from, boost::json::value& to) const override;
  const record_type* record() const override { return this; }

  std::span<const field> fields() const { return fields_; }
  const field* find(std::string_view name) const;
  std::vector<std::string> names() const;
  /// An object as its default member initialisers leave it.
  const void* defaults() const { return defaults_; }
  std::string_view shorthand() const { return shorthand_; }
  std::string_view selector() const { return selector_; }

 private:
  std::vector<field> fields_;
  const void* defaults_;
  std::string_view shorthand_, selector_;
  void (*reset_)(void* object);
};

/// std::vector<T>, reached through functions so that the reading itself is no template.
class list_type final : public value_type {
 public:
  struct access {
    std::size_t (*size)(const void* list);
    const void* (*at)(const void* list, std::size_t index);
    void (*resize)(void* list, std::size_t size);
  };
  list_type(const value_type& element, access functions) : element_{&element}, access_{functions} {}
  std::string type_name() const override { return "list of " + element_->type_name(); }
  void read(const boost::json::value& from, void* to, reading& r) const override;
  void write(const void* from, boost::json::value& to) const override;
  const value_type* element() const override { return element_; }
  bool is_list() const override { return true; }

 private:
  const value_type* element_;
  access access_;
};

/// std::optional<T>: absent or null means "as the policy has it".
class optional_type final : public value_type {
 public:
  struct access {
    const void* (*get)(const void* optional);  ///< null when empty
    void* (*emplace)(void* optional);
    void (*reset)(void* optional);
  };
  optional_type(const value_type& element, access functions) : element_{&element}, access_{functions} {}
  std::string type_name() const override { return element_->type_name(); }
  void read(const boost::json::value& from, void* to, reading& r) const override;
  void write(const void* from, boost::json::value& to) const override;
  const record_type* record() const override { return element_->record(); }
  const value_type* element() const override { return element_; }
  bool is_text() const override { return element_->is_text(); }

 private:
  const value_type* element_;
  access access_;
};

namespace detail {
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
}  // namespace detail

template <class T>
const value_type& value_type_of();

template <class T>
const record_type& record_type_of() {
  static_assert(every_parameter_is_described<T>(),
                "every member needs an entry of its name, with unit and description, in parameters_of<T>");
  static const T defaults{};
  static const record_type result = [] {
    std::vector<field> fields;
    boost::mp11::mp_for_each<boost::describe::describe_members<T, boost::describe::mod_public>>([&](auto member) {
      using member_type = std::remove_cvref_t<decltype(std::declval<T&>().*member.pointer)>;
      fields.push_back({&parameters_of<T>[fields.size()], &value_type_of<member_type>(), [](const void* object) {
                          return static_cast<const void*>(&(static_cast<const T*>(object)->*decltype(member)::pointer));
                        }});
    });
    return record_type{std::move(fields), &defaults, shorthand_of<T>, selector_of<T>,
                       [](void* o) { *static_cast<T*>(o) = T{}; }};
  }();
  return result;
}

template <class T>
const value_type& value_type_of() {
  if constexpr (detail::is_vector<T>::value) {
    using element = typename T::value_type;
    static const list_type result{
        value_type_of<element>(),
        {[](const void* list) { return static_cast<const T*>(list)->size(); },
         [](const void* list, std::size_t i) { return static_cast<const void*>(&(*static_cast<const T*>(list))[i]); },
         [](void* list, std::size_t size) { static_cast<T*>(list)->assign(size, element{}); }}};
    return result;
  } else if constexpr (detail::is_optional<T>::value) {
    using element = typename T::value_type;
    static const optional_type result{
        value_type_of<element>(),
        {[](const void* o) {
           return static_cast<const void*>(*static_cast<const T*>(o) ? &**static_cast<const T*>(o) : nullptr);
         },
         [](void* o) { return static_cast<void*>(&static_cast<T*>(o)->emplace()); },
         [](void* o) { static_cast<T*>(o)->reset(); }}};
    return result;
  } else if constexpr (boost::describe::has_describe_members<T>::value) {
    return record_type_of<T>();
  } else {
    return leaf_type(static_cast<const T*>(nullptr));
  }
}

/// One row of `vmxsys list parameters`.
struct parameter_row {
  std::string path;  ///< "vms[].guest.hz"
  std::string type;
  std::string unit;
  std::string default_value;
  std::string range;  ///< "1 .. 16", the legal names, or ""
  std::string description;
};

/// Every parameter of a document type, depth first, in declaration order.
std::vector<parameter_row> parameter_rows(const record_type& document);

/// A duration of a document.
struct duration_in_force {
  std::string path;  ///< "vms[0].workload.work.mean"
  const parameter* about;
  duration value;
};

/// Every duration that `object` of this type holds and that is read: not those of other policies, nor absent ones.
std::vector<duration_in_force> durations_of(const record_type& document, const void* object);

/// Parses JSON text; a fault (with line and column) goes to r, and nothing is returned. A key that an object holds
/// twice goes to r too; the document then has the last.
std::optional<boost::json::value> parse_json(std::string_view text, reading& r);

/// Lays `overlay` over `base`: objects key by key, everything else, lists included, replaced as a whole. Shorthands are
/// written out. Where the overlay gives a record another `name`, parameters only meant for the old name go.
void merge_json(boost::json::value& base, const boost::json::value& overlay, const value_type& type);

/// Applies "vms[0].vcpus=4" or "vms[*].guest.hz=100" to a document. Faults go to r.
void apply_override(boost::json::value& document, std::string_view assignment, const record_type& type, reading& r);

/// Indented JSON text with a final newline.
std::string pretty_json(const boost::json::value& value);

}  // namespace vmxsys::platform
