#pragma once
// A small machine on which the posting protocol runs in every possible order: no time, only steps. Software takes its
// steps from the machines of `posting_protocol.hpp`, hardware from the rules of apic/. One value is one state; it can
// be copied and put into bytes.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/vmx/vmcs/vmcs.hpp>

#include "posting_protocol.hpp"

namespace vmxsys::models {

/// What runs: as many physical CPUs as vCPUs, APIC ID = number.
struct posting_scenario {
  static constexpr unsigned most_ipis = 6, most_device_posts = 6, most_preemptions = 7;

  posting_order order = posting_order::as_shipped;
  unsigned vcpus = 2;               ///< 1 .. 3
  unsigned ipis = 2;                ///< number n from vCPU n to vCPU n + 1 (modulo their number), 0 .. 6
  unsigned device_posts = 1;        ///< number n to vCPU n + 1, by the rule of interrupt remapping, 0 .. 6
  bool urgent = false;              ///< the device's posts ignore SN
  bool ipi_virtualization = false;  ///< IPIs are posted by the sender's CPU instead of by the hypervisor
  unsigned preemptions = 1;         ///< how often a thread can be made to give up its CPU, 0 .. 7
  bool migration = true;            ///< threads run on any CPU; otherwise each on its own

  /// Every step alone, also those that commute with all others: more states, the same ends.
  bool one_by_one = false;

  /// Null, or what is wrong with it.
  const char* error() const noexcept;
};

/// What every state of an exploration shares.
class posting_rules {
 public:
  static constexpr unsigned most_vcpus = 3;

  /// Throws std::invalid_argument if the scenario has an error.
  explicit posting_rules(const posting_scenario& scenario);

  /// An interrupt of one sender: each has a vector of its own, all in one 64-bit word of PIR.
  struct post {
    bool by_device;
    std::uint8_t sender;  ///< vCPU, unless by the device
    std::uint8_t target;
    std::uint8_t vector;
  };
  const posting_scenario& scenario() const noexcept { return scenario_; }
  const std::vector<post>& posts() const noexcept { return posts_; }
  /// Hardware posts into descriptors without the hypervisor, so that blocked vCPUs need the wake-up vector.
  bool hardware_posts() const noexcept { return scenario_.device_posts != 0 || scenario_.ipi_virtualization; }
  /// Number of the post with this vector.
  unsigned post_of(std::uint8_t vector) const noexcept;

 private:
  posting_scenario scenario_;
  std::vector<post> posts_;
};

/// What can happen next.
struct posting_choice {
  enum kind : std::uint8_t {
    // What has begun goes on by itself.
    go_on,    ///< the CPU's next step: handler, context switch, software, or posted-interrupt processing
    take,     ///< the CPU takes an interrupt, made of `count` that have merged; others are still on their way
    deliver,  ///< the guest takes its virtual interrupt
    preempt,  ///< the thread gives up its CPU, as it was asked to
    run,      ///< the idle CPU runs a thread
    device_go_on,
    // What a guest, the device or the scheduler begins.
    send,        ///< the guest sends an IPI
    send_fast,   ///< and the hypervisor handles it without leaving guest mode
    halt,        ///< the guest halts
    reschedule,  ///< another thread wants the CPU
    device_post,
  };
  kind what = go_on;
  std::uint8_t cpu = 0;
  std::uint8_t which = 0;  ///< vCPU, vector (of `posting_world::vectors`) or post
  std::uint8_t count = 0;

  bool obliged() const noexcept { return what < send; }
  friend bool operator==(const posting_choice&, const posting_choice&) = default;
};

/// One line of a trace.
struct posting_event {
  std::string who;
  std::string what;
};

/// One state.
class posting_world {
 public:
  /// Vectors that physical CPUs send each other.
  static constexpr std::array<std::uint8_t, 3> vectors{posting_vector::notification, posting_vector::wakeup,
                                                       vector::reschedule};

  /// Every vCPU is about to enter, on its own CPU; nothing is posted. `rules` outlives it and its copies.
  explicit posting_world(const posting_rules& rules);

  /// Everything that can happen, in a fixed order.
  void choices(std::vector<posting_choice>& to) const;
  /// One of them happens: one step that the order of steps of different CPUs can matter to, with those around it that
  /// commute with every step of the others (Lipton's movers). `log`: what happened, for people.
  void happen(const posting_choice& choice, std::vector<posting_event>* log = nullptr);

