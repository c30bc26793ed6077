#pragma once
#include <boost/describe.hpp>
#include <cstdint>

#include <vmxsys/cpu/facts/fact.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>

// The facts that the hypervisor records, where its own tracepoints are: what software can see, without the hardware's
// part of a transition. The source is the host CPU.
namespace vmxsys::models {

/// kvm_entry: just before VMLAUNCH or VMRESUME.
struct kvm_entry_fact {
  static constexpr const char* fact_name = "kvm_entry";
  std::uint16_t vm;
  std::uint16_t vcpu;
  std::uint16_t cpu;
  std::uint32_t pid;
  std::uint64_t rip;
};
BOOST_DESCRIBE_STRUCT(kvm_entry_fact, (), (vm, vcpu, cpu, pid, rip))

/// kvm_exit: right after the VM exit.
struct kvm_exit_fact {
  static constexpr const char* fact_name = "kvm_exit";
  std::uint16_t vm;
  std::uint16_t vcpu;
  std::uint16_t cpu;
  std::uint32_t pid;
  vmx::exit_reason reason;
  std::uint64_t rip;
  std::uint64_t qualification;
  std::uint32_t interruption_information;
};
BOOST_DESCRIBE_STRUCT(kvm_exit_fact, (), (vm, vcpu, cpu, pid, reason, rip, qualification, interruption_information))

struct ple_window_fact {
  static constexpr const char* fact_name = "kvm_ple_window_update";
  std::uint16_t vm;
  std::uint16_t vcpu;
  std::uint32_t from;
  std::uint32_t to;
};
BOOST_DESCRIBE_STRUCT(ple_window_fact, (), (vm, vcpu, from, to))

/// kvm_wait_lapic_expire: a timer that was let expire early is entered with at `delta` guest TSC cycles after its
/// deadline; before it, if negative: the entry is then put off.
struct wait_lapic_expire_fact {
  static constexpr const char* fact_name = "kvm_wait_lapic_expire";
  std::uint16_t vm;
  std::uint16_t vcpu;
  std::int64_t delta;
};
BOOST_DESCRIBE_STRUCT(wait_lapic_expire_fact, (), (vm, vcpu, delta))

/// Software has posted an interrupt (vmx_deliver_posted_interrupt). `notified`: the notification was sent; `woken`: the
/// vCPU waited and was woken. Neither: it was posted already, or the vCPU will look before it enters.
struct post_fact {
  static constexpr const char* fact_name = "kvm_post";
  std::uint16_t vm;
  std::uint16_t vcpu;
  std::uint8_t vector;
  std::uint16_t cpu;  ///< of the sender
  std::uint8_t notified;
  std::uint8_t woken;
};
BOOST_DESCRIBE_STRUCT(post_fact, (), (vm, vcpu, vector, cpu, notified, woken))

struct inject_fact {
  static constexpr const char* fact_name = "kvm_inj_virq";
  std::uint16_t vm;
  std::uint16_t vcpu;
  std::uint8_t vector;
};
BOOST_DESCRIBE_STRUCT(inject_fact, (), (vm, vcpu, vector))

/// One run of the PLE handler. `candidates` were looked at, `attempts` handed to yield_to, `accepted` is the index of
/// the boosted vCPU plus one, 0 if none.
struct on_spin_fact {
  static constexpr const char* fact_name = "kvm_vcpu_on_spin";
  std::uint16_t vm;
  std::uint16_t vcpu;
  std::uint16_t candidates;
  std::uint16_t attempts;
  std::uint16_t accepted;
};
BOOST_DESCRIBE_STRUCT(on_spin_fact, (), (vm, vcpu, candidates, attempts, accepted))

/// A vCPU blocked for `duration` because its guest had nothing to do.
struct vcpu_block_fact {
  static constexpr const char* fact_name = "kvm_vcpu_block";
  std::uint16_t vm;
  std::uint16_t vcpu;
  cycles duration;
};
BOOST_DESCRIBE_STRUCT(vcpu_block_fact, (), (vm, vcpu, duration))

}  // namespace vmxsys::models
