#include "strand.hpp"

#include <algorithm>

#include "accounting.hpp"
#include "name_space.hpp"

namespace vmxsys::cpu {

namespace detail {

void resume_next(strand& on, std::coroutine_handle<> next) { on.frames_.back().next = next; }

void post(strand& on, instruction& issued, std::coroutine_handle<> then) {
  strand::frame& top = on.frames_.back();
  top.in_flight = &issued;
  top.next = then;
}

}  // namespace detail

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
  while (!frames_.empty()) {
    { program last = std::move(frames_.back().root); }  // scopes inside still find their frame
    frames_.pop_back();
  }
}

std::uint64_t strand::rsp() const { return name_space::rsp_of(id_); }

void strand::start(program root, const code_location& where) {
  root.handle().promise().on = this;
  const auto first = root.handle();
  frames_.push_back({std::move(root), first, nullptr, &where, false});
}

void strand::push(program handler, const code_location& where, bool interrupts_enabled) {
  start(std::move(handler), where);
  frames_.back().interrupts_enabled = interrupts_enabled;
}

bool strand::pop() {
  const bool enabled = frames_.back().interrupts_enabled;
  { program done = std::move(frames_.back().root); }
  frames_.pop_back();
  return enabled;
}

// The trampoline: runs coroutines of the top frame until one issues an instruction.
strand::state strand::run() {
  constexpr unsigned most_resumptions = 10'000'000;  // programs that call programs for ever, without an instruction
  frame* top = &frames_.back();
  for (unsigned resumptions = 0; top->in_flight == nullptr; ++resumptions) {
    if (resumptions == most_resumptions) return state::endless;
    if (!top->next) {
      if (!top->root.handle().done()) {
        top->root.release();  // what it left behind cannot be trusted to be destroyed
        return state::lost;
      }
      detail::promise_base& root = top->root.handle().promise();
      if (root.error) std::rethrow_exception(root.error);
      return frames_.size() > 1 ? state::handler_done : state::ended;
    }
    const std::coroutine_handle<> next = top->next;
    top->next = {};
    next.resume();
    top = &frames_.back();
  }
  return state::issued;
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

spin_subject::~spin_subject() { await(nullptr, since_); }

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
  if (on_cpu_) total_ += now - since_;
  since_ = now;
  on_cpu_ = on_cpu;
}

}  // namespace vmxsys::cpu
