#pragma once
#include <algorithm>
#include <concepts>
#include <cstdint>
#include <gtest/gtest.h>
#include <initializer_list>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

#include "fact_log.hpp"

// The vocabulary of timing tests: which facts a run states, in which order, and how many cycles lie between them.
namespace vmxsys::testing {

namespace detail {
template <class T>
std::string text_of(const T& value) {
  if constexpr (requires { std::string{name_of(value)}; })
    return name_of(value);
  else if constexpr (std::is_same_v<T, cycles>)
    return std::to_string(value.count());
  else
    return fact_log::number(static_cast<std::uint64_t>(value));
}
/// The members by the names of their values, where their types have names.
template <class F>
std::string members_of(const std::uint64_t* values) {
  std::string out;
  boost::mp11::mp_for_each<boost::describe::describe_members<F, boost::describe::mod_public>>([&](auto member) {
    using type = std::remove_cvref_t<decltype(std::declval<F>().*member.pointer)>;
    out += " " + std::string{member.name} + "=" + text_of(static_cast<type>(*values++));
  });
  return out;
}
}  // namespace detail

/// A type of fact, and what is asked of its members, its cycle and its source. Made by `fact`.
class expected_fact {
 public:
  /// In this cycle.
  expected_fact at(cycles when) const {
    expected_fact e = *this;
    e.at_ = when;
    return e;
  }
  /// Stated by this source: of facts of the hardware, the CPU.
  expected_fact on(std::uint32_t source) const {
    expected_fact e = *this;
    e.source_ = source;
    return e;
  }

  const cpu::fact_kind* kind() const { return kind_; }
  bool matches(const fact_log& log, const fact_log::entry& e) const {
    if (e.header.kind != kind_) return false;
    if (at_ && *at_ != e.header.at) return false;
    if (source_ && *source_ != e.header.id.source) return false;
    const std::uint64_t* values = log.values(e);
    return std::all_of(asked_.begin(), asked_.end(), [&](const asked& a) { return values[a.member] == a.value; });
  }
  std::string text() const {
    std::string out = (at_ ? std::to_string(at_->count()) : "*") + " [" +
                      (source_ ? std::to_string(*source_) : std::string{"*"}) + "] " + kind_->name;
    for (const asked& a : asked_) out += " " + std::string{kind_->field_names[a.member]} + "=" + a.text;
    return out;
  }
  std::string text_of(const fact_log& log, const fact_log::entry& e) const {
    return fact_log::head(e.header) + members_(log.values(e));
  }

 private:
  struct asked {
    std::size_t member;
    std::uint64_t value;
    std::string text;
  };
  template <cpu::fact_payload F, class... Asked>
  friend expected_fact fact(const Asked&... members_and_values);

  expected_fact(const cpu::fact_kind& kind, std::string (*members)(const std::uint64_t*))
      : kind_{&kind}, members_{members} {}
  template <class F>
  void ask() {}
  template <class F, class M, class V, class... More>
  void ask(M F::*member, const V& value, const More&... more) {
    const M wanted = static_cast<M>(value);
    std::size_t index = 0;
    boost::mp11::mp_for_each<boost::describe::describe_members<F, boost::describe::mod_public>>([&](auto known) {
      if constexpr (std::is_same_v<std::remove_cv_t<decltype(known.pointer)>, M F::*>)
        if (known.pointer == member) asked_.push_back({index, cpu::detail::canonical(wanted), detail::text_of(wanted)});
      ++index;
    });
    ask<F>(more...);
  }

  const cpu::fact_kind* kind_;
  std::string (*members_)(const std::uint64_t*);
  std::vector<asked> asked_;
  std::optional<cycles> at_;
  std::optional<std::uint32_t> source_;
};

/// A fact of type F: `fact<vm_exit_fact>(&vm_exit_fact::reason, exit_reason::pause)`. Members that are not named may
/// have any value.
template <cpu::fact_payload F, class... Asked>
expected_fact fact(const Asked&... members_and_values) {
  static_assert(sizeof...(Asked) % 2 == 0, "a member, and the value it must have");
  expected_fact e{cpu::kind_of<F>, detail::members_of<F>};
  e.template ask<F>(members_and_values...);
  return e;
}

/// The facts of a log from one cycle on and before another.
struct fact_range {
  const fact_log& log;
  cycles from{0};
  cycles before = cycles::never();

