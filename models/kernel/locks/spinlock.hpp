#pragma once
// Spinlocks as programs over the instruction set: what they do to shared lines, where they spin, which strands
// wait. One set for guests, hosts and bare metal, by name in catalogue.hpp.

#include <array>
#include <boost/describe.hpp>
#include <cstdint>
#include <vector>

#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/cpu/program/instruction.hpp>
#include <vmxsys/cpu/program/program.hpp>
#include <vmxsys/cpu/program/spin_subject.hpp>

namespace vmxsys::models {

/// A contended acquire that has come to its end. It begins where the first attempt has failed and ends where the
/// waiter has the lock and executes again, so interrupts, VM exits and preemption of the waiter itself are inside.
struct lock_wait_fact {
  static constexpr const char* fact_name = "lock_wait";
  static constexpr std::uint32_t nobody = ~std::uint32_t{0};

  std::uint64_t lock;    ///< address of its word
  std::uint8_t kind;     ///< the class of the lock says which: its `fact_kind`
  std::uint32_t waiter;  ///< strand number
  std::uint32_t holder;  ///< strand number of the holder when the wait began; `nobody` between two holders
  cycles began;
  cycles waited;
  cycles futile;  ///< cycles of the wait in which the holder, or between holders the next owner, was on no CPU
};
BOOST_DESCRIBE_STRUCT(lock_wait_fact, (), (lock, kind, waiter, holder, began, waited, futile))

/// One waiter's place in the queue of a queued lock: both words on one line.
struct queue_node {
  cpu::word* next = nullptr;    ///< the successor's tail code, 0 while there is none
  cpu::word* locked = nullptr;  ///< becomes 1 when the waiter is the head of the queue
};

/// The nodes of one CPU, shared by all queued locks of a kernel: a CPU waits for at most one lock in each of its
/// contexts (task, softirq, interrupt, NMI). `depth` counts the contexts that wait.
struct queue_nodes {
  static constexpr unsigned levels = 4;
  std::array<queue_node, levels> level;
  unsigned depth = 0;
};

/// What locks need of the kernel that owns them: its memory, its CPU numbers, its per-CPU queue nodes. A kernel whose
/// CPU numbers are not those of the machine (a guest) derives from it. Must outlive its locks.
class lock_environment {
 public:
  /// Lines are taken from `region`: one per lock, and one per queue node when it is first used. `cpus` is
  /// how many CPUs the kernel has; `fact_source` records `lock_wait_fact`.
  lock_environment(cpu::machine& on, cpu::region_allocator& region, unsigned cpus, std::uint32_t fact_source)
      : machine_{on}, region_{region}, cpus_{cpus}, fact_source_{fact_source} {}
  virtual ~lock_environment() = default;
  lock_environment(const lock_environment&) = delete;
  lock_environment& operator=(const lock_environment&) = delete;

  /// The kernel's number, below cpus(), for the CPU that runs it there.
  virtual unsigned this_cpu(const cpu::logical_cpu& cpu) const;

  unsigned cpus() const noexcept { return cpus_; }
  cpu::machine& machine() const noexcept { return machine_; }
  cycles now() const { return machine_.time().now(); }
  std::uint32_t fact_source() const noexcept { return fact_source_; }

  /// The first word of a fresh 64-byte line.
  cpu::word& take_line();
  /// Called by each queued lock when it is made.
  void prepare_queue_nodes();
  queue_nodes& nodes_of(unsigned cpu) { return nodes_.at(cpu); }
  /// The node of one nesting level; its line is taken when it is first used.
  queue_node& node_of(unsigned cpu, unsigned level);

 private:
  cpu::machine& machine_;
  cpu::region_allocator& region_;
  unsigned cpus_;
  std::uint32_t fact_source_;
  std::vector<queue_nodes> nodes_;
};

/// Where the code of a lock is: what traces show of its waiters, and the CPL at which they spin. Must outlive the lock.
struct lock_code {
  const cpu::code_location& slow_path;
  const cpu::code_location& spin;  ///< of the PAUSE
};

/// A spinlock: one shared word, two programs, and beside them the truth about who holds it. Interrupts and preemption
/// are the caller's business. An acquire that meets no contention is one locked instruction, a release one store. A
/// lock must outlive the strands that use it, and die before its environment.
///
/// The truth follows the word: it changes in the cycle in which the instruction that takes, queues for or frees the
/// lock has its effect, even if the program that issued it is interrupted before it resumes.
class spinlock : protected cpu::effect_witness {
 public:
  virtual ~spinlock() = default;
  spinlock(const spinlock&) = delete;
  spinlock& operator=(const spinlock&) = delete;

  virtual cpu::program acquire() = 0;
  virtual cpu::program release() = 0;

  /// Awaits the holder; between two holders the next owner, if the lock knows one; no strand while it is free.
  const cpu::spin_subject& subject() const noexcept { return subject_; }
  cpu::strand* holder() const noexcept { return holder_; }
  /// From `now` on `to` holds it: a run-queue lock is taken by one strand, held across the switch and released by the
  /// next strand.
  void hand_over(cpu::strand& to, cycles now);

  const cpu::word& word() const noexcept { return word_; }
  physical_address address() const noexcept { return word_.address(); }

 protected:
  /// A wait in progress.
  struct waiting {
    std::uint32_t waiter;
    std::uint32_t holder;
    cycles began;
    cycles running;  // of the subject at the beginning
  };

  /// `fact_kind` tells its facts from those of other classes of locks.
  spinlock(std::uint8_t fact_kind, lock_environment& in);

  /// The lock is held by `holder` or, if that is null, about to be taken by `next`.
  void set_truth(cpu::strand* holder, cpu::strand* next, cycles now);
  waiting begin_wait(const cpu::strand& waiter) const;
  /// Call where the waiter owns the lock.
  void end_wait(const waiting& wait);

  lock_environment& environment_;
  cpu::word& word_;
  cpu::spin_subject subject_;

 private:
  std::uint8_t fact_kind_;
  cpu::strand* holder_ = nullptr;
};

}  // namespace vmxsys::models