  /// What is wrong with this state, if something was delivered that was not posted; and with `settled`, where nothing
  /// is under way, if something posted was not delivered. Null if all is well.
  const char* wrong(bool settled) const noexcept;
  /// Where each vCPU is and what waits, as text.
  std::vector<posting_event> describe() const;

  void encode(state_bytes& to) const;

 private:
  friend class posting_memory;
  static constexpr std::uint8_t nobody = 0xff;

  enum class place : std::uint8_t { on_cpu, queued, asleep };
  enum class cause : std::uint8_t { none, halt, ipi, fast_ipi, interrupt };

  struct virtual_cpu {
    std::array<std::uint64_t, 5> descriptor{};  ///< its first 40 bytes
    std::array<std::uint32_t, 8> irr{}, isr{};
    std::uint32_t ppr = 0;
    std::uint16_t status = 0;              ///< guest interrupt status in the VMCS
    apic::virtual_interrupt_state inside;  ///< while in the guest
    apic::posted_processing processing;
    posting_machine program;   ///< what its thread does
    posting_machine transfer;  ///< put or load, while its thread leaves or gets its CPU
    vcpu_mode mode = vcpu_mode::outside_guest;
    place where = place::on_cpu;
    cause exit = cause::none;
    std::uint8_t exit_post = 0;
    std::uint8_t cpu = 0;
    std::uint8_t posting = 0;  ///< IPI virtualization: 1 + post that it is in the middle of
    bool in_guest = false;
    bool interrupts_off = false;
    bool waiting = false;
    bool slept = false;
    bool resched = false;
  };
  struct physical_cpu {
    std::uint8_t current = nobody;
    posting_machine handler;
    std::array<std::uint8_t, vectors.size()> pending{};  ///< sent and not taken
    std::array<std::uint8_t, posting_rules::most_vcpus> waiters{};
    std::uint8_t waiting = 0;
    bool locked = false;
  };

  void software_choices(std::uint8_t p, const virtual_cpu& v, std::vector<posting_choice>& to) const;
  void guest_choices(std::uint8_t p, const virtual_cpu& v, std::vector<posting_choice>& to) const;
  bool can(const posting_machine& machine) const;
  std::uint64_t perform(const posting_action& a, std::uint8_t p);
  enum class mover : std::uint8_t { none, right, left, both };
  mover mover_of(const posting_action& a, bool own) const;
  std::optional<mover> step(std::uint8_t p, bool committed);
  void go_on(std::uint8_t p);
  void go_on_with(std::uint8_t p);
  void machine_step(posting_machine& machine, std::uint8_t p);
  void software_step(std::uint8_t p, virtual_cpu& v);
  void announce_ipi(std::uint8_t p, virtual_cpu& v);
  void processing_step(std::uint8_t p, virtual_cpu& v);
  void program_ended(std::uint8_t number);
  void transfer_ended(std::uint8_t p, std::uint8_t number);
  void switch_out(std::uint8_t p, posting_put_reason why);
  void take(std::uint8_t p, std::uint8_t vector, std::uint8_t count);
  void leave_guest(virtual_cpu& v, cause why, std::uint8_t post);
  void deliver(std::uint8_t p);
  void send_notification(const apic::notification& n);
  template <class... Parts>
  void say(std::uint8_t p, const Parts&... parts) const;
  std::string cpu_name(std::uint8_t p) const;
  std::uint8_t number_of(const virtual_cpu& v) const { return static_cast<std::uint8_t>(&v - vcpus_.data()); }
  template <class F>
  auto with_apic(std::uint8_t number, F act);

  const posting_rules* rules_;
  std::vector<posting_event>* log_ = nullptr;
  std::array<virtual_cpu, posting_rules::most_vcpus> vcpus_;
  std::array<physical_cpu, posting_rules::most_vcpus> cpus_;
  std::uint16_t unsent_ = 0;  ///< posts not begun
  std::uint16_t owed_ = 0;    ///< posts in PIR or on from there, not delivered
  std::uint8_t preemptions_ = 0;
  std::uint8_t device_ = 0;  ///< 1 + post that the device is in the middle of
  bool surplus_ = false;     ///< something was delivered that was not owed
};

}  // namespace vmxsys::models
