#include "bench_timing.hpp"

#include <algorithm>
#include <boost/describe/members.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>
#include <boost/mp11/algorithm.hpp>
#include <numeric>
#include <utility>

#include <vmxsys/vmx/vmcs/exit.hpp>

namespace vmxsys::platform {

namespace json = boost::json;

namespace {

template <class Summary, class F>
void for_each_member(F act) {
  boost::mp11::mp_for_each<boost::describe::describe_members<Summary, boost::describe::mod_public>>(act);
}
template <class Summary>
json::value json_of(const Summary& s) {
  if (s.empty()) return nullptr;
  json::object o;
  for_each_member<Summary>([&](auto member) { o[member.name] = json::value_from(s.*member.pointer); });
  return o;
}
template <class Summary>
Summary from_json(const json::value& v) {
  Summary s;
  if (v.is_null()) return s;
  for_each_member<Summary>([&](auto member) {
    auto& to = s.*member.pointer;
    to = json::value_to<std::remove_reference_t<decltype(to)>>(v.at(member.name));
  });
  return s;
}

}  // namespace

void tag_invoke(json::value_from_tag, json::value& to, const cycle_summary& s) { to = json_of(s); }
cycle_summary tag_invoke(json::value_to_tag<cycle_summary>, const json::value& from) {
  return from_json<cycle_summary>(from);
}
void tag_invoke(json::value_from_tag, json::value& to, const exit_summary& s) { to = json_of(s); }
exit_summary tag_invoke(json::value_to_tag<exit_summary>, const json::value& from) {
  return from_json<exit_summary>(from);
}

std::string shown(const cycle_summary& s, std::uint64_t cycle_summary::*figure) {
  return s.empty() ? no_figure : std::to_string(s.*figure);
}
std::string shown(const exit_summary& s) { return s.empty() ? no_figure : s.usual == 0 ? "-" : s.reasons; }
std::string shown_count(const exit_summary& s) { return s.empty() ? no_figure : std::to_string(s.usual); }

cycle_summary cycle_samples::summary() const {
  if (all_.empty()) return {};
  std::vector<std::uint64_t> sorted = all_;
  std::sort(sorted.begin(), sorted.end());
  const std::size_t last = sorted.size() - 1;
  const auto sum = std::accumulate(sorted.begin(), sorted.end(), std::uint64_t{0});
  return {sorted.size(), static_cast<double>(sum) / static_cast<double>(sorted.size()), sorted[last / 2],
          sorted[last * 99 / 100], sorted[last]};
}

exit_summary exit_samples::summary() const {
  exit_summary s;
  std::uint64_t steps = 0, exits = 0, most = 0;
  const std::vector<vmx::exit_reason>* usual = nullptr;
  for (const auto& [pattern, count] : patterns_) {
    steps += count;
    exits += count * pattern.size();
    if (count > most) {
      most = count;
      usual = &pattern;
    }
  }
  if (usual == nullptr) return s;
  s.count = steps;
  s.mean = static_cast<double>(exits) / static_cast<double>(steps);
  s.usual = static_cast<std::uint32_t>(usual->size());
  s.share = static_cast<double>(most) / static_cast<double>(steps);
  for (auto it = usual->begin(); it != usual->end();) {
    const auto next = std::find_if(it, usual->end(), [&](vmx::exit_reason r) { return r != *it; });
    if (!s.reasons.empty()) s.reasons += ", ";
    if (next - it > 1) s.reasons += std::to_string(next - it) + " x ";
    s.reasons += vmx::trace_name_of(*it);
    it = next;
  }
  return s;
}

// -- interrupts -------------------------------------------------------------------------------------------------------

void ipi_timing::observe(const cpu::fact_view& fact) {
  const cpu::fact_header& header = fact.header();
  if (const auto* f = fact.as<models::ipi_bench_fact>()) return on_step(*f, header.at);
  if (!measuring_) return;
  const std::uint32_t source = header.id.source;  // of these facts the CPU
  if (fact.as<cpu::ipi_sent_fact>() != nullptr) {
    if (sending_ && source == sender_) sent_[header.id.index] = header.at;
  } else if (fact.as<cpu::ipi_arrived_fact>() != nullptr) {
    if (header.cause.source != sender_) return;
    if (const auto sent = sent_.find(header.cause.index); sent != sent_.end())
      deliveries_[source] = {sent->second, header.at, cycles{0}, {}};
  } else if (const auto* f = fact.as<cpu::vm_exit_fact>()) {
    if (source == sender_) {
      sender_exits_.push_back(f->reason);  // not looked at after `left`
    } else if (const auto d = deliveries_.find(source); d != deliveries_.end()) {
      d->second.exits.push_back(f->reason);
    }
  }
}

void ipi_timing::on_step(const models::ipi_bench_fact& f, cycles at) {
  using step = models::ipi_step;
  if (f.step == step::issued) {
    if (measuring_ && last_entered_ != issued_) last_.add(last_entered_ - issued_);  // of the round before
    measuring_ = at >= from_;
    if (!measuring_) return;
    sending_ = true;
    sender_ = f.on;
    issued_ = last_entered_ = at;
    sender_exits_.clear();
    sent_.clear();
    deliveries_.clear();
    return;
  }
  if (!measuring_) return;
  if (f.step == step::left) {
    sending_ = false;
    ++rounds_;
    sender_time_.add(at - issued_);
    sending_exits_.add(sender_exits_);
    return;
  }
  const auto found = deliveries_.find(f.on);
  if (found == deliveries_.end()) return;
  delivery& d = found->second;
  if (f.step == step::entered) {
    d.entered = last_entered_ = at;
    send_.add(d.sent - issued_);
    flight_.add(d.arrived - d.sent);
    receive_.add(at - d.arrived);
    latency_.add(at - issued_);
  } else if (f.step == step::handled) {
    receiving_exits_.add(d.exits);
    deliveries_.erase(found);
  }
}

ipi_timing_result ipi_timing::result() const {
  ipi_timing_result r;
  r.rounds = rounds_;
  r.send = send_.summary();
  r.flight = flight_.summary();
  r.receive = receive_.summary();
  r.latency = latency_.summary();
  r.last = last_.summary();
  r.sender = sender_time_.summary();
  r.sending = sending_exits_.summary();
  r.receiving = receiving_exits_.summary();
  return r;
}

// -- timers -----------------------------------------------------------------------------------------------------------

void timer_timing::observe(const cpu::fact_view& fact) {
  if (const auto* f = fact.as<models::timer_bench_fact>()) return on_step(*f, fact.header().at);
  if (!measuring_) return;
  if (const auto* f = fact.as<cpu::vm_exit_fact>(); f != nullptr && fact.header().id.source == on_)
    exits_.push_back(f->reason);
}

void timer_timing::on_step(const models::timer_bench_fact& f, cycles at) {
  using step = models::timer_step;
  if (f.step == step::arming) {
    measuring_ = at >= from_;
    entered_ = false;
    on_ = f.on;
    began_ = at;
    exits_.clear();
    return;
  }
  if (!measuring_) return;
  switch (f.step) {
    case step::armed:
      arm_.add(at - began_);
      arming_.add(std::exchange(exits_, {}));
      break;
    case step::entered:
      if (!std::exchange(entered_, true)) late_.add(at - f.due);
      break;
    case step::expired:
      ++rounds_;
      firing_.add(std::exchange(exits_, {}));
      measuring_ = false;
      break;
    default:
      break;
  }
}

timer_timing_result timer_timing::result() const {
  timer_timing_result r;
  r.rounds = rounds_;
  r.arm = arm_.summary();
  r.late = late_.summary();
  r.arming = arming_.summary();
  r.firing = firing_.summary();
  return r;
}

}  // namespace vmxsys::platform
