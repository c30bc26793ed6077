// A million random steps of devices, an I/O APIC, local APICs and virtual APICs, with messages and EOIs on their way
// for a while: no interrupt is lost and none comes twice. What must be is known from an account that the test keeps of
// each interrupt's single instance; it knows nothing of how the parts work.
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include <vmxsys/apic/local/destination.hpp>
#include <vmxsys/apic/local/local_apic.hpp>
#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/apic/virtualization/virtual_interrupts.hpp>
#include <vmxsys/models/devices/io_apic.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

#include "random_numbers.hpp"
#include "vmx/flat_memory.hpp"

namespace vmxsys::models {
namespace {

namespace bits = redirection_bits;
using vmxsys::testing::random_numbers;

struct ended {
  int vector;
  bool to_io_apic;   // by broadcast or by exit
  bool by_software;  // the broadcast was suppressed: the handler writes to the I/O APIC
};

/// What an interrupt can be delivered to: something with a request, a service and an EOI.
class processor {
 public:
  virtual ~processor() = default;
  virtual bool accept(std::uint8_t vector, bool level) = 0;
  virtual int take() = 0;
  virtual ended end() = 0;
  virtual bool requested(std::uint8_t vector) const = 0;
  virtual bool in_service(std::uint8_t vector) const = 0;
  virtual bool serving() const = 0;
  virtual void flip_suppression() {}
  /// The hypervisor has seen a change of the I/O APIC: vectors whose EOI it must know of.
  virtual void level_vectors(const std::set<std::uint8_t>&) {}
};

class bare_processor final : public processor {
 public:
  explicit bare_processor(unsigned id) : apic_{id, id == 0} {
    apic_.enter_x2apic();
    apic_.write_msr(apic::msr::svr, 0x1FF, cycles{0});
  }
  bool accept(std::uint8_t vector, bool level) override { return apic_.accept(vector, level); }
  int take() override { return apic_.highest_request() < 0 ? -1 : apic_.acknowledge(); }
  ended end() override {
    const int vector = apic_.in_service().highest();
    const bool level = apic_.level_triggered().test(static_cast<std::uint8_t>(vector));
    const auto outcome = apic_.write_msr(apic::msr::eoi, 0, cycles{0});
    if (outcome.eoi) EXPECT_EQ(outcome.eoi->vector, vector);
    return {vector, outcome.eoi.has_value(), level && !outcome.eoi};
  }
  bool requested(std::uint8_t vector) const override { return apic_.requests().test(vector); }
  bool in_service(std::uint8_t vector) const override { return apic_.in_service().test(vector); }
  bool serving() const override { return !apic_.in_service().empty(); }
  void flip_suppression() override {
    suppressing_ = !suppressing_;
    apic_.write_msr(apic::msr::svr, suppressing_ ? 0x11FF : 0x1FF, cycles{0});
  }

 private:
  apic::local_apic apic_;
  bool suppressing_ = false;
};

class virtual_processor final : public processor {
 public:
  virtual_processor() {
    v_.write(vmx::field::virtual_apic_address, 0x5000);
    v_.write(vmx::field::primary_processor_based_controls,
             vmx::primary::use_tpr_shadow | vmx::primary::activate_secondary_controls);
    v_.write(vmx::field::secondary_processor_based_controls, vmx::secondary::virtual_interrupt_delivery);
  }
  bool accept(std::uint8_t vector, bool) override {
    const bool fresh = !apic_.page().requested(vector);
    apic::request(apic_, apic::virtual_operation::posted_processing, vector);
    return fresh;
  }
  int take() override { return state_.recognized ? apic::deliver(apic_) : -1; }
  ended end() override {
    const int vector = state_.svi;
    const auto result = apic::eoi_virtualization(apic_);
    if (!result.trap) return {vector, false, false};
    EXPECT_EQ(result.trap->reason, vmx::exit_reason::virtualized_eoi);
    EXPECT_EQ(result.trap->qualification, static_cast<std::uint64_t>(vector));
    apic::at_exit(v_, state_);
    apic::at_entry(apic_);  // the evaluation that the exit kept from happening
    return {vector, true, false};
  }
  bool requested(std::uint8_t vector) const override { return apic_.page().requested(vector); }
  bool in_service(std::uint8_t vector) const override { return apic_.page().in_service(vector); }
  bool serving() const override { return state_.svi != 0; }
  void level_vectors(const std::set<std::uint8_t>& vectors) override {
    std::uint64_t words[4] = {};
    for (const std::uint8_t v : vectors) words[v / 64] |= std::uint64_t{1} << v % 64;
    for (unsigned w = 0; w < 4; ++w)
      v_.write(static_cast<vmx::field>(static_cast<unsigned>(vmx::field::eoi_exit_bitmap_0) + 2 * w), words[w]);
  }

