#pragma once
#include <coroutine>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include <vmxsys/cpu/facts/code.hpp>
#include <vmxsys/cpu/memory/memory.hpp>
#include <vmxsys/vmx/base/cycles.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/exit_qualification.hpp>
#include <vmxsys/vmx/vmcs/field.hpp>

#include "program.hpp"
#include "spin_subject.hpp"

namespace vmxsys::cpu {

class logical_cpu;

enum class opcode : std::uint8_t {
  compute,
  load,
  store,
  cmpxchg,
  exchange,
  fetch_add,
  fetch_or,
  fetch_and,
  pause,
  spin_while,
  hlt,
  sti,
  cli,
  rdtsc,
  rdmsr,
  wrmsr,
  cpuid,
  vmcall,
  xsave,
  xrstor,
  switch_to,
  vmxon,
  vmxoff,
  vmclear,
  vmptrld,
  vmptrst,
  vmread,
  vmwrite,
  vmlaunch,
  vmresume,
  mmio_read,
  mmio_write,
  system,        ///< system_instruction.hpp
  guest_access,  ///< of guest-physical memory
};

/// What an instruction did instead of completing.
enum class instruction_fault : std::uint8_t { none, invalid_opcode, general_protection, vm_fail };

/// Thrown where the faulting instruction is awaited: #UD or #GP(0) of the architecture.
class fault : public std::runtime_error {
 public:
  explicit fault(instruction_fault what)
      : std::runtime_error{what == instruction_fault::invalid_opcode ? "#UD" : "#GP(0)"}, what_{what} {}
  instruction_fault what_fault() const { return what_; }

 private:
  instruction_fault what_;
};

/// Thrown where a VMX instruction is awaited that fails: VMfailValid with its error number (SDM Vol. 3C §33.4), or
/// VMfailInvalid, number 0.
class vm_fail : public std::runtime_error {
 public:
  /// `why`: what to say instead of the number alone (vmx::explain); may be null.
  explicit vm_fail(std::uint32_t number, const std::string* why = nullptr)
      : std::runtime_error{text(number, why)}, number_{number} {}
  std::uint32_t number() const { return number_; }

 private:
  static std::string text(std::uint32_t number, const std::string* why) {
    if (why != nullptr) return *why;
    return number == 0 ? "VMfailInvalid" : "VMfailValid(" + std::to_string(number) + ")";
  }
  std::uint32_t number_;
};

struct instruction;

/// Told of one instruction's effect on memory in the very cycle in which it happens. The awaiting program may resume
/// later, when an interrupt or a VM exit is recognised at the boundary in between. Ground truth beside locks needs it;
/// no hardware sees it.
class effect_witness {
 public:
  virtual void took_effect(strand& by, const instruction& i, cycles now) = 0;

 protected:
  ~effect_witness() = default;
};

/// One instruction in flight: what was awaited, how far it is, what came of it. It lives in the awaiting coroutine's
/// frame; the strand points to it until it completes.
struct instruction {
  opcode code;
  instruction_fault fault = instruction_fault::none;
  bool started = false;     ///< issued at least once; a re-issue after an exit resumes it
  bool hit = false;         ///< of a load: found in the own cache, so its value is bound since the issue
  std::uint8_t size = 0;    ///< bytes of an access to a device
  std::uint16_t error = 0;  ///< VM-instruction error with `vm_fail`
  std::uint64_t a = 0;      ///< operands, by opcode; what is left of a compute, in cycles
  std::uint64_t b = 0;
  std::uint64_t result = 0;

  explicit instruction(opcode c) : code{c} {}
  bool await_ready() const noexcept { return false; }
  template <class P>
  void await_suspend(std::coroutine_handle<P> self) {
    detail::strand_position& at = *self.promise().at;
    at.in_flight = this;
    at.next = self;
  }

 protected:
  void raise_if_faulted() const {
    if (fault == instruction_fault::none) return;
    if (fault == instruction_fault::vm_fail) throw vm_fail{error};
    throw cpu::fault{fault};
  }
};

/// An instruction that loads or stores a shared word.
struct memory_instruction : instruction {
  word* target;
  effect_witness* witness = nullptr;
  memory_instruction(opcode c, word& w) : instruction{c}, target{&w} {}
};

/// When a spin loop goes on: while ((value & mask) == operand) is `equal`.
struct spin_predicate {
  std::uint64_t mask = ~std::uint64_t{0};
  std::uint64_t operand = 0;
  bool equal = true;
  bool operator()(std::uint64_t value) const { return ((value & mask) == operand) == equal; }

