// Random operation streams in all three modes against a restatement of the rules that shares no code and no data
// structure with the product: ordered sets and plain flags, everything computed from scratch on every question.
#include <array>
#include <gtest/gtest.h>
#include <random>
#include <set>

#include <vmxsys/apic/local/local_apic.hpp>

namespace {

using vmxsys::cycles;
using namespace vmxsys::apic;

constexpr int hardware_id = 0x123;

struct naive_entry {
  int vector = 0, mode = 0;
  bool low = false, level = false, remote = false, masked = true;

  bool waits_for_eoi_of(int v) const { return remote && vector == v; }
};

class naive_apic {
 public:
  enum { lint0, lint1, error_entry };

  bool accept(int vector, bool level) {
    if (!enabled) return false;
    if (vector < 16) {
      error(6);
      return false;
    }
    if (!waiting.insert(vector).second) return false;
    level ? (void)level_set.insert(vector) : (void)level_set.erase(vector);
    return true;
  }
  int priority() const {
    const int served_class = served.empty() ? 0 : *served.rbegin() / 16;
    return tpr / 16 >= served_class ? tpr : served_class * 16;
  }
  int request() const {
    for (auto v = waiting.rbegin(); v != waiting.rend(); ++v)
      if (*v / 16 > priority() / 16) return *v;
    return -1;
  }
  int acknowledge() {
    const int vector = request();
    if (vector < 0) return spurious;
    waiting.erase(vector);
    served.insert(vector);
    return vector;
  }
  int end_of_interrupt() {  // the vector to broadcast, or -1
    if (served.empty()) return -1;
    const int vector = *served.rbegin();
    served.erase(vector);
    const bool broadcasts = level_set.count(vector) && !suppress;
    for (int pin : {lint0, lint1})
      if (entries[pin].waits_for_eoi_of(vector)) entries[pin].remote = false;
    settle();
    return broadcasts ? vector : -1;
  }
  void error(int bit) {
    if (!pending_errors.insert(bit).second) return;
    if (!entries[error_entry].masked) accept(entries[error_entry].vector, false);
  }
  void write_esr() {
    visible_errors = pending_errors;
    pending_errors.clear();
  }
  void disable() {
    enabled = false;
    for (naive_entry& e : entries) e.masked = true;
  }
  void write_entry(int which, naive_entry e) {
    const bool was_remote = entries[which].remote;
    e.masked = e.masked || !enabled;
    e.remote = was_remote && e.mode == 0 && e.level;
    entries[which] = e;
    if (which == error_entry) return;
    if (level_demands(which) && e.vector < 16 && !e.remote) error(6);
    settle();
  }
  /// The delivery mode of a message to the core, or -1.
  int signal(int pin) {
    const naive_entry e = entries[pin];
    if (e.masked) return -1;
    if (e.mode == 0 && !e.level) accept(e.vector, false);
    if (e.mode == 0 && e.level && !e.remote) {
      entries[pin].remote = e.vector >= 16;
      accept(e.vector, true);
    }
    return e.mode == 2 || e.mode == 4 || e.mode == 5 || e.mode == 7 ? e.mode : -1;
  }
  int set_pin(int pin, bool high) {
    const bool before = asserted(pin);
    pins[pin] = high;
    if (before || !asserted(pin)) return -1;
    if (mode == apic_mode::disabled) return pin == lint0 ? 7 : 4;
    return signal(pin);
  }
  bool ext_int() const {
    if (mode == apic_mode::disabled) return asserted(lint0);
    for (int pin : {lint0, lint1})
      if (asserted(pin) && !entries[pin].masked && entries[pin].mode == 7) return true;
    return false;
  }
  bool is_addressed(int destination, bool logical) const {
    if (destination == 255) return true;
    if (!logical) return destination == id;
    if (dfr == 15) return (destination & ldr) != 0;
    return dfr == 0 && destination / 16 == ldr / 16 && (destination & ldr & 15) != 0;
  }
  /// All that RESET, INIT and turning off undo; what survives is put back by whoever asks.
  void reset_registers() {
    const naive_apic old = *this;
    *this = naive_apic{};
    mode = old.mode;
    id = old.id;
    pins = old.pins;
  }

  apic_mode mode = apic_mode::xapic;
  bool enabled = false, suppress = false;
  int tpr = 0, spurious = 0xFF, id = hardware_id % 256, ldr = 0, dfr = 15, icr_destination = 0;
  std::set<int> waiting, served, level_set, pending_errors, visible_errors;
  std::array<naive_entry, 3> entries{};
  std::array<bool, 2> pins{};

