#pragma once
// How a hypervisor's software posts interrupts and enters, leaves, blocks and moves a vCPU without losing one: every
// step that others can see, one at a time.
//
// Source: arch/x86/kvm/vmx/vmx.c (vmx_deliver_posted_interrupt, kvm_vcpu_trigger_posted_interrupt,
// vmx_sync_pir_to_irr), vmx/posted_intr.c (vmx_vcpu_pi_load, vmx_vcpu_pi_put, pi_wakeup_handler,
// pi_has_pending_interrupt), x86.c (vcpu_enter_guest, kvm_vcpu_exit_request) and virt/kvm/kvm_main.c (kvm_vcpu_block,
// kvm_vcpu_kick), v6.1 and v7.2.
//
// A machine is a value: it can be copied, compared and put into bytes, and it knows neither time nor memory. `next()`
// names the one thing it does now; its runner does that - a program with instructions that take time, an explorer
// on a state that it can copy - and tells `done()` what came of it. So a program's order of steps is the explored one.

#include <array>
#include <cstdint>
#include <string>
#include <variant>

#include <vmxsys/models/kernel/vectors.hpp>

#include "state_bytes.hpp"

namespace vmxsys::models {

/// Those of Linux' vectors that only posting uses (arch/x86/include/asm/irq_vectors.h). It also sends the kernel's
/// `vector::reschedule`.
namespace posting_vector {
inline constexpr std::uint8_t notification = 0xf2;
inline constexpr std::uint8_t wakeup = 0xf1;
}  // namespace posting_vector

/// Where a vCPU is, as others may read it (vcpu->mode).
enum class vcpu_mode : std::uint8_t {
  outside_guest,
  in_guest,  ///< in the guest, or about to enter with interrupts off: a poster must interrupt it
  exiting,   ///< was `in_guest` and has been asked to leave
};

/// Bits of a vCPU's requests that the machines themselves make. Others may be there; any of them ends an entry.
namespace posting_request {
inline constexpr std::uint64_t event = 1;  ///< look for an interrupt to inject
}  // namespace posting_request

/// One step as others see it: everything it does happens at once. "Locked" means an atomic read-modify-write of the one
/// cache line that holds the descriptor.
enum class posting_operation : std::uint8_t {
  none,  ///< the machine has finished
  // The posted-interrupt descriptor of vCPU `vcpu`.
  set_pir,        ///< locked: PIR bit `vector` becomes 1; result: the bit before
  set_on,         ///< locked: ON becomes 1; result: the bit before
  clear_on,       ///< locked: ON becomes 0; result: the bit before
  set_sn,         ///< locked: SN becomes 1; result: the bit before
  clear_sn,       ///< locked: SN becomes 0; result: the bit before
  load_info,      ///< result: the 64-bit word with ON, SN, NV and NDST
  exchange_info,  ///< locked compare-and-exchange of that word, `expected` for `value`; result: the word before
  load_pir,       ///< result: 64-bit word number `word` (0 .. 3) of PIR
  take_pir,       ///< locked exchange of that word for 0; result: the word before
  // The virtual APIC of vCPU `vcpu`.
  merge_irr,   ///< 64 bits of VIRR, number `word`, |= `value`
  update_rvi,  ///< RVI = highest bit of VIRR (0: none), if there is a VMCS to hold it; result: the highest vector that
               ///< could be delivered, or 0
  set_irr,     ///< locked: VIRR bit `vector` becomes 1; result: the bit before
  // What the hypervisor keeps of vCPU `vcpu`.
  load_mode,       ///< result: vcpu_mode
  store_mode,      ///< mode = `value`, and no later step is seen before it (full barrier)
  exchange_mode,   ///< locked compare-and-exchange, `expected` for `value`; result: the mode before
  load_cpu,        ///< result: the physical CPU on which it is or was loaded last
  set_request,     ///< locked: requests |= `value`
  load_requests,   ///< result: its requests, and what else keeps its thread from entering (signal, reschedule)
  serve_requests,  ///< takes its requests and does what they ask: an event is injected
  // Its thread.
  announce_wait,  ///< the thread counts as waiting from now on: a wake-up will find it
  cancel_wait,    ///< not any more
  sleep,          ///< gives up the CPU unless a wake-up came since `announce_wait`; done when the thread runs again
  wake_up,        ///< result: 1 if the thread was waiting and no other wake-up had come, else 0
  // List of the vCPUs that wait on physical CPU `cpu`, each under that list's lock.
  add_waiter,
  remove_waiter,
  lock_waiters,  ///< takes the list's lock and keeps it
  next_waiter,   ///< result: 1 + number of the vCPU at position `value` of the list, 0 at its end
  unlock_waiters,
  // This CPU.
  send_ipi,            ///< vector `vector` to physical CPU `cpu`
  disable_interrupts,  ///< physical interrupts wait
  enable_interrupts,   ///< and are taken
  enter_guest,         ///< VM entry of `vcpu`; done when it has exited
};
const char* name_of(posting_operation what) noexcept;

/// A step. `vcpu` is a number that the runner understands; fields that the operation does not name are 0.
struct posting_action {
  posting_operation what = posting_operation::none;
  std::uint8_t vector = 0;
  std::uint8_t word = 0;
  std::uint16_t vcpu = 0;
  std::uint32_t cpu = 0;
  std::uint64_t expected = 0;
  std::uint64_t value = 0;