  static spin_predicate while_equal(std::uint64_t v) { return {~std::uint64_t{0}, v, true}; }
  static spin_predicate while_not_equal(std::uint64_t v) { return {~std::uint64_t{0}, v, false}; }
  static spin_predicate while_any(std::uint64_t bits) { return {bits, 0, false}; }
};

struct spin_result {
  std::uint64_t value;       ///< the value that ended the loop, or the last one seen at the limit
  std::uint64_t iterations;  ///< PAUSEs executed
  bool limit_reached;
};

/// Where a spin loop stands between two boundaries.
enum class spin_position : std::uint8_t { before_load, in_load, before_pause, in_pause };

struct spin_instruction : memory_instruction {
  spin_predicate predicate;
  const code_location* site;  ///< of the PAUSE; the load is two bytes on
  spin_subject* subject;
  std::uint64_t limit;  ///< PAUSEs after which the loop gives up; 0: never
  std::uint64_t iterations = 0;
  spin_position position = spin_position::before_load;
  cycles began{0};
  cycles futile{0};
  cycles futile_since = cycles::never();  ///< issue of the first PAUSE in a guest while the awaited strand ran nowhere
  std::uint64_t episode = 0;              ///< names this wait among all of the machine

  spin_instruction(word& w, spin_predicate p, const code_location& at, spin_subject* s, std::uint64_t most)
      : memory_instruction{opcode::spin_while, w}, predicate{p}, site{&at}, subject{s}, limit{most} {}
  spin_result await_resume() const {
    return {result, iterations, limit != 0 && iterations >= limit && predicate(result)};
  }
};

struct vm_entry_instruction : instruction {
  vmx::exit_info exit;
  const std::string* why = nullptr;  ///< the check that failed, of an entry that ends with VMfailValid
  using instruction::instruction;
  const vmx::exit_info& await_resume() const {
    if (why != nullptr) throw vm_fail{error, why};
    raise_if_faulted();
    return exit;
  }
};

/// What straight-line code retires, for spin detectors that watch for progress. Rates in 1/1024 per cycle, 0 .. 65535;
/// the defaults are those of ordinary integer code at one instruction a cycle: a store that changes something every 16
/// instructions, a loop closed every 32.
struct work_profile {
  std::uint16_t instruction_rate = 1024;
  std::uint16_t unique_store_rate = 64;
  std::uint16_t backward_branch_rate = 32;

  static constexpr std::uint64_t part(std::uint64_t cycles, std::uint16_t rate) {
    return (cycles >> 10) * rate + ((cycles & 1023) * rate >> 10);
  }
  constexpr std::uint64_t instructions(std::uint64_t cycles) const { return part(cycles, instruction_rate); }
  constexpr std::uint64_t unique_stores(std::uint64_t cycles) const { return part(cycles, unique_store_rate); }
  constexpr std::uint64_t backward_branches(std::uint64_t cycles) const { return part(cycles, backward_branch_rate); }

  constexpr std::uint64_t pack() const {
    return instruction_rate | std::uint64_t{unique_store_rate} << 16 | std::uint64_t{backward_branch_rate} << 32;
  }
  static constexpr work_profile unpack(std::uint64_t b) {
    return {static_cast<std::uint16_t>(b), static_cast<std::uint16_t>(b >> 16), static_cast<std::uint16_t>(b >> 32)};
  }
};

struct cpuid_result {
  std::uint32_t eax, ebx, ecx, edx;
};

using gpr = vmx::general_register;

/// The instruction set: everything a program may await besides other programs. Each value is an instruction to issue at
/// the next boundary of the CPU that runs the strand. Whether it executes, faults or exits is the CPU's business.
namespace isa {

template <class R>
struct operation : instruction {
  using instruction::instruction;
  R await_resume() const {
    raise_if_faulted();
    if constexpr (std::is_same_v<R, bool>)
      return result != 0;
    else if constexpr (!std::is_void_v<R>)
      return static_cast<R>(result);
  }
};

template <class R>
struct memory_operation : memory_instruction {
  memory_operation(opcode c, word& w, std::uint64_t first = 0, std::uint64_t second = 0) : memory_instruction{c, w} {
    a = first;
    b = second;
  }
  R await_resume() const {
    if constexpr (!std::is_void_v<R>) return result;
  }
};

struct cpuid_operation : instruction {
  cpuid_result registers{};
  cpuid_operation() : instruction{opcode::cpuid} {}
  cpuid_result await_resume() const { return registers; }
};

struct switch_operation : instruction {
  switch_operation() : instruction{opcode::switch_to} {}
  strand* from = nullptr;
  strand* to = nullptr;
  spin_subject* follower = nullptr;
  strand* await_resume() const { return from; }
};

/// A block of straight-line code that takes `duration` cycles; interruptible at any cycle, resumes with what is left.
/// Zero cycles complete at once. `profile` says what it retires.
inline operation<void> compute(cycles duration, work_profile profile = {}) {
  operation<void> op{opcode::compute};
  op.a = duration.count();
  op.b = profile.pack();
  return op;
}
/// The same at `where`, which is where the program is as long as it lasts.
struct located_compute : operation<void> {
  located_compute(const code_location& at, cycles duration) : operation{opcode::compute}, where{&at} {
    a = duration.count();
    b = work_profile{}.pack();
  }
  template <class P>
  void await_suspend(std::coroutine_handle<P> self) {
    position = self.promise().at;
    before = std::exchange(position->location, where);
    instruction::await_suspend(self);
  }
  void await_resume() const { position->location = before; }

