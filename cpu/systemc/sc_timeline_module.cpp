#include "sc_timeline_module.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>

#include <vmxsys/cpu/core/logical_cpu.hpp>
#include <vmxsys/cpu/facts/accounting.hpp>

namespace vmxsys::cpu {

using sc_core::sc_time;
using sc_core::sc_time_stamp;

namespace {
// A tick of the kernel that is longer than this part of a cycle is worth a word.
constexpr double noticeable_ppm = 100'000;
}  // namespace

timeline_module::timeline_module(const sc_core::sc_module_name& name, machine_config config, std::uint64_t tsc_khz)
    : sc_module{name},
      owned_{std::make_unique<machine>(std::move(config))},
      machine_{*owned_},
      tsc_khz_{tsc_khz},
      write_slot_{machine_.time().add_slot(this, on_write)} {
  construct();
}

timeline_module::timeline_module(const sc_core::sc_module_name& name, machine& hardware, std::uint64_t tsc_khz)
    : sc_module{name}, machine_{hardware}, tsc_khz_{tsc_khz}, write_slot_{machine_.time().add_slot(this, on_write)} {
  construct();
}

timeline_module::~timeline_module() { machine_.connect_bus(nullptr); }

void timeline_module::construct() {
  VMXSYS_SC_HAS_PROCESS(timeline_module);
  masters_.resize(machine_.cpus());
  machine_.connect_bus(this);
  SC_METHOD(advance);
  sensitive << wake_;
  SC_THREAD(carry);
}

void timeline_module::end_of_elaboration() {
  clock_.emplace(cycle_clock::of_kernel(tsc_khz_));
  if (const double ppm = clock_->rounding_ppm(); ppm > noticeable_ppm) {
    char line[200];
    std::snprintf(line, sizeof line,
                  "kernel time is coarse for a TSC of %llu kHz: a cycle is seen up to %.0f ppm of a cycle late from "
                  "outside; inside the machine nothing is rounded",
                  static_cast<unsigned long long>(tsc_khz_), ppm);
    SC_REPORT_INFO(message::resolution, text(line).c_str());
  }
}

const cycle_clock& timeline_module::clock() const {
  if (!clock_) SC_REPORT_ERROR(message::misuse, text("time is not known before the end of elaboration").c_str());
  return *clock_;
}

// -- running ----------------------------------------------------------------------------------------------------------

// How far the machine may run now: the cycle at which it has to stop. At T, cycles up to floor(T) are due. The next
// action from outside comes at a time that the kernel knows, and reaches the machine one cycle after that.
cycles timeline_module::limit() const {
  const std::uint64_t now = sc_time_stamp().value();
  const cycles due = clock_->cycle_of_ticks(now) + cycles{1};
  const sc_time quantum = tlm::tlm_global_quantum::instance().compute_local_quantum();
  if (quantum.value() == 0) return due;
  if (horizon_declared() && horizon_.value() <= now) return due;
  std::uint64_t ahead = std::min(quantum.value(), sc_core::sc_time_to_pending_activity().value());
  ahead = std::min(ahead, std::numeric_limits<std::uint64_t>::max() - now);
  const cycles end = clock_->cycle_of_ticks(now + ahead) + cycles{1};
  return horizon_declared() ? min(end, clock_->first_from(horizon_)) : end;
}

void timeline_module::advance() {
  run(limit());
  schedule();
}

void timeline_module::run(cycles end) {
  if (running_) SC_REPORT_ERROR(message::misuse, text("called out of one of the machine's own events").c_str());
  if (failure_ || end <= machine_.time().now()) return;
  running_ = true;
  try {
    machine_.run_until(end);
  } catch (...) {
    failure_ = std::current_exception();
  }
  running_ = false;
  if (failure_) report_failure();
}

void timeline_module::report_failure() {
  const auto software = [this](const std::string& what) {
    SC_REPORT_ERROR(message::software,
                    text(what + " (cycle " + std::to_string(machine_.time().now().count()) + ")").c_str());
  };
  try {
    std::rethrow_exception(failure_);
  } catch (const sc_core::sc_report&) {
    throw;
  } catch (const invariant_error& error) {
    SC_REPORT_FATAL(message::invariant, text(error.what()).c_str());
  } catch (const std::exception& error) {
    software(error.what());
  } catch (...) {
    software("an exception that is no std::exception");
  }
}

// One pending notification, for the machine's next event; the kernel keeps the earlier one by itself.
void timeline_module::schedule() {
  if (failure_ || !clock_) return;
  const cycles next = machine_.time().next();
  if (next == cycles::never()) return;
  const std::uint64_t at = clock_->ticks_of(next);
  const std::uint64_t now = sc_time_stamp().value();
  wake_.notify(sc_time::from_value(at > now ? at - now : 0));
}

void timeline_module::run_for(const sc_time& duration) {
  horizon(sc_time_stamp() + duration);
  sc_core::sc_start(duration);
  synchronise();
}

void timeline_module::synchronise() {
  run(clock().first_from(sc_time_stamp()));
  schedule();
}

// -- from outside -----------------------------------------------------------------------------------------------------

cycles timeline_module::arrival(const sc_time& delay) const {
  const cycles at = clock().cycle_of(sc_time_stamp() + delay) + cycles{1};
  if (running_) SC_REPORT_ERROR(message::misuse, text("called out of one of the machine's own events").c_str());
  if (at < machine_.time().now())
    SC_REPORT_ERROR(message::late,
                    text("a message of cycle " + std::to_string(at.count()) + " comes when the machine is at cycle " +
                         std::to_string(machine_.time().now().count()) +
                         ": declare the end of the run with horizon() or use run_for()")
                        .c_str());
  return at;
}

void timeline_module::post(unsigned sender, unsigned to, cycles at, apic::interrupt_message message) {
  machine_.post(to, at, sender, message);
  schedule();
}

void timeline_module::write(unsigned sender, physical_address to, const void* from, std::size_t bytes,
                            const sc_time& delay) {
  const cycles at = arrival(delay);
  const auto* first = static_cast<const unsigned char*>(from);
  const auto place = std::upper_bound(writes_.begin(), writes_.end(), std::pair{at, sender},
                                      [](const auto& key, const outside_write& w) {
                                        return key.first != w.at ? key.first < w.at : key.second < w.sender;
                                      });
  writes_.insert(place, {at, sender, to, {first, first + bytes}});
  machine_.time().arm(write_slot_, writes_.front().at, phase::message);
  schedule();
}

void timeline_module::take_writes(cycles now) {
  while (!writes_.empty() && writes_.front().at == now) {
    const outside_write w = std::move(writes_.front());
    writes_.pop_front();
    machine_.physical().write(w.to, w.bytes.data(), w.bytes.size());
  }
  if (!writes_.empty()) machine_.time().arm(write_slot_, writes_.front().at, phase::message);
}

void timeline_module::catch_up() {
  clock();
  run(here() + cycles{1});
  schedule();
}

void timeline_module::act_at(slot which, cycles at) {
  machine_.time().arm(which, at, phase::message);
  schedule();
}

void timeline_module::read(physical_address from, void* to, std::size_t bytes) {
  catch_up();
  machine_.physical().read(from, to, bytes);
  overlay(from, to, bytes, here() + cycles{1});
}

void timeline_module::peek(physical_address from, void* to, std::size_t bytes) const {
  machine_.physical().read(from, to, bytes);
  overlay(from, to, bytes, clock_ ? here() + cycles{1} : cycles{0});
}

void timeline_module::overlay(physical_address from, void* to, std::size_t bytes, cycles until) const {
  for (const outside_write& w : writes_) {
    if (w.at > until) return;
    const physical_address begin = std::max(from, w.to);
    const physical_address end = std::min(from + bytes, w.to + w.bytes.size());
    if (begin < end)
      std::memcpy(static_cast<unsigned char*>(to) + (begin - from), w.bytes.data() + (begin - w.to), end - begin);
  }
}

// -- to the outside ---------------------------------------------------------------------------------------------------

void timeline_module::attach(unsigned cpu, bus_master& master) {
  if (cpu >= masters_.size())
    SC_REPORT_ERROR(message::binding, text("there is no CPU " + std::to_string(cpu)).c_str());
  else if (masters_[cpu] != nullptr)
    SC_REPORT_ERROR(message::binding, text("CPU " + std::to_string(cpu) + " has two modules").c_str());
  else
    masters_[cpu] = &master;
}

// In one of the machine's events, possibly ahead of kernel time.
bool timeline_module::issue(const bus_request& request, cycles now) {
  const bus_master* master = masters_[request.cpu];
  if (master == nullptr || !master->connected()) return false;
  accesses_.push(request, now, machine_.time(), *clock_);
  return true;
}

// The bridge.
void timeline_module::carry() {
  for (;;) transport(accesses_.take());
}

void timeline_module::transport(const bus_request& request) {
  for (unsigned i = 0; i < request.bytes; ++i) data_[i] = static_cast<unsigned char>(request.value >> 8 * i);
  payload_.set_command(request.write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND);
  payload_.set_address(request.address);
  payload_.set_data_ptr(data_);
  payload_.set_data_length(request.bytes);
  payload_.set_streaming_width(request.bytes);
  payload_.set_byte_enable_ptr(nullptr);
  payload_.set_byte_enable_length(0);
  payload_.set_dmi_allowed(false);
  payload_.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
  sc_time delay;
  masters_[request.cpu]->transport(payload_, delay);

  std::uint64_t value = ~std::uint64_t{0};
  if (payload_.is_response_ok()) {
    value = 0;
    for (unsigned i = request.bytes; i > 0; --i) value = value << 8 | data_[i - 1];
  } else if (payload_.get_response_status() != tlm::TLM_ADDRESS_ERROR_RESPONSE) {
    char line[120];
    std::snprintf(line, sizeof line, "CPU %u, %s of %u bytes at %llxH: %s", request.cpu,
                  request.write ? "write" : "read", static_cast<unsigned>(request.bytes),
                  static_cast<unsigned long long>(request.address), payload_.get_response_string().c_str());
    SC_REPORT_WARNING(message::bus_error, text(line).c_str());
  }
  machine_.cpu(request.cpu).bus_answer(request.tag, value, arrival(delay));
  schedule();
}

}  // namespace vmxsys::cpu