  fact_range(const fact_log& all, cycles first = cycles{0}, cycles end = cycles::never())
      : log{all}, from{first}, before{end} {}
  std::vector<const fact_log::entry*> entries() const {
    std::vector<const fact_log::entry*> found;
    for (const fact_log::entry& e : log.entries())
      if (e.header.at >= from && e.header.at < before) found.push_back(&e);
    return found;
  }
};

namespace detail {
using expectations = std::vector<expected_fact>;

inline const expected_fact* of_kind(const expectations& all, const fact_log::entry& e) {
  for (const expected_fact& x : all)
    if (x.kind() == e.header.kind) return &x;
  return nullptr;
}
/// What a failure prints: the sequence expected, and the facts of the same types.
inline std::string compared(const fact_range& in, const expectations& expected, std::size_t first_missing) {
  std::string out = "expected, cycle [source] type members; > is missing:\n";
  for (std::size_t i = 0; i < expected.size(); ++i)
    out += (i == first_missing ? "  > " : "    ") + expected[i].text() + "\n";
  out += "stated, of these types; + fits:\n";
  std::vector<std::string> lines;
  std::size_t fitting = 0, last = 0;  // of the sequence, and the line of the last that fits
  for (const fact_log::entry* e : in.entries()) {
    const expected_fact* x = of_kind(expected, *e);
    if (x == nullptr) continue;
    const bool fits = fitting < first_missing && expected[fitting].matches(in.log, *e);
    if (fits) {
      ++fitting;
      last = lines.size();
    }
    lines.push_back((fits ? "  + " : "    ") + x->text_of(in.log, *e) + "\n");
  }
  constexpr std::size_t before = 20, behind = 30;  // around that line
  const std::size_t begin = last > before ? last - before : 0;
  const std::size_t end = std::min(lines.size(), last + behind);
  if (begin > 0) out += "    " + std::to_string(begin) + " before\n";
  for (std::size_t i = begin; i < end; ++i) out += lines[i];
  if (end < lines.size()) out += "    and " + std::to_string(lines.size() - end) + " more\n";
  if (lines.empty()) out += "    none\n";
  return out;
}
inline void fail(const std::source_location& where, const std::string& what) {
  ADD_FAILURE_AT(where.file_name(), static_cast<int>(where.line())) << what;
}
inline const fact_log::entry* first(const std::vector<const fact_log::entry*>& entries, std::size_t& from,
                                    const fact_log& log, const expected_fact& wanted) {
  for (; from < entries.size(); ++from)
    if (wanted.matches(log, *entries[from])) return entries[from++];
  return nullptr;
}
}  // namespace detail

/// These facts in this order; others may stand before, between and behind them.
inline void expect_sequence(const fact_range& in, const std::vector<expected_fact>& expected,
                            std::source_location where = std::source_location::current()) {
  const auto entries = in.entries();
  std::size_t from = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (detail::first(entries, from, in.log, expected[i]) == nullptr)
      return detail::fail(where, "the sequence ends here\n" + detail::compared(in, expected, i));
}

/// These facts in this order and no other fact of their types.
inline void expect_exact_sequence(const fact_range& in, const std::vector<expected_fact>& expected,
                                  std::source_location where = std::source_location::current()) {
  std::size_t i = 0;
  for (const fact_log::entry* e : in.entries()) {
    if (detail::of_kind(expected, *e) == nullptr) continue;
    if (i == expected.size() || !expected[i].matches(in.log, *e))
      return detail::fail(where, "another fact: " + detail::of_kind(expected, *e)->text_of(in.log, *e) + "\n" +
                                     detail::compared(in, expected, i));
    ++i;
  }
  if (i != expected.size()) detail::fail(where, "the sequence ends here\n" + detail::compared(in, expected, i));
}

inline void expect_none(const fact_range& in, const expected_fact& unwanted,
                        std::source_location where = std::source_location::current()) {
  const auto entries = in.entries();
  std::size_t from = 0;
  if (const fact_log::entry* e = detail::first(entries, from, in.log, unwanted))
    detail::fail(where, "stated: " + unwanted.text_of(in.log, *e));
}

/// From the first fact like `from` to the first like `to` behind it there are `gap` cycles.
inline void expect_gap(const fact_range& in, const expected_fact& from, const expected_fact& to, cycles gap,
                       std::source_location where = std::source_location::current()) {
  const auto entries = in.entries();
  std::size_t at = 0;
  const fact_log::entry* a = detail::first(entries, at, in.log, from);
  const fact_log::entry* b = a != nullptr ? detail::first(entries, at, in.log, to) : nullptr;
  if (b == nullptr)
    return detail::fail(where, "no such pair\n" + detail::compared(in, {from, to}, a == nullptr ? 0 : 1));
  const std::uint64_t found = b->header.at.count() - a->header.at.count();
  if (found != gap.count())
    detail::fail(where, std::to_string(found) + " cycles instead of " + std::to_string(gap.count()) + "\n  from " +
                            from.text_of(in.log, *a) + "\n  to   " + to.text_of(in.log, *b));
}
/// The same between two cycles that the test knows.
inline void expect_gap(cycles from, cycles to, cycles gap,
                       std::source_location where = std::source_location::current()) {
  if (from + gap != to)
    detail::fail(where, "from " + std::to_string(from.count()) + " to " + std::to_string(to.count()) +
                            " there are not " + std::to_string(gap.count()) + " cycles");
}

/// A boundary: such a fact is not stated up to `when` - 1, and is at `when`.
inline void expect_first_at(const fact_range& in, const expected_fact& wanted, cycles when,
                            std::source_location where = std::source_location::current()) {
  const auto entries = in.entries();
  std::size_t from = 0;
  const fact_log::entry* e = detail::first(entries, from, in.log, wanted);
  if (e == nullptr)
    detail::fail(where, "never stated\n" + detail::compared(in, {wanted}, 0));
  else if (e->header.at != when)
    detail::fail(where, "not first at " + std::to_string(when.count()) + " but: " + wanted.text_of(in.log, *e));
}
/// The same of a rule: `fires(cycle)` does not hold at `when` - 1, and does at `when`. It is asked in this order.
template <std::predicate<cycles> Rule>
void expect_first_at(const Rule& fires, cycles when, std::source_location where = std::source_location::current()) {
  if (fires(when - cycles{1})) return detail::fail(where, "fires already at " + std::to_string(when.count() - 1));
  if (!fires(when)) detail::fail(where, "does not fire at " + std::to_string(when.count()));
}

}  // namespace vmxsys::testing