 private:
  vmx::vmcs v_;
  vmx::test::flat_memory memory_;
  apic::virtual_interrupt_state state_;
  apic::virtual_apic apic_{v_, memory_, state_};
};

class world final : public io_apic_sink {
 public:
  static constexpr unsigned bare = 4;
  static constexpr unsigned processors = 6;
  static constexpr unsigned pins = 24;

  world(std::uint64_t seed, std::uint8_t version) : next_{seed}, chip_{*this, {pins, version}}, version_{version} {
    for (unsigned i = 0; i < processors; ++i)
      if (i < bare)
        cpus_.push_back(std::make_unique<bare_processor>(i));
      else
        cpus_.push_back(std::make_unique<virtual_processor>());
    for (unsigned p = 0; p < pins; ++p) {
      pins_[p].vector = static_cast<std::uint8_t>(0x20 + 9 * p);
      pins_[p].level = p % 4 != 3;
      pins_[p].active_low = p % 3 == 0;
      if (pins_[p].active_low) chip_.set_line(p, true);
      write_low(p);
      write_high(p);
    }
    tell_hypervisor();
  }

  void step() {
    const unsigned p = static_cast<unsigned>(next_.below(pins));
    const unsigned c = static_cast<unsigned>(next_.below(processors));
    switch (next_.below(16)) {
      case 0:
      case 1:
      case 2:
        drive(p, true);
        break;
      case 3:
        drive(p, false);
        break;
      case 4:
        mask(p, true);
        break;
      case 5:
      case 6:
        mask(p, false);
        break;
      case 7:
        migrate(p);
        break;
      case 8:
        change_vector(p);
        break;
      case 9:
        cpus_[c]->flip_suppression();
        break;
      case 10:
        busy_ = next_.one_in(3);
        break;
      case 11:
        chip_.retry();
        break;
      case 12:
      case 13:
        take(c);
        break;
      default:
        end(c);
    }
    if (next_.one_in(2)) arrive();
    check(p);
  }

  /// Every device gets its service, then silence.
  void drain() {
    busy_ = false;
    chip_.retry();
    for (unsigned p = 0; p < pins; ++p) mask(p, false);
    for (unsigned n = 0; n < 20'000; ++n) {
      for (unsigned c = 0; c < processors; ++c) {
        take(c);
        if (next_.one_in(2)) end(c);
      }
      arrive();
    }
    check_all();
    for (unsigned p = 0; p < pins; ++p) {
      EXPECT_TRUE(pins_[p].where.what == place::nowhere) << p;
      if (pins_[p].level) EXPECT_FALSE(pins_[p].asserted) << "a device still waits, pin " << p;
    }
    EXPECT_TRUE(on_the_way_.empty());
  }

  void check_all() {
    for (unsigned p = 0; p < pins; ++p) check(p);
  }

  std::uint64_t sent = 0, serviced = 0, raised_again = 0, migrated_in_service = 0, vectors_changed = 0;
  std::uint64_t ended_by[3] = {};  // broadcast, exit, software
  std::uint64_t withdrawn = 0, edges = 0;

 private:
  // Where the one instance of a pin's level-triggered interrupt is.
  struct place {
    enum { nowhere, on_the_way, requested, in_service, ending } what = nowhere;
    unsigned cpu = 0;
  };
  struct pin {
    std::uint8_t vector;
    bool level, active_low;
    bool asserted = false, masked = true;
    unsigned to = 0;
    place where;
    // Of an edge: it has been signalled and nobody has taken it since; how many have been sent and taken.
    bool owed = false;
    std::uint64_t edges_sent = 0, edges_taken = 0;
  };
  struct flight {
    bool eoi;
    unsigned pin;  // of a message
    std::uint8_t vector;
    unsigned to;
    bool level;
    bool by_software;
  };