  friend bool operator==(const posting_action&, const posting_action&) = default;
};

/// "set_pir(vcpu 1, vector 0x31) = 0": for people.
std::string describe(const posting_action& action, std::uint64_t result);

/// In which order the steps come. All but the first are mistakes, each once made in real code or an obvious
/// short cut; they exist so that the explorer can show what each of them loses.
enum class posting_order : std::uint8_t {
  as_shipped,
  syncs_before_announcing,    ///< entry: looks at PIR first, then sets the mode
  announces_late,             ///< entry: sets the mode only right before VM entry, after requests were checked too
  clears_on_after_harvest,    ///< sync: takes PIR, then clears ON
  posts_on_before_pir,        ///< sender: ON first, then the PIR bit
  reads_mode_before_posting,  ///< sender: looks where the target is, then posts
  checks_before_waiting,      ///< block: looks for something to do, then counts as waiting
  ignores_on_after_switch,    ///< put: does not look at ON after NV has become the wake-up vector
  ignores_pir_after_load,     ///< load: does not look at PIR after SN was cleared
  keeps_destination,          ///< load: NDST stays that of the CPU before
};

/// PIR to VIRR, by the CPU that owns the vCPU. v6.1: vmx_sync_pir_to_irr; words of PIR are 64 bits as since v6.16.
class posting_sync {
 public:
  explicit posting_sync(std::uint16_t vcpu = 0, posting_order order = posting_order::as_shipped) noexcept;

  posting_action next() const noexcept;
  void done(std::uint64_t result) noexcept;
  bool finished() const noexcept { return step_ == step::finished; }
  /// The highest vector that could be delivered, or 0. Only when finished.
  std::uint8_t highest() const noexcept { return highest_; }
  void encode(state_bytes& to) const;
  friend bool operator==(const posting_sync&, const posting_sync&) = default;

 private:
  enum class step : std::uint8_t { look, clear, load, take, merge, clear_late, rvi, finished };
  void first_word(step with) noexcept;

  posting_order order_;
  step step_ = step::look;
  std::uint8_t word_ = 0;
  std::uint8_t highest_ = 0;
  std::uint16_t vcpu_;
  std::array<std::uint64_t, 4> found_{};
};

/// No vCPU is loaded.
inline constexpr std::uint16_t no_vcpu = 0xffff;

/// kvm_vcpu_kick: makes a vCPU look at its requests, with one IPI at most. `running` is the vCPU loaded on the sender's
/// own CPU: it needs none.
class posting_kick {
 public:
  posting_kick(std::uint16_t target, std::uint32_t my_cpu, std::uint16_t running = no_vcpu) noexcept
      : target_{target}, running_{running}, my_cpu_{my_cpu} {}

