#pragma once
#include <array>
#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include <vmxsys/cpu/time/timeline.hpp>
#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/base/physical_memory.hpp>

#include "cpu_set.hpp"
#include "topology.hpp"

namespace vmxsys::cpu {

class spin_subject;
class word;

/// Told when the line it polls is taken away. Spinning CPUs implement it.
class line_watcher {
 public:
  virtual void line_changed(cycles now) = 0;

 protected:
  ~line_watcher() = default;
};

/// Told when a page gets its first shared word: direct pointers to it that were handed out are taken back.
class watched_page_listener {
 public:
  virtual void page_became_watched(physical_address page) = 0;

 protected:
  ~watched_page_listener() = default;
};

/// The coherence state of one 64-byte line that holds shared words. One transfer at a time: requests queue in the
/// order in which they are issued, (cycle, phase, slot).
struct cache_line {
  static constexpr unsigned no_owner = ~0u;

  cycles busy_until{0};       ///< the last queued request is served then
  unsigned owner = no_owner;  ///< the last CPU in the queue that asked for the line exclusively
  cpu_set valid;              ///< CPUs that hold a copy now
  boost::container::small_vector<line_watcher*, 1> watchers;
  word* words = nullptr;  ///< the shared words on it
};

/// A shared 64-bit word of simulated memory: a lock, a flag, a counter that several CPUs touch. Plain code never reads
/// it; strands do, with `isa::load` and its kin, and pay for the line. The bytes live in the memory's pages, so a TLM
/// read sees them.
class word {
 public:
  physical_address address() const { return address_; }
  /// The value now, without time or coherence: for observers and tests.
  std::uint64_t peek() const { return *bytes_; }
  /// Sets the value while the machine is built.
  void initialise(std::uint64_t value) { *bytes_ = value; }

 private:
  friend class memory;
  word(physical_address at, std::uint64_t* bytes, cache_line* line, word* next)
      : address_{at}, bytes_{bytes}, line_{line}, next_{next} {}
  physical_address address_;
  std::uint64_t* bytes_;
  cache_line* line_;
  word* next_;  // on the same line
};

/// Hands out addresses of one region, for model objects that need some.
class region_allocator {
 public:
  region_allocator(physical_address base, std::uint64_t bytes) : next_{base}, end_{base + bytes} {}
  /// A naturally aligned block; throws std::length_error when the region is full.
  physical_address take(std::uint64_t bytes, std::uint64_t alignment);

 private:
  physical_address next_;
  physical_address end_;
};

/// Physical memory: sparse 4-KiB pages of bytes, and shared words with coherence timing.
///
/// A load that hits costs `instruction_costs::load` and has its value since the issue. A miss waits for the line's
/// queue and then for one transfer from the last owner, and reads when it completes. A store or read-modify-write needs
/// the line exclusively and, when it takes effect, takes every other copy away.
class memory final : public physical_memory {
 public:
  memory(const timeline& time, const topology& shape, const hardware_costs& costs)
      : time_{time}, shape_{shape}, costs_{costs} {}

  void read(physical_address at, void* to, std::size_t bytes) const override;
  /// Writes bytes from outside the CPUs (a device, a loader, a rule): takes effect at once, and takes every CPU's copy
  /// of a written line of shared words away.
  void write(physical_address at, const void* from, std::size_t bytes) override;
  using physical_memory::read;
  using physical_memory::write;

  /// The shared word at an 8-byte aligned address. The same address gives the same word.
  word& word_at(physical_address at);
  /// Does the page of `at` hold a shared word? Such a page grants no write DMI.
  bool page_is_watched(physical_address at) const { return watched_pages_.count(at >> 12) != 0; }
  /// The bytes of the 4-KiB page of `at`, for direct access from outside the model; they stay where they are.
  unsigned char* direct_page(physical_address at) { return reinterpret_cast<unsigned char*>(page_bytes(at)); }
  void attach(watched_page_listener& who) { listeners_.push_back(&who); }
  void detach(watched_page_listener& who) { std::erase(listeners_, &who); }

  // -- timing, called by CPUs at issue ------------------------------------------------------------------------------
  /// Would a load by `cpu` hit its own copy?
  bool load_hits(const word& w, unsigned cpu) const { return w.line_->valid.test(cpu); }
  /// Would a store by `cpu` find that it holds the only copy?
  bool store_hits(const word& w, unsigned cpu) const { return w.line_->owner == cpu && w.line_->valid.only(cpu); }
  /// When a load issued now completes.
  cycles issue_load(word& w, unsigned cpu, cycles now);
  /// When a store issued now takes effect.
  cycles issue_store(word& w, unsigned cpu, cycles now) {
    return issue_exclusive(w, cpu, now, costs_.instruction.store);
  }
  /// When a locked read-modify-write issued now takes effect.
  cycles issue_locked(word& w, unsigned cpu, cycles now) {
    return issue_exclusive(w, cpu, now, costs_.instruction.locked);
  }

  /// When an access of `cpu` to bytes that need not be a word, issued now, takes effect if it takes `hit` cycles once
  /// the CPU has their line exclusively. Nothing is waited for where the line holds no shared word.
  cycles issue_exclusive_at(physical_address at, unsigned cpu, cycles now, cycles hit);

  // -- effects, called by CPUs at completion ------------------------------------------------------------------------
  std::uint64_t complete_load(word& w, unsigned cpu) {
    w.line_->valid.set(cpu);
    return *w.bytes_;
  }
  /// Makes a store or read-modify-write take effect: `cpu` holds the only copy afterwards.
  void complete_store(word& w, unsigned cpu, cycles now, std::uint64_t value);

  /// A write of `cpu`, as opposed to one from outside: it holds the only copy of a written line of shared words
  /// afterwards.
  void write_by(unsigned cpu, physical_address at, const void* from, std::size_t bytes);

  void watch(word& w, line_watcher& who) { w.line_->watchers.push_back(&who); }
  void unwatch(word& w, line_watcher& who);

  std::size_t pages() const { return pages_.size(); }

 private:
  using page = std::array<std::uint64_t, 512>;
  cycles issue_exclusive(word& w, unsigned cpu, cycles now, cycles hit);
  cycles acquire(cache_line& line, unsigned cpu, cycles now, cycles hit);
  template <class F>
  void write_lines(physical_address at, const void* from, std::size_t bytes, F written);
  std::uint64_t* page_bytes(physical_address at);
  void wake(cache_line& line, cycles now);

  const timeline& time_;
  topology shape_;
  const hardware_costs& costs_;
  std::unordered_map<std::uint64_t, std::unique_ptr<page>> pages_;
  std::unordered_map<std::uint64_t, cache_line> lines_;
  std::unordered_map<std::uint64_t, unsigned> watched_pages_;
  std::deque<word> store_;
  std::vector<watched_page_listener*> listeners_;
};

/// Physical memory as one CPU writes it: what the rules write on its behalf leaves it with the only copy.
class memory_of_cpu final : public physical_memory {
 public:
  memory_of_cpu(memory& m, unsigned cpu) : memory_{m}, cpu_{cpu} {}
  void read(physical_address at, void* to, std::size_t bytes) const override { memory_.read(at, to, bytes); }
  void write(physical_address at, const void* from, std::size_t bytes) override {
    memory_.write_by(cpu_, at, from, bytes);
  }
  using physical_memory::read;
  using physical_memory::write;

 private:
  memory& memory_;
  unsigned cpu_;
};

}  // namespace vmxsys::cpu