  // -- the account
  // ------------------------------------------------------------------------------------------------------
  bool send(const apic::msi& message, unsigned p) override {
    if (busy_) return false;
    const auto command = apic::decode_msi(message);
    pin& x = pins_[p];
    EXPECT_TRUE(command);
    EXPECT_EQ(command->vector, x.vector);
    EXPECT_EQ(command->destination, x.to);
    EXPECT_EQ(command->level_triggered, x.level);
    EXPECT_FALSE(x.masked) << "a masked pin sends nothing";
    if (x.level) {
      EXPECT_EQ(x.where.what, place::nowhere) << "doubled: pin " << p;
      EXPECT_TRUE(x.asserted) << "nobody asked: pin " << p;
      x.where = {place::on_the_way, x.to};
    } else {
      ++x.edges_sent;
      ++edges;
    }
    on_the_way_.push_back({false, p, x.vector, x.to, x.level, false});
    ++sent;
    return true;
  }

  void check(unsigned p) {
    const pin& x = pins_[p];
    const std::uint64_t e = chip_.entry(p);
    ASSERT_EQ((e & bits::remote_irr) != 0, x.where.what != place::nowhere) << "pin " << p;
    if (!x.level) {
      bool there = (e & bits::delivery_status) != 0;
      for (const flight& f : on_the_way_) there = there || (!f.eoi && f.pin == p);
      for (const auto& c : cpus_) there = there || c->requested(x.vector);
      if (x.owed) ASSERT_TRUE(there) << "a lost edge: pin " << p;
      ASSERT_LE(x.edges_taken, x.edges_sent);
      return;
    }
    // An asserted, unmasked level is somewhere, or it waits for the bus.
    if (x.asserted && !x.masked)
      ASSERT_TRUE(x.where.what != place::nowhere || (e & bits::delivery_status) != 0) << "lost: pin " << p;
    for (unsigned c = 0; c < processors; ++c) {
      ASSERT_EQ(cpus_[c]->requested(x.vector), x.where.what == place::requested && x.where.cpu == c) << "pin " << p;
      ASSERT_EQ(cpus_[c]->in_service(x.vector), x.where.what == place::in_service && x.where.cpu == c) << "pin " << p;
    }
  }

  // -- devices and software
  // -----------------------------------------------------------------------------------------------
  void drive(unsigned p, bool asserted) {
    pin& x = pins_[p];
    if (x.asserted == asserted) return;
    x.asserted = asserted;
    if (!x.level && asserted && !x.masked) x.owed = true;
    if (x.level && !asserted && x.where.what == place::nowhere && !x.masked) ++withdrawn;
    chip_.set_line(p, asserted != x.active_low);
  }
  void mask(unsigned p, bool on) {
    pins_[p].masked = on;
    write_low(p);
  }
  void migrate(unsigned p) {
    if (pins_[p].where.what != place::nowhere) ++migrated_in_service;
    pins_[p].to = static_cast<unsigned>(next_.below(processors));
    write_high(p);
  }
  // What kernels do: mask, and only while nothing waits for an EOI of the old vector.
  void change_vector(unsigned p) {
    pin& x = pins_[p];
    if (!x.level || (chip_.entry(p) & bits::remote_irr) != 0) return;
    const bool was_masked = x.masked;
    mask(p, true);
    // Each pin has nine vectors of its own, so that a vector names a pin.
    x.vector = static_cast<std::uint8_t>(0x20 + 9 * p + next_.below(9));
    tell_hypervisor();
    mask(p, was_masked);
    ++vectors_changed;
  }
  void write_low(unsigned p) {
    const pin& x = pins_[p];
    write(0x10 + 2 * p, static_cast<std::uint32_t>((x.masked ? bits::masked : 0) | (x.level ? bits::level : 0) |
                                                   (x.active_low ? bits::active_low : 0) | x.vector));
  }
  void write_high(unsigned p) { write(0x11 + 2 * p, pins_[p].to << 24); }
  void write(unsigned index, std::uint32_t value) {
    chip_.write(io_apic::select_offset, 4, index);
    chip_.write(io_apic::window_offset, 4, value);
  }
  void tell_hypervisor() {
    std::set<std::uint8_t> vectors;
    for (const pin& x : pins_)
      if (x.level) vectors.insert(x.vector);
    for (auto& c : cpus_) c->level_vectors(vectors);
  }

