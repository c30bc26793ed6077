#pragma once
#include <boost/describe.hpp>
#include <boost/mp11.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include <vmxsys/cpu/facts/fact.hpp>

// A record of every fact of a run, whatever its type.
namespace vmxsys::testing {

/// A fact of type F as it was stated.
template <class F>
struct recorded {
  cpu::fact_header header;
  F fact;
  std::size_t order;  ///< among all facts of the run
  cycles at() const { return header.at; }
  const F* operator->() const { return &fact; }
};

/// One function from several lambdas, for `fact_log::replay`.
template <class... One>
struct overloaded : One... {
  using One::operator()...;
};

/// Keeps every fact. It knows no fact type: a fact is kept in its canonical form, and made again when a test asks for
/// facts of that type.
class fact_log final : public cpu::fact_observer {
 public:
  struct entry {
    cpu::fact_header header;
    std::size_t values;  ///< where its members begin
  };

  void observe(const cpu::fact_view& view) override {
    const cpu::fact_kind& kind = *view.header().kind;
    kinds_[&kind].entries.push_back(entries_.size());
    entries_.push_back({view.header(), values_.size()});
    values_.resize(values_.size() + kind.field_count);
    kind.values(view.payload(), values_.data() + entries_.back().values);
  }

  std::size_t size() const { return entries_.size(); }
  const std::vector<entry>& entries() const { return entries_; }
  const std::uint64_t* values(const entry& e) const { return values_.data() + e.values; }

  /// The facts of one type in the order in which they were stated. References stay valid while the run goes on.
  template <cpu::fact_payload F>
  const std::deque<recorded<F>>& of() const {
    of_one_kind& kind = kinds_[&cpu::kind_of<F>];
    if (kind.typed == nullptr) kind.typed = std::make_shared<std::deque<recorded<F>>>();
    auto& found = *static_cast<std::deque<recorded<F>>*>(kind.typed.get());
    for (std::size_t i = found.size(); i < kind.entries.size(); ++i) {
      const entry& e = entries_[kind.entries[i]];
      found.push_back({e.header, fact_of<F>(values(e)), kind.entries[i]});
    }
    return found;
  }

  /// Shows the facts of these types to `see`, which takes each as a `recorded<F>`, in the order in which they were
  /// stated.
  template <cpu::fact_payload... F, class See>
  void replay(const See& see) const {
    for (std::size_t i = 0; i < entries_.size(); ++i) (show<F>(i, see), ...);
  }

  /// One line per fact: cycle, source, type, members, and the fact that caused it.
  std::string text() const {
    std::string out;
    for (const entry& e : entries_) out += text(e) + "\n";
    return out;
  }
  std::string text(const entry& e) const {
    const cpu::fact_kind& kind = *e.header.kind;
    std::string out = head(e.header);
    for (std::size_t i = 0; i < kind.field_count; ++i)
      out += " " + std::string{kind.field_names[i]} + "=" + number(values(e)[i]);
    return out + " <- " + std::to_string(e.header.cause.source) + ":" + std::to_string(e.header.cause.index);
  }
  static std::string head(const cpu::fact_header& h) {
    return std::to_string(h.at.count()) + " [" + std::to_string(h.id.source) + "] " + h.kind->name;
  }
  /// Small numbers in decimal, addresses and bit masks in hexadecimal.
  static std::string number(std::uint64_t value) {
    if (value < 0x1'0000) return std::to_string(value);
    constexpr const char* digits = "0123456789abcdef";
    std::string hex;
    for (; value != 0; value >>= 4) hex.insert(hex.begin(), digits[value & 0xF]);
    return "0x" + hex;
  }

 private:
  struct of_one_kind {
    std::vector<std::size_t> entries;
    std::shared_ptr<void> typed;  ///< those that a test has asked for
  };

  template <class F, class See>
  void show(std::size_t i, const See& see) const {
    const entry& e = entries_[i];
    if (e.header.kind == &cpu::kind_of<F>) see(recorded<F>{e.header, fact_of<F>(values(e)), i});
  }
  template <class F>
  static F fact_of(const std::uint64_t* values) {
    F fact{};
    boost::mp11::mp_for_each<boost::describe::describe_members<F, boost::describe::mod_public>>([&](auto member) {
      using type = std::remove_reference_t<decltype(fact.*member.pointer)>;
      fact.*member.pointer = static_cast<type>(*values++);
    });
    return fact;
  }

  std::vector<entry> entries_;
  std::vector<std::uint64_t> values_;
  mutable std::map<const cpu::fact_kind*, of_one_kind> kinds_;
};

}  // namespace vmxsys::testing