  posting_action next() const noexcept;
  void done(std::uint64_t result) noexcept;
  bool finished() const noexcept { return step_ == step::finished; }
  void encode(state_bytes& to) const;
  friend bool operator==(const posting_kick&, const posting_kick&) = default;

 private:
  enum class step : std::uint8_t { wake, look, mark, exchange, find, send, finished };

  step step_ = step::wake;
  std::uint16_t target_;
  std::uint16_t running_;
  std::uint32_t my_cpu_;
  std::uint32_t cpu_ = 0;
};

/// vmx_deliver_interrupt: software on `my_cpu` posts `vector` to `target`. `running` is the vCPU loaded there: it needs
/// no IPI. With `apicv` false the vector goes into VIRR and the target is kicked.
class posting_sender {
 public:
  posting_sender(std::uint16_t target, std::uint8_t vector, std::uint32_t my_cpu, std::uint16_t running = no_vcpu,
                 bool apicv = true, posting_order order = posting_order::as_shipped) noexcept;

  posting_action next() const noexcept;
  void done(std::uint64_t result) noexcept;
  bool finished() const noexcept { return step_ == step::finished; }
  void encode(state_bytes& to) const;
  friend bool operator==(const posting_sender&, const posting_sender&) = default;

 private:
  enum class step : std::uint8_t { pir, on, mode, find, send, wake, irr, request, kick, finished };
  /// After PIR and ON are set: by the mode that was read.
  void notify() noexcept;

  posting_order order_;
  step step_;
  std::uint8_t vector_;
  vcpu_mode mode_ = vcpu_mode::outside_guest;
  bool told_ = false;  ///< posts_on_before_pir: ON was set already
  std::uint16_t target_;
  std::uint16_t running_;
  std::uint32_t cpu_ = 0;
  posting_kick kick_;
};

/// vcpu_enter_guest up to the VM entry. Ends with the guest having run and exited (`entered()`), mode still `in_guest`
/// and interrupts off - run a `posting_leave` or a re-entry next - or without entry, outside and with interrupts on.
class posting_entry {
 public:
  posting_entry(std::uint16_t vcpu, bool apicv = true, posting_order order = posting_order::as_shipped) noexcept;
  /// The fast path's way back: mode is still `in_guest` and interrupts are off.
  static posting_entry again(std::uint16_t vcpu, bool apicv = true,
                             posting_order order = posting_order::as_shipped) noexcept;

  posting_action next() const noexcept;
  void done(std::uint64_t result) noexcept;
  bool finished() const noexcept { return step_ == step::finished; }
  bool entered() const noexcept { return entered_; }
  void encode(state_bytes& to) const;
  friend bool operator==(const posting_entry&, const posting_entry&) = default;

 private:
  enum class step : std::uint8_t {
    serve,
    interrupts_off,
    announce,
    sync,
    check_mode,
    check_requests,
    enter,
    withdraw,
    interrupts_on,
    finished
  };
  step after(step s) const noexcept;

  posting_order order_;
  step step_ = step::serve;
  bool apicv_;
  bool entered_ = false;
  std::uint16_t vcpu_;
  posting_sync sync_;
};

/// vcpu_enter_guest after the VM exit.
class posting_leave {
 public:
  explicit posting_leave(std::uint16_t vcpu) noexcept : vcpu_{vcpu} {}

  posting_action next() const noexcept;
  void done(std::uint64_t result) noexcept;
  bool finished() const noexcept { return step_ == 2; }
  void encode(state_bytes& to) const;
  friend bool operator==(const posting_leave&, const posting_leave&) = default;

 private:
  std::uint8_t step_ = 0;
  std::uint16_t vcpu_;
};

/// kvm_vcpu_block: sleeps until there is something to run for. The scheduler runs `posting_put` and `posting_load`
/// while `sleep` lasts.
class posting_block {
 public:
  posting_block(std::uint16_t vcpu, bool apicv = true, posting_order order = posting_order::as_shipped) noexcept;

  posting_action next() const noexcept;
  void done(std::uint64_t result) noexcept;
  bool finished() const noexcept { return step_ == step::finished; }
  void encode(state_bytes& to) const;
  friend bool operator==(const posting_block&, const posting_block&) = default;

