#include "machine.hpp"

#include <stdexcept>

#include <vmxsys/apic/local/arbitration.hpp>
#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/cpu/facts/cpu_facts.hpp>

#include "logical_cpu.hpp"

namespace vmxsys::cpu {

machine::machine(machine_config config)
    : config_{std::move(config)},
      transitions_{config_.costs, config_.capabilities},
      memory_{time_, config_.shape, config_.costs} {
  const unsigned count = config_.shape.cpus();
  if (count == 0) throw std::invalid_argument("a machine needs at least one CPU");
  cpus_.reserve(count);
  for (unsigned i = 0; i < count; ++i) cpus_.push_back(make_logical_cpu(*this, i));
}

machine::~machine() = default;

void machine::connect(boot_if& software) {
  for (auto& c : cpus_) c->connect(software);
}

void machine::attach(eoi_listener& who) {
  if (eoi_listeners_.empty())
    eoi_slot_ = time_.add_slot(this, [](void* self, cycles now) { static_cast<machine*>(self)->deliver_eois(now); });
  eoi_listeners_.push_back(&who);
}

void machine::broadcast_eoi(std::uint8_t vector, unsigned from, cycles now) {
  if (eoi_listeners_.empty()) return;
  eois_.push_back({now + max(config_.costs.interrupt.eoi_broadcast, cycles{1}), vector, from});
  time_.arm(eoi_slot_, eois_.front().at, phase::message);
}

void machine::deliver_eois(cycles now) {
  while (!eois_.empty() && eois_.front().at == now) {
    const eoi_message e = eois_.front();
    eois_.pop_front();
    for (eoi_listener* who : eoi_listeners_) who->eoi(e.vector, e.from, now);
  }
  if (!eois_.empty()) time_.arm(eoi_slot_, eois_.front().at, phase::message);
}

void machine::run_until(cycles end) {
  const frame_pool::in_use pool{names_.frames()};
  time_.run_until(end);
}

void machine::check_accounting() {
  for (auto& c : cpus_) {
    c->close_accounting(time_.now());
    c->account().check(time_.now(), c->number());
  }
}

void machine::materialise() {
  for (auto& c : cpus_) c->materialise(time_.now());
}

cpu_set machine::recipients(const apic::interrupt_command& command, std::uint32_t sender) {
  cpu_set all;
  std::optional<apic::arbitration_candidate> winner;
  for (auto& c : cpus_) {
    if (!apic::addresses(command, sender, c->local_apic().address())) continue;
    if (command.mode != apic::delivery_mode::lowest_priority) {
      all.set(c->number());
      continue;
    }
    if (!c->local_apic().software_enabled()) continue;  // it would not accept
    const apic::arbitration_candidate candidate{c->number(), c->local_apic().task_priority()};
    if (!winner || apic::beats(candidate, *winner, config_.arbitration, last_winner_)) winner = candidate;
  }
  if (winner) all.set(last_winner_ = winner->id);
  return all;
}

void machine::send(const apic::interrupt_command& command, unsigned from, cycles now, fact_id cause) {
  const auto deliver = [&](logical_cpu& to) {
    to.post({now + config_.shape.flight(from, to.number(), config_.costs.interrupt), from, 0, apic::message_of(command),
             cause});
  };
  if (not_x2apic_ == 0 && command.mode != apic::delivery_mode::lowest_priority) {
    if (const std::optional<std::uint32_t> only = apic::only_target(command, from)) {
      if (*only < cpus_.size()) deliver(*cpus_[*only]);
      return;
    }
    for (auto& c : cpus_)
      if (apic::addresses(command, from, c->number())) deliver(*c);
    return;
  }
  recipients(command, from).for_each([&](unsigned to) { deliver(*cpus_[to]); });
}

void machine::post(unsigned to, cycles at, unsigned sender, apic::interrupt_message message) {
  cpus_.at(to)->post({at, sender, 0, message, {}});
}

}  // namespace vmxsys::cpu