 private:
  bool asserted(int pin) const { return pins[pin] != entries[pin].low; }
  bool level_demands(int pin) const {
    return !entries[pin].masked && entries[pin].mode == 0 && entries[pin].level && asserted(pin);
  }
  /// Levels that are unmasked, asserted and not yet accepted are accepted.
  void settle() {
    for (int pin : {lint0, lint1})
      if (level_demands(pin) && !entries[pin].remote && entries[pin].vector >= 16) {
        entries[pin].remote = true;
        accept(entries[pin].vector, true);
      }
  }
};

std::uint32_t bits_of(const std::set<int>& set) {
  std::uint32_t bits = 0;
  for (int bit : set) bits |= 1U << bit;
  return bits;
}

std::uint32_t encode(const naive_entry& e) {
  return static_cast<std::uint32_t>(e.vector | e.mode << 8 | e.low << 13 | e.remote << 14 | e.level << 15 |
                                    e.masked << 16);
}

void expect_same_set(const vector_set& ours, const std::set<int>& naive) {
  for (int v = 0; v < 256; ++v) ASSERT_EQ(ours.test(static_cast<std::uint8_t>(v)), naive.count(v) == 1) << v;
}

/// How often the interesting things happened: a stream that never meets them proves nothing.
struct coverage {
  int remote_irr = 0, level_again = 0, messages = 0, addressed = 0, not_addressed = 0, mode_changes = 0, errors = 0;
};

class stream {
 public:
  stream(unsigned seed, coverage& seen) : random_{seed}, seen_{seen} {
    local_apic_options options;
    options.xapic_id_writable = true;
    ours_ = local_apic{hardware_id, true, {}, options};
  }

  void step() {
    switch (pick(24)) {
      case 0:
        return write_svr();
      case 1:
        return write_tpr();
      case 2:
      case 3:
      case 4:
        return acknowledge();
      case 5:
      case 6:
      case 7:
        return end();
      case 8:
        return rare();
      case 9:
      case 10:
      case 11:
        return drive_pin();
      case 12:
        return pulse();
      case 13:
      case 14:
        return write_entry();
      case 15:
        return write_destination_registers();
      case 16:
        return ask_destination();
      case 17:
        return send();
      case 18:
        return errors();
      default:
        return accept();
    }
  }

  void check() const {
    ASSERT_EQ(ours_.mode(), naive_.mode);
    ASSERT_EQ(ours_.highest_request(), naive_.request());
    ASSERT_EQ(ours_.processor_priority(), naive_.priority());
    ASSERT_EQ(ours_.errors(), bits_of(naive_.pending_errors) | bits_of(naive_.visible_errors));
    ASSERT_EQ(ours_.ext_int_asserted(), naive_.ext_int());
    if (naive_.mode == apic_mode::disabled) return;
    for (int which = 0; which < 3; ++which)
      ASSERT_EQ(read(msr::lvt_lint0 + which), encode(naive_.entries[which])) << "entry " << which;
    ASSERT_EQ(read(msr::esr), bits_of(naive_.visible_errors));
  }

  void check_sets() const {
    expect_same_set(ours_.requests(), naive_.waiting);
    expect_same_set(ours_.in_service(), naive_.served);
    expect_same_set(ours_.level_triggered(), naive_.level_set);
  }

 private:
  int pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  bool on() const { return naive_.mode != apic_mode::disabled; }
  register_outcome write(std::uint32_t number, int value) {
    const auto unsigned_value = static_cast<std::uint32_t>(value);
    if (naive_.mode == apic_mode::xapic) return ours_.write_page(offset_of(number), 4, unsigned_value, cycles{0});
    return ours_.write_msr(number, unsigned_value, cycles{0});
  }
  std::uint64_t read(std::uint32_t number) const {
    local_apic copy = ours_;
    if (naive_.mode == apic_mode::xapic) return copy.read_page(offset_of(number), 4, cycles{0}).value;
    return copy.read_msr(number, cycles{0}).value;
  }
  int any_vector() { return pick(4) ? 0x40 + pick(0x30) : pick(8) ? pick(256) : pick(16); }

  void accept() {
    const int vector = any_vector();
    const bool level = pick(2) != 0;
    ASSERT_EQ(ours_.accept(static_cast<std::uint8_t>(vector), level), naive_.accept(vector, level));
  }
  void acknowledge() { ASSERT_EQ(ours_.acknowledge(), naive_.acknowledge()); }
  void end() {
    if (!on()) return;
    const bool remote_before = naive_.entries[0].remote || naive_.entries[1].remote;
    const auto broadcast = write(msr::eoi, 0).eoi;
    ASSERT_EQ(broadcast ? int{broadcast->vector} : -1, naive_.end_of_interrupt());
    seen_.level_again += remote_before && (naive_.entries[0].remote || naive_.entries[1].remote);
  }
  void write_tpr() {
    const int value = pick(3) ? pick(256) : 0;
    if (!on()) return ours_.set_cr8(static_cast<std::uint8_t>(value >> 4)), void(naive_.tpr = value & 0xF0);
    write(msr::tpr, naive_.tpr = value);
  }
  void write_svr() {
    if (!on()) return;
    const bool enable = pick(8) != 0;
    enable ? void(naive_.enabled = true) : naive_.disable();
    naive_.suppress = pick(2) != 0;
    naive_.spurious = pick(256);
    write(msr::svr, naive_.spurious | naive_.enabled << 8 | naive_.suppress << 12);
  }