 private:
  enum class step : std::uint8_t { announce, sync, rvi, requests, cancel, sleep, finished };
  step begin() const noexcept;
  step check() const noexcept { return apicv_ ? step::sync : step::rvi; }
  void looked(bool found) noexcept;

  posting_order order_;
  step step_;
  bool apicv_;
  std::uint16_t vcpu_;
  posting_sync sync_;
};

/// Why a vCPU leaves its physical CPU.
struct posting_put_reason {
  bool preempted = false;           ///< its thread could go on running
  bool blocking = false;            ///< its thread waits (between announce_wait and cancel_wait)
  bool interrupts_blocked = false;  ///< RFLAGS.IF is 0 in the guest, or it is in a shadow of STI or MOV SS
  bool hardware_posts = true;       ///< into this descriptor: IPI virtualization, a device with posted interrupts
  friend bool operator==(const posting_put_reason&, const posting_put_reason&) = default;
};

/// vmx_vcpu_pi_put. Where only software posts nothing is to be done, since it wakes its target: the machine has
/// finished from the start.
class posting_put {
 public:
  posting_put(std::uint16_t vcpu, std::uint32_t my_cpu, posting_put_reason why,
              posting_order order = posting_order::as_shipped) noexcept;

  posting_action next() const noexcept;
  void done(std::uint64_t result) noexcept;
  bool finished() const noexcept { return step_ == step::finished; }
  void encode(state_bytes& to) const;
  friend bool operator==(const posting_put&, const posting_put&) = default;

 private:
  enum class step : std::uint8_t { suppress, add, load, exchange, tell, finished };

  posting_order order_;
  step step_;
  std::uint16_t vcpu_;
  std::uint32_t cpu_;
  std::uint64_t seen_ = 0;
};

/// vmx_vcpu_pi_load: `vcpu` is now on `my_cpu`, before it was on `last_cpu`. `destination` is what NDST has to say: the
/// APIC ID, in xAPIC mode in bits 15:8.
class posting_load {
 public:
  posting_load(std::uint16_t vcpu, std::uint32_t my_cpu, std::uint32_t last_cpu, std::uint32_t destination,
               posting_order order = posting_order::as_shipped) noexcept;

  posting_action next() const noexcept;
  void done(std::uint64_t result) noexcept;
  bool finished() const noexcept { return step_ == step::finished; }
  void encode(state_bytes& to) const;
  friend bool operator==(const posting_load&, const posting_load&) = default;

 private:
  enum class step : std::uint8_t { look, clear, remove, load, exchange, check, tell, finished };
  void suppression_ended() noexcept;

  posting_order order_;
  step step_ = step::look;
  std::uint8_t word_ = 0;
  std::uint16_t vcpu_;
  std::uint32_t cpu_;
  std::uint32_t last_cpu_;
  std::uint32_t destination_;
  std::uint64_t seen_ = 0;
};

/// pi_wakeup_handler: the handler of the wake-up vector on `my_cpu`.
class posting_wakeup {
 public:
  explicit posting_wakeup(std::uint32_t my_cpu) noexcept : cpu_{my_cpu} {}

  posting_action next() const noexcept;
  void done(std::uint64_t result) noexcept;
  bool finished() const noexcept { return step_ == step::finished; }
  void encode(state_bytes& to) const;
  friend bool operator==(const posting_wakeup&, const posting_wakeup&) = default;

 private:
  enum class step : std::uint8_t { lock, next, look, wake, unlock, finished };

  step step_ = step::lock;
  std::uint16_t vcpu_ = 0;
  std::uint16_t position_ = 0;
  std::uint32_t cpu_;
};

/// pi_has_pending_interrupt, from the info word and PIR: what a directed yield asks of a preempted or blocked vCPU.
bool has_pending_interrupt(std::uint64_t info, const std::array<std::uint64_t, 4>& pir) noexcept;

/// Any of them, or none.
using posting_machine = std::variant<std::monostate, posting_sender, posting_kick, posting_entry, posting_leave,
                                     posting_block, posting_put, posting_load, posting_wakeup>;

}  // namespace vmxsys::models