  // -- the fabric
  // -----------------------------------------------------------------------------------------------------------
  void arrive() {
    if (on_the_way_.empty()) return;
    const std::size_t i = next_.below(on_the_way_.size());
    const flight f = on_the_way_[i];
    on_the_way_.erase(on_the_way_.begin() + static_cast<std::ptrdiff_t>(i));
    if (f.eoi) {
      eoi_arrives(f);
      return;
    }
    const bool fresh = cpus_[f.to]->accept(f.vector, f.level);
    if (!f.level) return;
    pin& x = pins_[f.pin];
    EXPECT_TRUE(fresh) << "merged with another: pin " << f.pin;
    x.where = {place::requested, f.to};
  }
  void eoi_arrives(const flight& f) {
    pin& x = pins_[f.pin];
    EXPECT_EQ(x.where.what, place::ending);
    x.where = {};
    const std::uint64_t before = sent;
    if (!f.by_software) {
      chip_.end_of_interrupt(f.vector);
    } else if (version_ >= 0x20) {
      chip_.write(io_apic::eoi_offset, 4, f.vector);
    } else {
      // Masked and edge, then as it was.
      const auto low = static_cast<std::uint32_t>(chip_.entry(f.pin));
      write(0x10 + 2 * f.pin, static_cast<std::uint32_t>((low & ~bits::level) | bits::masked));
      write(0x10 + 2 * f.pin, low);
    }
    if (sent != before) ++raised_again;
    check(f.pin);
  }

  void take(unsigned c) {
    const int vector = cpus_[c]->take();
    if (vector < 0) return;
    const unsigned p = pin_of(vector);
    pin& x = pins_[p];
    if (!x.level) {
      // Another edge may be on its way still; then that one is owed.
      ++x.edges_taken;
      x.owed = false;
      for (const flight& f : on_the_way_) x.owed = x.owed || (!f.eoi && f.pin == p);
      for (const auto& other : cpus_) x.owed = x.owed || other->requested(x.vector);
      x.owed = x.owed || (chip_.entry(p) & bits::delivery_status) != 0;
      drive(p, false);
      return;
    }
    EXPECT_EQ(x.where.what, place::requested);
    EXPECT_EQ(x.where.cpu, c);
    x.where = {place::in_service, c};
    ++serviced;
    // Mostly the handler satisfies the device; sometimes that takes another interrupt.
    if (!next_.one_in(4)) drive(p, false);
  }
  void end(unsigned c) {
    if (!cpus_[c]->serving()) return;
    const ended e = cpus_[c]->end();
    const unsigned p = pin_of(e.vector);
    pin& x = pins_[p];
    if (!x.level) {
      EXPECT_FALSE(e.to_io_apic || e.by_software);
      return;
    }
    EXPECT_TRUE(e.to_io_apic || e.by_software) << "an EOI that nobody hears of: pin " << p;
    EXPECT_EQ(x.where.what, place::in_service);
    x.where = {place::ending, c};
    ++ended_by[e.by_software ? 2 : c < bare ? 0 : 1];
    on_the_way_.push_back({true, p, static_cast<std::uint8_t>(e.vector), 0, true, e.by_software});
  }
  static unsigned pin_of(int vector) { return static_cast<unsigned>(vector - 0x20) / 9; }

  random_numbers next_;
  io_apic chip_;
  std::uint8_t version_;
  bool busy_ = false;
  std::vector<std::unique_ptr<processor>> cpus_;
  pin pins_[pins] = {};
  std::vector<flight> on_the_way_;
};

void run(std::uint64_t seed, std::uint8_t version, unsigned steps) {
  world w{seed, version};
  for (unsigned n = 0; n < steps && !::testing::Test::HasFailure(); ++n) {
    w.step();
    if (n % 1000 == 0) w.check_all();
  }
  if (::testing::Test::HasFailure()) return;
  w.drain();
  EXPECT_GT(w.serviced, steps / 50) << "a test of something";
  EXPECT_GT(w.raised_again, steps / 1000);
  EXPECT_GT(w.migrated_in_service, steps / 1000);
  EXPECT_GT(w.vectors_changed, steps / 1000);
  EXPECT_GT(w.edges, steps / 1000);
  EXPECT_GT(w.withdrawn, steps / 1000);
  for (const std::uint64_t count : w.ended_by) EXPECT_GT(count, steps / 1000);
}

TEST(level_triggered, nothing_is_lost_and_nothing_doubled) { run(1, 0x20, 1'000'000); }

TEST(level_triggered, nor_with_an_io_apic_without_an_eoi_register) { run(2, 0x11, 200'000); }

TEST(level_triggered, nor_with_other_numbers) {
  for (std::uint64_t seed = 10; seed < 20; ++seed) run(seed, seed % 2 ? 0x20 : 0x11, 20'000);
}

}  // namespace
}  // namespace vmxsys::models
