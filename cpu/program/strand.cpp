#include "strand.hpp"

#include <algorithm>
#include <utility>

#include <vmxsys/cpu/facts/accounting.hpp>

#include "name_space.hpp"

namespace vmxsys::cpu {

strand::strand(name_space& names, std::string name) : names_{names}, name_{std::move(name)}, id_{names.add(*this)} {}

strand::~strand() {
  abandon();
  for (spin_subject* s : subjects_) {
    s->awaited_ = nullptr;
  }
  if (carrier_ != nullptr) carrier_->passenger_ = nullptr;
  if (passenger_ != nullptr) passenger_->carrier_ = nullptr;
  names_.remove(id_);
}

std::uint64_t& strand::reg(gpr r) {
  if (!registers_) {
    registers_ = std::make_unique<std::array<std::uint64_t, 16>>();
    (*registers_)[static_cast<std::size_t>(gpr::rsp)] = rsp();
  }
  return (*registers_)[static_cast<std::size_t>(r)];
}

void strand::abandon() {
  while (!frames_.empty()) pop();
}

std::uint64_t strand::rsp() const { return name_space::rsp_of(id_); }

void strand::start(program root, const code_location& where) {
  root.handle().promise().on = this;
  root.handle().promise().at = &position_;
  if (!frames_.empty()) frames_.back().left_at = position_;
  position_ = {root.handle(), nullptr, &where};
  frames_.push_back({std::move(root), {}, false});
}

void strand::push(program handler, const code_location& where, bool interrupts_enabled) {
  start(std::move(handler), where);
  frames_.back().interrupts_enabled = interrupts_enabled;
}

bool strand::pop() {
  const bool enabled = frames_.back().interrupts_enabled;
  { program done = std::move(frames_.back().root); }  // scopes inside still find their frame
  frames_.pop_back();
  position_ = frames_.empty() ? detail::strand_position{} : frames_.back().left_at;
  return enabled;
}

strand::state strand::end_of_root() {
  program& program_of = frames_.back().root;
  if (!program_of.handle().done()) {
    program_of.release();  // what it left behind cannot be trusted to be destroyed
    return state::lost;
  }
  const detail::promise_base& root = program_of.handle().promise();
  if (root.error) std::rethrow_exception(root.error);
  return frames_.size() > 1 ? state::handler_done : state::ended;
}

void strand::set_cpu(logical_cpu* cpu, cycles now) {
  if ((cpu_ != nullptr) != (cpu != nullptr))
    for (spin_subject* s : subjects_) s->set_on_cpu(cpu != nullptr, now);
  cpu_ = cpu;
  if (passenger_ != nullptr) passenger_->set_cpu(cpu, now);
}

void strand::set_passenger(strand* guest, cycles now) {
  if (passenger_ == guest) return;
  if (passenger_ != nullptr) {
    passenger_->set_cpu(nullptr, now);
    passenger_->carrier_ = nullptr;
  }
  passenger_ = guest;
  if (guest != nullptr) {
    if (guest->carrier_ != nullptr) guest->carrier_->passenger_ = nullptr;  // another host strand goes on with it
    guest->carrier_ = this;
    guest->set_cpu(cpu_, now);
  }
}

spin_subject::~spin_subject() {
  watchers_.reset();
  await(nullptr, since_);
}

void spin_subject::await(strand* who, cycles now) {
  if (awaited_ != nullptr) {
    auto& of = awaited_->subjects_;
    if (auto it = std::find(of.begin(), of.end(), this); it != of.end()) {
      *it = of.back();
      of.pop_back();
    }
  }
  awaited_ = who;
  if (who != nullptr) who->subjects_.push_back(this);
  set_on_cpu(who == nullptr || who->on_cpu() != nullptr, now);
}

void spin_subject::set_on_cpu(bool on_cpu, cycles now) {
  if (on_cpu == on_cpu_) return;
  if (on_cpu_) total_ += now - since_;
  if (since_ < now) before_ = on_cpu_;
  since_ = now;
  on_cpu_ = on_cpu;
  if (!watchers_) return;
  for (spin_subject_watcher* w : *watchers_) w->subject_changed(now);
}

void spin_subject::unwatch(spin_subject_watcher& who) {
  if (watchers_) std::erase(*watchers_, &who);
}

}  // namespace vmxsys::cpu