  void drive_pin() {
    const int pin = pick(2);
    const bool high = pick(2) != 0;
    const auto message = ours_.set_lint(static_cast<unsigned>(pin), high);
    ASSERT_EQ(message ? static_cast<int>(message->mode) : -1, naive_.set_pin(pin, high));
    seen_.messages += message.has_value();
    seen_.remote_irr += naive_.entries[pin].remote;
  }
  void pulse() {
    if (!on()) return;
    const int pin = pick(2);
    const auto message = ours_.raise_local(msr::lvt_lint0 + static_cast<std::uint32_t>(pin));
    ASSERT_EQ(message ? static_cast<int>(message->mode) : -1, naive_.signal(pin));
  }
  void write_entry() {
    if (!on()) return;
    const int which = pick(3);
    naive_entry e;
    e.vector = any_vector();
    e.masked = pick(4) == 0;
    if (which != naive_apic::error_entry) {
      e.mode = pick(2) ? 0 : pick(8);
      e.low = pick(4) == 0;
      e.level = pick(2) != 0;
      e.remote = pick(2) != 0;  // software cannot
    }
    write(msr::lvt_lint0 + which, static_cast<int>(encode(e)));
    naive_.write_entry(which, e);
  }

  void write_destination_registers() {
    if (naive_.mode != apic_mode::xapic) return;
    switch (pick(3)) {
      case 0:
        naive_.ldr = pick(256);
        write(msr::ldr, naive_.ldr << 24);
        break;
      case 1:
        naive_.dfr = pick(2) ? 15 : pick(3) ? 0 : pick(16);
        write(number_of(page::dfr), naive_.dfr << 28);
        break;
      case 2:
        naive_.id = pick(256);
        write(msr::id, naive_.id << 24 | pick(256));
        break;
    }
  }
  void ask_destination() {
    if (naive_.mode != apic_mode::xapic) return;
    const int destination = pick(4) ? pick(256) : pick(2) ? naive_.id : 255;
    const bool logical = pick(2) != 0;
    const std::uint64_t icr = static_cast<std::uint64_t>(destination) << 56 | (logical ? 0x4840U : 0x4040U);
    const bool addressed = naive_.is_addressed(destination, logical);
    ASSERT_EQ(addresses(decode_xapic_icr(icr), 0, ours_.address()), addressed) << destination << ' ' << logical;
    ++(addressed ? seen_.addressed : seen_.not_addressed);
  }
  void send() {
    if (naive_.mode != apic_mode::xapic) return;
    if (pick(2)) write(number_of(page::icr_high), (naive_.icr_destination = pick(256)) << 24 | pick(256));
    const int vector = any_vector();
    const register_outcome outcome = write(msr::icr, vector | 0x4000);
    ASSERT_EQ(outcome.ipi.has_value(), vector >= 16);
    if (vector < 16) return naive_.error(5);
    const auto destination = static_cast<std::uint32_t>(naive_.icr_destination);
    ASSERT_EQ(outcome.ipi->destination, destination == 255 ? broadcast_destination : destination);
  }
  void errors() {
    if (!on()) return;
    seen_.errors += !naive_.pending_errors.empty();
    if (pick(2)) {
      write(msr::esr, 0);
      return naive_.write_esr();
    }
    const bool faults = write(0x804, 0).fault;  // no such register
    ASSERT_EQ(faults, naive_.mode == apic_mode::x2apic);
    if (!faults) naive_.error(7);
  }

  void rare() {
    if (pick(20) != 0) return;
    if (pick(2)) return change_mode();
    ours_.init();
    naive_.reset_registers();
  }
  void change_mode() {
    const auto to = static_cast<apic_mode>(pick(3));
    const int from_mode = static_cast<int>(naive_.mode), to_mode = static_cast<int>(to);
    constexpr std::uint64_t base[] = {0xFEE00000, 0xFEE00800, 0xFEE00C00};
    const bool forbidden = (from_mode == 0 && to_mode == 2) || (from_mode == 2 && to_mode == 1);
    ASSERT_EQ(ours_.write_msr(msr::apic_base, base[to_mode], cycles{0}).fault, forbidden);
    if (forbidden || from_mode == to_mode) return;
    ++seen_.mode_changes;
    naive_.mode = to;
    if (to != apic_mode::x2apic) naive_.reset_registers();
    naive_.id = hardware_id % 256;
    naive_.ldr = naive_.icr_destination = 0;
    naive_.dfr = 15;
  }

  std::mt19937 random_;
  coverage& seen_;
  local_apic ours_{hardware_id, true};
  naive_apic naive_;
};

TEST(local_apic_random, agrees_with_the_restatement) {
  coverage seen;
  for (unsigned seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    stream operations{seed, seen};
    for (int i = 0; i < 3000; ++i) {
      operations.step();
      operations.check();
      if (i % 50 == 0) operations.check_sets();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  EXPECT_GT(seen.remote_irr, 1000);
  EXPECT_GT(seen.level_again, 50);
  EXPECT_GT(seen.messages, 200);
  EXPECT_GT(seen.addressed, 300);
  EXPECT_GT(seen.not_addressed, 300);
  EXPECT_GT(seen.mode_changes, 50);
  EXPECT_GT(seen.errors, 500);
}

}  // namespace
