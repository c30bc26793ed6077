// Random operation streams against a restatement of the priority and service rules that shares no code and no data
// structure with the product: ordered sets, everything computed from scratch on every question.
#include <vmxsys/apic/local_apic.hpp>

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace {

using vmxsys::cycles;
using namespace vmxsys::apic;

class naive_apic {
 public:
  bool accept(int vector, bool level) {
    if (!enabled) return false;
    if (vector < 16) {
      error = true;
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
    return level_set.count(vector) && !suppress ? vector : -1;
  }

  bool enabled = false, suppress = false, error = false;
  int tpr = 0, spurious = 0xFF;
  std::set<int> waiting, served, level_set;
};

void expect_same_set(const vector_set& ours, const std::set<int>& naive) {
  for (int v = 0; v < 256; ++v) ASSERT_EQ(ours.test(static_cast<std::uint8_t>(v)), naive.count(v) == 1) << v;
}

class stream {
 public:
  explicit stream(unsigned seed) : random_{seed} { ours_.enter_x2apic(); }

  void step() {
    switch (pick(16)) {
      case 0: return write_svr();
      case 1: return write_tpr();
      case 2: case 3: case 4: return acknowledge();
      case 5: case 6: case 7: return end();
      case 8: return rare();
      default: return accept();
    }
  }

  void check() const {
    ASSERT_EQ(ours_.highest_request(), naive_.request());
    ASSERT_EQ(ours_.processor_priority(), naive_.priority());
    ASSERT_EQ(ours_.errors() != 0, naive_.error);
  }

  void check_sets() const {
    expect_same_set(ours_.requests(), naive_.waiting);
    expect_same_set(ours_.in_service(), naive_.served);
    expect_same_set(ours_.level_triggered(), naive_.level_set);
  }

 private:
  int pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  void write(std::uint32_t number, int value) { ours_.write_msr(number, static_cast<std::uint64_t>(value), cycles{0}); }

  void accept() {
    const int vector = pick(4) ? 0x40 + pick(0x30) : pick(256);
    const bool level = pick(2) != 0;
    ASSERT_EQ(ours_.accept(static_cast<std::uint8_t>(vector), level), naive_.accept(vector, level));
  }
  void acknowledge() { ASSERT_EQ(ours_.acknowledge(), naive_.acknowledge()); }
  void end() {
    const auto broadcast = ours_.write_msr(msr::eoi, 0, cycles{0}).eoi;
    ASSERT_EQ(broadcast ? int{broadcast->vector} : -1, naive_.end_of_interrupt());
  }
  void write_tpr() { write(msr::tpr, naive_.tpr = pick(3) ? pick(256) : 0); }
  void write_svr() {
    naive_.enabled = pick(8) != 0;
    naive_.suppress = pick(2) != 0;
    naive_.spurious = pick(256);
    write(msr::svr, naive_.spurious | naive_.enabled << 8 | naive_.suppress << 12);
  }
  void rare() {
    if (pick(50) != 0) return;
    ours_.init();
    naive_ = naive_apic{};
  }

  std::mt19937 random_;
  local_apic ours_{0, true};
  naive_apic naive_;
};

TEST(local_apic_random, agrees_with_the_restatement) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    stream operations{seed};
    for (int i = 0; i < 3000; ++i) {
      operations.step();
      operations.check();
      if (i % 50 == 0) operations.check_sets();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
