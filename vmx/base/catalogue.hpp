#pragma once
// Things that are chosen by name: spin detectors, schedulers, policies, workloads, ... Each is one `.cpp` file with its
// class, its options, one table of rows about them (parameter.hpp) and one entry; and one line in its folder's
// catalogue.cpp:
//
//   // models/schedulers/round_robin.cpp
//   extern const scheduler_entry round_robin_entry =
//       entry_with<scheduler_entry, round_robin_options, rows>("round_robin", "a queue and a fixed time slice",
//           [](const void* options, const scheduler_environment& on) -> std::unique_ptr<scheduler> { ... });
//
// A program adds entries of its own to a copy of a catalogue. Names are unique in a catalogue.
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "parameter.hpp"

namespace vmxsys {

/// What is wrong with options of which each is legal: the option, and why.
struct option_fault {
  std::string option;
  std::string reason;
  std::string depends_on;  ///< another option that the reason is about, or ""
};
/// Looks at options together, on a machine whose TSC runs at `tsc_khz`.
using option_check = void (*)(const void* options, std::uint64_t tsc_khz, std::vector<option_fault>& faults);

/// What every entry has. A kind of entry derives from it and adds `make`, a function
///   std::unique_ptr<Thing> (*make)(const void* options, Environment...)
/// and what else has to be known of a thing before one is made.
struct entry {
  const char* name;
  const char* description;  ///< one line
  parameter_list parameters;
  std::shared_ptr<void> (*defaults)();  ///< a new options struct; null without parameters
  option_check check = nullptr;         ///< of options together; null: nothing can be wrong
};

/// Something asked of a catalogue that it cannot give: every fault in one text, a line each.
class catalogue_error : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// A thing and how it is to be made, before there is one: what a configuration holds.
struct named_options {
  std::string name;  ///< empty: the catalogue's first entry
  settings options;
  friend bool operator==(const named_options& a, const named_options& b) {
    return a.name == b.name && a.options == b.options;
  }
};
/// The same for one kind of entry.
template <class Entry>
struct component : named_options {
  component() = default;
  component(const char* of, settings given = {}) : named_options{of, std::move(given)} {}
  component(std::string of, settings given = {}) : named_options{std::move(of), std::move(given)} {}
  /// Gives an option a value, whether it has one or not.
  component& set(const std::string& option, parameter_value value) {
    for (setting& s : options) {
      if (s.name != option) continue;
      s.value = std::move(value);
      return *this;
    }
    options.push_back({option, std::move(value)});
    return *this;
  }
};

/// An entry with its options.
template <class Entry>
class selection {
 public:
  selection() = default;
  selection(const Entry& of, std::shared_ptr<const void> options) : entry_{&of}, options_{std::move(options)} {}

  explicit operator bool() const noexcept { return entry_ != nullptr; }
  const Entry& entry() const noexcept { return *entry_; }
  const char* name() const noexcept { return entry_->name; }
  const void* options() const noexcept { return options_.get(); }
  parameter_value option(const parameter& p) const { return p.value(options_.get()); }
  template <class... Environment>
  auto make(Environment&&... environment) const {
    return entry_->make(options_.get(), std::forward<Environment>(environment)...);
  }

 private:
  const Entry* entry_ = nullptr;
  std::shared_ptr<const void> options_;
};

namespace detail {
template <class Options>
std::shared_ptr<void> new_options() {
  return std::make_shared<Options>();
}
/// The options of `of` with `given` put in. Faults are appended, with the option's name in front.
std::shared_ptr<void> options_with(const entry& of, const settings& given, std::vector<std::string>& faults);
std::string unknown_entry(std::string_view kind, std::string_view name, const std::vector<std::string>& known);
[[noreturn]] void fail(std::string_view kind, std::string_view name, const std::vector<std::string>& faults);
}  // namespace detail

/// All entries of one kind, in the order in which they are listed; the first is the default.
template <class Entry>
class catalogue {
 public:
  /// `kind` in the singular, as messages say it: "spin detector".
  explicit catalogue(const char* kind, std::vector<const Entry*> entries = {}) : kind_{kind} {
    for (const Entry* e : entries) add(*e);
  }

