#include "interrupt_lines.hpp"

#include <vmxsys/models/kernel/kernel.hpp>

namespace vmxsys::models {

namespace isa = cpu::isa;

interrupt_lines::interrupt_lines(kernel& host) : host_{host} {
  constexpr std::uint64_t line = 64;
  cpu::memory& memory = host.hardware().physical();
  const auto take = [&] { return &memory.word_at(host.memory().take(line, line)); };
  requests_ = take();
  irr_pending_ = take();
  irr_ = {take(), take()};
}

cpu::program interrupt_lines::set_irr(std::uint8_t vector) {
  co_await isa::fetch_or(irr(vector), 1);
  co_await isa::store(*irr_pending_, 1);
}

cpu::program interrupt_lines::make_request() { co_await isa::fetch_or(*requests_, 1); }

cpu::program interrupt_lines::take_requests() {
  const unsigned cpu = host_.index_of(co_await isa::this_cpu());
  const cpu::memory& memory = host_.hardware().physical();
  if (!memory.load_hits(*requests_, cpu)) co_await isa::load(*requests_);
  if (!memory.store_hits(*requests_, cpu)) co_await isa::fetch_and(*requests_, 0);
}

cpu::program interrupt_lines::find_irr(std::uint8_t vector) {
  const unsigned cpu = host_.index_of(co_await isa::this_cpu());
  const cpu::memory& memory = host_.hardware().physical();
  if (!memory.load_hits(*irr_pending_, cpu)) co_await isa::load(*irr_pending_);
  if (!memory.load_hits(irr(vector), cpu)) co_await isa::load(irr(vector));
}

cpu::program interrupt_lines::clear_irr(std::uint8_t vector) {
  const unsigned cpu = host_.index_of(co_await isa::this_cpu());
  const cpu::memory& memory = host_.hardware().physical();
  if (!memory.store_hits(irr(vector), cpu)) co_await isa::fetch_and(irr(vector), 0);
  if (!memory.store_hits(*irr_pending_, cpu)) co_await isa::store(*irr_pending_, 0);
}

cpu::program interrupt_lines::set_mode() {
  const unsigned cpu = host_.index_of(co_await isa::this_cpu());
  if (!host_.hardware().physical().store_hits(*requests_, cpu)) co_await isa::store(*requests_, 0);
}

}  // namespace vmxsys::models
