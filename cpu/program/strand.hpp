#pragma once
#include <array>
#include <boost/container/small_vector.hpp>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <vmxsys/cpu/facts/code.hpp>

#include "instruction.hpp"
#include "program.hpp"

namespace vmxsys::cpu {

class name_space;

/// An instruction stream: a stack of suspended programs, the instruction in flight, general registers. A CPU executes
/// one strand at a time; a kernel's context switch, a VM entry and a VM exit change which. Code finds its CPU through
/// `isa::this_cpu()`, so strands migrate freely.
///
/// A strand must die before the words, locks and queues that its programs name, and after nothing runs it any more.
class strand {
 public:
  strand(name_space& names, std::string name);
  strand(const strand&) = delete;
  strand& operator=(const strand&) = delete;
  ~strand();

  /// Gives the strand the program it runs; `where` is where it is until the program says otherwise.
  void start(program root, const code_location& where);

  /// Destroys its programs where they stand, last handler first: for taking a machine down while what they name is
  /// still there. The strand never runs again.
  void abandon();

  const std::string& name() const { return name_; }
  std::uint32_t id() const { return id_; }
  /// The stack pointer that names this strand in VMCS fields and registers.
  std::uint64_t rsp() const;

  /// A general register; RSP holds `rsp()` until it is written. Made at the first use: most strands never exit.
  std::uint64_t& reg(gpr r);
  const code_location& location() const { return *position_.location; }
  /// In an interrupt handler: where the interrupted code is.
  const code_location& interrupted_location() const { return *frames_[frames_.size() - 2].left_at.location; }
  instruction* in_flight() const { return position_.in_flight; }
  std::size_t depth() const { return frames_.size(); }

  /// The CPU it is on, directly or as passenger of the strand that runs there; null if on none.
  logical_cpu* on_cpu() const { return cpu_; }
  /// The guest strand that this one carried into VMX non-root operation last: it counts as on a CPU while this one is.
  strand* passenger() const { return passenger_; }

 private:
  friend struct cpu_core;
  friend class cpu_engine;
  friend class spin_subject;
  friend class code_scope;
  friend class name_space;

  enum class state { issued, handler_done, ended, endless, lost };

  struct frame {
    program root;
    detail::strand_position left_at;  // while another frame is above it
    bool interrupts_enabled;          // of the interrupted code
  };

  /// The trampoline: runs coroutines of the top frame until one issues an instruction.
  state run() {
    constexpr unsigned most_resumptions = 10'000'000;  // programs that call programs for ever, without an instruction
    for (unsigned resumptions = 0; position_.in_flight == nullptr; ++resumptions) {
      if (!position_.next) return end_of_root();
      if (resumptions == most_resumptions) return state::endless;
      std::exchange(position_.next, {}).resume();
    }
    return state::issued;
  }
  state end_of_root();
  void push(program handler, const code_location& where, bool interrupts_enabled);
  bool pop();  // returns the interrupted code's interrupt flag
  void set_cpu(logical_cpu* cpu, cycles now);
  void set_passenger(strand* guest, cycles now);

  detail::strand_position position_;  // of the uppermost frame
  logical_cpu* cpu_ = nullptr;
  strand* passenger_ = nullptr;
  strand* carrier_ = nullptr;
  name_space& names_;
  std::string name_;
  std::uint32_t id_;
  std::unique_ptr<std::array<std::uint64_t, 16>> registers_;
  boost::container::small_vector<frame, 1> frames_;
  boost::container::small_vector<spin_subject*, 1> subjects_;
};

/// The code location of a strand for as long as this object lives: what traces show and where time is booked.
class code_scope {
 public:
  code_scope(strand& on, const code_location& where)
      : on_{on}, depth_{on.frames_.size()}, before_{on.position_.location} {
    on.position_.location = &where;
  }
  code_scope(const code_scope&) = delete;
  code_scope& operator=(const code_scope&) = delete;
  ~code_scope() {
    if (depth_ == on_.frames_.size())
      on_.position_.location = before_;
    else if (depth_ < on_.frames_.size())
      on_.frames_[depth_ - 1].left_at.location = before_;
  }

 private:
  strand& on_;
  std::size_t depth_;
  const code_location* before_;
};

namespace isa {

struct in_query : strand_query {
  const code_location* where;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  code_scope await_resume() const { return code_scope{*on, *where}; }
};
/// `auto here = co_await isa::in(location);` — from here to the end of the block the program is at `location`.
inline in_query in(const code_location& where) { return {{}, &where}; }

struct this_cpu_query : strand_query {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  logical_cpu& await_resume() const { return *on->on_cpu(); }
};
/// The CPU this program runs on now; takes no time (a read of per-CPU data through GS).
inline this_cpu_query this_cpu() { return {}; }

struct this_strand_query : strand_query {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  strand& await_resume() const { return *on; }
};
/// The strand this program runs on; takes no time.
inline this_strand_query this_strand() { return {}; }

}  // namespace isa
}  // namespace vmxsys::cpu
