#pragma once
// Structs as parts of a document.
//
//   record_type machine_record() {
//     return record<machine_config>({
//         value(row<&machine_config::cores>("cores", "cores per socket", 1, 256, "cores of each socket")),
//         section<&machine_config::cache>("cache", "the last-level cache", cache_record()),
//         chosen<&machine_config::detector>("detector", "spin detector of every logical CPU", catalogue),
//     });
//   }
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "component.hpp"
#include "value_type.hpp"

namespace vmxsys::platform {

/// A parameter as a member of a document. `at` is the struct around it.
class parameter_type final : public value_type {
 public:
  explicit parameter_type(const parameter& of) : parameter_{of} {}
  const parameter& about() const { return parameter_; }
  std::string type_name() const override;
  void read(const boost::json::value& from, void* to, reading& r) const override;
  void write(const void* from, boost::json::value& to) const override;
  bool is_text() const override;
  const value_type* member(std::string_view name, const boost::json::value& object) const override;
  std::vector<std::string> members(const boost::json::value& object) const override;
  bool has_members() const override { return parameter_.kind == parameter_kind::distribution; }
  boost::json::value expanded(const boost::json::value& given) const override;
  void merge(boost::json::value& base, const boost::json::value& overlay) const override;
  void rows(const std::string& path, const void* at, std::string_view description,
            std::vector<parameter_row>& to) const override;

 private:
  parameter parameter_;
};

/// One value of a parameter, to and from JSON.
std::optional<parameter_value> value_from_json(const parameter& about, const boost::json::value& from, reading& r,
                                               const parameter_value& before);
boost::json::value value_to_json(const parameter_value& value);

/// A member of a struct.
struct field {
  std::string name;  ///< empty: a component whose name and options stand among the struct's own members
  std::string description;
  std::shared_ptr<const value_type> type;
  void* (*at)(void* object);  ///< what `type` works on: the member, or for parameters the object itself
};

/// A struct. `shorthand`: the member that a bare text stands for; empty: none.
class record_type final : public value_type {
 public:
  record_type(std::vector<field> fields, std::shared_ptr<void> defaults, std::string shorthand)
      : fields_{std::move(fields)}, defaults_{std::move(defaults)}, shorthand_{std::move(shorthand)} {}

  std::string type_name() const override;
  void read(const boost::json::value& from, void* to, reading& r) const override;
  void write(const void* from, boost::json::value& to) const override;
  const value_type* member(std::string_view name, const boost::json::value& object) const override;
  std::vector<std::string> members(const boost::json::value& object) const override;
  bool has_members() const override { return true; }
  boost::json::value expanded(const boost::json::value& given) const override;
  boost::json::value initial(std::string_view member) const override;
  void rows(const std::string& path, const void* at, std::string_view description,
            std::vector<parameter_row>& to) const override;

  /// An object as it is before a document says anything: as its member initialisers leave it, or as it was given.
  void* defaults() const { return defaults_.get(); }

 private:
  const field* find(std::string_view name) const;
  const field* inlined() const;

  std::vector<field> fields_;
  std::shared_ptr<void> defaults_;
  std::string shorthand_;
};

/// std::vector of records, reached through functions so that the reading itself is no template.
class list_type final : public value_type {
 public:
  struct access {
    std::size_t (*size)(const void* list);
    void* (*at)(void* list, std::size_t index);
    void (*resize)(void* list, std::size_t size);
  };
  list_type(record_type element, std::size_t most, access functions)
      : element_{std::move(element)}, most_{most}, access_{functions} {}
  std::string type_name() const override { return "list of " + element_.type_name(); }
  void read(const boost::json::value& from, void* to, reading& r) const override;
  void write(const void* from, boost::json::value& to) const override;
  const value_type* element() const override { return &element_; }
  void rows(const std::string& path, const void* at, std::string_view description,
            std::vector<parameter_row>& to) const override;

 private:
  record_type element_;
  std::size_t most_;
  access access_;
};

namespace detail {
template <class Class, class Member>
Class class_of_member(Member Class::*);
template <class Class, class Member>
Member type_of_member(Member Class::*);
template <auto Member>
void* place_of(void* object) {
  return &(static_cast<decltype(class_of_member(Member))*>(object)->*Member);
}
inline void* itself(void* object) { return object; }
}  // namespace detail

/// A struct as a record.
template <class T>
record_type record(std::vector<field> fields, std::string shorthand = {}) {
  return {std::move(fields), std::make_shared<T>(), std::move(shorthand)};
}

/// A member with a value of its own.
inline field value(const parameter& row) {
  return {row.name, row.description, std::make_shared<parameter_type>(row), detail::itself};
}

/// A member that is a struct.
template <auto Member>
field section(const char* name, const char* description, record_type of) {
  return {name, description, std::make_shared<record_type>(std::move(of)), detail::place_of<Member>};
}

/// A member that is a std::vector of structs, at most `most`.
template <auto Member>
field sections(const char* name, const char* description, std::size_t most, record_type of) {
  using list = decltype(detail::type_of_member(Member));
  const list_type::access how{
      [](const void* l) { return static_cast<const list*>(l)->size(); },
      [](void* l, std::size_t i) { return static_cast<void*>(&(*static_cast<list*>(l))[i]); },
      [](void* l, std::size_t size) { static_cast<list*>(l)->assign(size, typename list::value_type{}); }};
  return {name, description, std::make_shared<list_type>(std::move(of), most, how), detail::place_of<Member>};
}

/// A member that is a component<Entry>.
template <auto Member, class Entry>
field chosen(const char* name, const char* description, const catalogue<Entry>& from) {
  static_assert(std::is_same_v<decltype(detail::type_of_member(Member)), component<Entry>>);
  return {name, description, std::make_shared<component_type>(catalogue_view{from}), [](void* object) -> void* {
            return static_cast<named_options*>(static_cast<component<Entry>*>(detail::place_of<Member>(object)));
          }};
}
/// The same where name and options stand among the struct's own members. At most one of a struct.
template <auto Member, class Entry>
field inlined(const char* description, const catalogue<Entry>& from) {
  field f = chosen<Member>("", description, from);
  return f;
}

/// A member that is a std::vector<component<Entry>>: a list of objects, or of bare names.
template <auto Member, class Entry>
field components(const char* name, const char* description, const catalogue<Entry>& from) {
  static_assert(std::is_same_v<decltype(detail::type_of_member(Member)), std::vector<component<Entry>>>);
  constexpr std::size_t most = 64;
  const auto options = [](void* one) -> void* {
    return static_cast<named_options*>(static_cast<component<Entry>*>(one));
  };
  field in_place{"", "one of them", std::make_shared<component_type>(catalogue_view{from}), options};
  return sections<Member>(name, description, most, record<component<Entry>>({std::move(in_place)}, "name"));
}

}  // namespace vmxsys::platform