  const code_location* where;
  const code_location* before = nullptr;
  cpu::detail::strand_position* position = nullptr;
};
inline located_compute compute_at(const code_location& where, cycles duration) { return {where, duration}; }
/// The instruction if `wanted`, else nothing at all, not even a boundary.
template <class Op>
struct conditional : Op {
  bool wanted;
  conditional(bool issue, Op op) : Op{std::move(op)}, wanted{issue} {}
  bool await_ready() const noexcept { return !wanted; }
  void await_resume() const {
    if (wanted) Op::await_resume();
  }
};
template <class Op>
conditional<Op> when(bool wanted, Op op) {
  return {wanted, std::move(op)};
}
inline memory_operation<std::uint64_t> load(word& from) { return {opcode::load, from}; }
/// A store of the bits of `mask` only, as a narrower MOV does; the others keep what they hold when it takes effect.
inline memory_operation<void> store_part(word& to, std::uint64_t mask, std::uint64_t value) {
  return {opcode::store, to, value, mask};
}
inline memory_operation<void> store(word& to, std::uint64_t value) { return store_part(to, ~std::uint64_t{0}, value); }
/// LOCK CMPXCHG: the old value; `desired` was stored if it equals `expected`.
inline memory_operation<std::uint64_t> cmpxchg(word& at, std::uint64_t expected, std::uint64_t desired) {
  return {opcode::cmpxchg, at, expected, desired};
}
/// XCHG, LOCK XADD, and LOCK OR/AND with the old value as result. `exchange_part` swaps the bits of `mask` only, as a
/// narrower XCHG does, and its result is the old value of these bits, in place.
inline memory_operation<std::uint64_t> exchange_part(word& at, std::uint64_t mask, std::uint64_t v) {
  return {opcode::exchange, at, v, mask};
}
inline memory_operation<std::uint64_t> exchange(word& at, std::uint64_t v) {
  return exchange_part(at, ~std::uint64_t{0}, v);
}
inline memory_operation<std::uint64_t> fetch_add(word& at, std::uint64_t v) { return {opcode::fetch_add, at, v}; }
inline memory_operation<std::uint64_t> fetch_or(word& at, std::uint64_t v) { return {opcode::fetch_or, at, v}; }
inline memory_operation<std::uint64_t> fetch_and(word& at, std::uint64_t v) { return {opcode::fetch_and, at, v}; }
/// The same instruction; the witness is told of its effect.
template <class R>
memory_operation<R> witnessed(memory_operation<R> op, effect_witness& by) {
  op.witness = &by;
  return op;
}
inline operation<void> pause() { return operation<void>{opcode::pause}; }

/// The loop { load; leave unless the predicate holds; PAUSE } until the predicate fails or `limit` PAUSEs are done.
/// `site` is the address of the PAUSE. Interruptible at its boundaries. In fast mode it costs a few events however
/// long it spins.
inline spin_instruction spin_while(word& w, spin_predicate p, const code_location& site,
                                   spin_subject* subject = nullptr, std::uint64_t limit = 0) {
  return {w, p, site, subject, limit};
}

/// HLT. A CPU with interrupts disabled that halts never wakes but by NMI or INIT.
inline operation<void> hlt() { return operation<void>{opcode::hlt}; }
/// STI holds interrupts off for one more instruction (SDM Vol. 2B, STI).
inline operation<void> sti() { return operation<void>{opcode::sti}; }
inline operation<void> cli() { return operation<void>{opcode::cli}; }
inline operation<std::uint64_t> rdtsc() { return operation<std::uint64_t>{opcode::rdtsc}; }
inline operation<std::uint64_t> rdmsr(std::uint32_t msr) {
  operation<std::uint64_t> op{opcode::rdmsr};
  op.a = msr;
  return op;
}
inline operation<void> wrmsr(std::uint32_t msr, std::uint64_t value) {
  operation<void> op{opcode::wrmsr};
  op.a = msr;
  op.b = value;
  return op;
}
inline cpuid_operation cpuid(std::uint32_t leaf, std::uint32_t subleaf = 0) {
  cpuid_operation op;
  op.a = leaf;
  op.b = subleaf;
  return op;
}
/// VMCALL with a hypercall number and one argument in RAX and RBX; the result is RAX.
inline operation<std::uint64_t> vmcall(std::uint64_t number, std::uint64_t argument = 0) {
  operation<std::uint64_t> op{opcode::vmcall};
  op.a = number;
  op.b = argument;
  return op;
}
namespace detail {
inline operation<std::uint64_t> bus_operation(opcode code, physical_address at, unsigned bytes) {
  if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8)
    throw std::invalid_argument("an access to a device has 1, 2, 4 or 8 bytes");
  operation<std::uint64_t> op{code};
  op.a = at;
  op.size = static_cast<std::uint8_t>(bytes);
  return op;
}
}  // namespace detail
/// An uncached read of 1, 2, 4 or 8 bytes of a device outside the machine, little-endian. It leaves the CPU after the
/// cost of a load and completes when the answer is back; it cannot be interrupted. Where no device answers - no bus, or
/// none at the address - it reads all ones.
inline operation<std::uint64_t> mmio_read(physical_address at, unsigned bytes) {
  return detail::bus_operation(opcode::mmio_read, at, bytes);
}
/// An uncached write to a device outside the machine, not posted: it completes when the device has taken it. Where
/// no device answers it has no effect. The result means nothing.
inline operation<std::uint64_t> mmio_write(physical_address at, std::uint64_t value, unsigned bytes) {
  operation<std::uint64_t> op = detail::bus_operation(opcode::mmio_write, at, bytes);
  op.b = value;
  return op;
}
/// XSAVE and XRSTOR of one thread's whole extended state: only their time is modelled.
inline operation<void> xsave() { return operation<void>{opcode::xsave}; }
inline operation<void> xrstor() { return operation<void>{opcode::xrstor}; }

/// A kernel's stack switch: this strand stops and `to` goes on on this CPU. Awaiting it returns, after the switch
/// back, the strand that was left then. `follower` awaits `to` from the cycle of the switch on: ground truth beside
/// loops that wait for the strand that a CPU runs.
inline switch_operation switch_to(strand& to, spin_subject* follower = nullptr) {
  switch_operation op;
  op.to = &to;
  op.follower = follower;
  return op;
}

namespace detail {
inline operation<void> vmx_operation(opcode code, std::uint64_t operand) {
  operation<void> op{code};
  op.a = operand;
  return op;
}
}  // namespace detail
/// VMX instructions throw `vm_fail` when they fail and `fault` when they fault. Operands are physical addresses.
inline operation<void> vmxon(physical_address region) { return detail::vmx_operation(opcode::vmxon, region); }
inline operation<void> vmxoff() { return detail::vmx_operation(opcode::vmxoff, 0); }
inline operation<void> vmclear(physical_address region) { return detail::vmx_operation(opcode::vmclear, region); }
inline operation<void> vmptrld(physical_address region) { return detail::vmx_operation(opcode::vmptrld, region); }
inline operation<std::uint64_t> vmptrst() { return operation<std::uint64_t>{opcode::vmptrst}; }
inline operation<std::uint64_t> vmread(vmx::field f) {
  operation<std::uint64_t> op{opcode::vmread};
  op.a = static_cast<std::uint32_t>(f);
  return op;
}
inline operation<void> vmwrite(vmx::field f, std::uint64_t value) {
  operation<void> op{opcode::vmwrite};
  op.a = static_cast<std::uint32_t>(f);
  op.b = value;
  return op;
}
/// Suspended until the VM exit, which is the result.
inline vm_entry_instruction vmlaunch() { return vm_entry_instruction{opcode::vmlaunch}; }
inline vm_entry_instruction vmresume() { return vm_entry_instruction{opcode::vmresume}; }

}  // namespace isa
}  // namespace vmxsys::cpu