  const char* kind() const noexcept { return kind_; }
  /// `e` must outlive the catalogue and its copies. Throws catalogue_error for a name that is there already.
  void add(const Entry& e) {
    if (find(e.name) != nullptr) throw catalogue_error{std::string{"two entries \""} + e.name + "\" of kind " + kind_};
    entries_.push_back(&e);
  }

  std::size_t size() const noexcept { return entries_.size(); }
  auto begin() const noexcept { return entries_.begin(); }
  auto end() const noexcept { return entries_.end(); }
  const Entry& first() const { return *entries_.front(); }
  /// nullptr when no entry has this name.
  const Entry* find(std::string_view name) const noexcept {
    for (const Entry* e : entries_)
      if (name == e->name) return e;
    return nullptr;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const Entry* e : entries_) all.emplace_back(e->name);
    return all;
  }
  /// All of them, with the options that they have unless told otherwise.
  std::vector<component<Entry>> components() const {
    std::vector<component<Entry>> all;
    for (const Entry* e : entries_) all.emplace_back(e->name);
    return all;
  }
  std::vector<choice> choices() const {
    std::vector<choice> all;
    for (const Entry* e : entries_) all.push_back({e->name, e->description});
    return all;
  }

  /// The entry of this name, "" for the first, with these options. Throws catalogue_error with everything that is
  /// wrong.
  selection<Entry> select(std::string_view name = {}, const settings& options = {}) const {
    const Entry* e = name.empty() ? &first() : find(name);
    if (e == nullptr) throw catalogue_error{detail::unknown_entry(kind_, name, names())};
    std::vector<std::string> faults;
    std::shared_ptr<void> made = detail::options_with(*e, options, faults);
    if (!faults.empty()) detail::fail(kind_, e->name, faults);
    return {*e, std::move(made)};
  }
  /// A component and nothing that converts to one.
  template <class Component, std::enable_if_t<std::is_same_v<Component, component<Entry>>, int> = 0>
  selection<Entry> select(const Component& c) const {
    return select(c.name, c.options);
  }
  /// What an option of a component is, given or not. Throws catalogue_error for one that it has not.
  parameter_value value_of(const component<Entry>& c, std::string_view option) const {
    const selection<Entry> chosen = select(c);
    const parameter* p = chosen.entry().parameters.find(option);
    if (p == nullptr) detail::fail(kind_, chosen.name(), {std::string{option} + ": no such option"});
    return chosen.option(*p);
  }

 private:
  const char* kind_;
  std::vector<const Entry*> entries_;
};

/// An entry with options. `Rows` is a constant array about members of `Options`; `more` are the members that `Entry`
/// has besides those of `entry`, `make` among them.
template <class Entry, class Options, const auto& Rows, class... More>
constexpr Entry entry_with(const char* name, const char* description, More... more) {
  return {{name, description, parameter_list{Rows}, detail::new_options<Options>, nullptr}, more...};
}
/// An entry without options.
template <class Entry, class... More>
constexpr Entry entry_without(const char* name, const char* description, More... more) {
  return {{name, description, parameter_list{}, nullptr, nullptr}, more...};
}
/// The entry with a check of its options together.
template <class Entry>
constexpr Entry checked(Entry e, option_check check) {
  e.check = check;
  return e;
}
/// What a `make` function does first.
template <class Options>
const Options& options_as(const void* options) noexcept {
  return *static_cast<const Options*>(options);
}

}  // namespace vmxsys

// A catalogue.cpp has one line for each entry, in the order of listing; the first is the default. It defines the
// function that the folder's header declares:
//
//   #define ENTRIES(entry) entry(cfs_entry) entry(round_robin_entry)    (a line each)
//   VMXSYS_CATALOGUE(schedulers, scheduler_entry, "scheduler", ENTRIES)
#define VMXSYS_DECLARE_ENTRY(name) extern const catalogued_entry name;
#define VMXSYS_LIST_ENTRY(name) &name,
#define VMXSYS_CATALOGUE(function, entry_type, kind, entries)         \
  using catalogued_entry = entry_type;                                \
  entries(VMXSYS_DECLARE_ENTRY) catalogue<entry_type> function() {    \
    return catalogue<entry_type>{kind, {entries(VMXSYS_LIST_ENTRY)}}; \
  }
