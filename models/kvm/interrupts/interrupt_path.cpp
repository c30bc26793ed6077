#include "interrupt_path.hpp"

#include <stdexcept>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/kvm.hpp>

#include "msr_bitmap.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

namespace {

constexpr physical_address apic_access_page = apic::apic_base::reset_page;

void ask_for_xapic(vmx::minimal_vmcs_options& options) {
  options.primary |= vmx::primary::use_tpr_shadow;
  options.secondary |= vmx::secondary::virtualize_apic_accesses;
}

}  // namespace

cpu::program interrupt_path::accept_level_triggered(vcpu& target, std::uint8_t vector) const {
  return accept(target, vector);
}
cpu::program interrupt_path::host_interrupt(kvm&, unsigned, std::uint8_t) const { co_return; }

/// Every access of a guest to its local APIC exits; interrupts are injected at VM entry, and a vCPU in the guest is
/// kicked out of it (enable_apicv=0). Guests in xAPIC mode have FlexPriority: only the TPR is virtualized.
class injected_path : public interrupt_path {
 public:
  const char* name() const noexcept override { return "injected"; }
  void ask_for(vmx::minimal_vmcs_options& options, apic::apic_mode mode) const override {
    if (mode == apic::apic_mode::xapic) {
      ask_for_xapic(options);
    } else {  // without a TPR shadow CR8 would be the host's
      options.primary |= vmx::primary::cr8_load_exiting | vmx::primary::cr8_store_exiting;
    }
  }
  cpu::program set_up(vcpu& v) const override {
    if (!v.virtual_apic_) co_return;
    co_await isa::vmwrite(field::virtual_apic_address, v.virtual_apic_->page.address());
    co_await isa::vmwrite(field::tpr_threshold, 0);
    co_await isa::vmwrite(field::apic_access_address, apic_access_page);
  }
  cpu::program accept(vcpu& target, std::uint8_t vector) const override {
    target.apic_.accept(vector);
    co_await target.kick();
  }
  cpu::program accept_level_triggered(vcpu& target, std::uint8_t vector) const override {
    target.apic_.accept(vector, true);
    co_await target.kick();
  }
};

/// The guest has the ICR: its IPIs leave without an exit and address physical CPUs. They take a vCPU out of its guest
/// as any interrupt does, and are injected. Only for vCPUs that have their CPUs to themselves, which is not checked
/// while they run: a guest can interrupt whom it likes. As Dune lets a process (Belay et al., OSDI '12) and Shinjuku
/// its dispatcher (Kaffes et al., NSDI '19) send.
class direct_path final : public injected_path {
 public:
  const char* name() const noexcept override { return "direct"; }
  void prepare(virtual_machine& vm) const override {
    if (vm.apic_mode() != apic::apic_mode::x2apic)
      throw std::invalid_argument("interrupt path 'direct' needs guests in x2APIC mode");
    kvm& k = vm.kvm_;
    if (k.host_.apic_mode() != apic::apic_mode::x2apic)
      throw std::invalid_argument("interrupt path 'direct' needs a host in x2APIC mode: the guest's ICR is the host's");
    k.dedicated_.resize(k.host_.cpus(), nullptr);
    for (unsigned i = 0; i < vm.vcpus(); ++i) {
      vcpu& v = vm.cpu(i);
      const std::vector<bool>& allowed = v.thread_->entity->affinity;
      unsigned cpus = 0;
      for (const bool a : allowed) cpus += a;
      if (cpus != 1 || i >= allowed.size() || !allowed[i] || k.dedicated_[i] != nullptr)
        throw std::invalid_argument("interrupt path 'direct' needs vCPU " + std::to_string(i) + " of '" + vm.name() +
                                    "' bound to CPU " + std::to_string(i) + ", and nobody else there");
      k.dedicated_[i] = &v;
    }
    vm.msr_bitmap_ = k.host_.memory().take(msr_bitmap::bytes, msr_bitmap::bytes);
    msr_bitmap{k.host_.hardware().physical(), vm.msr_bitmap_}.intercept_all();
  }
  // INIT and SIPI are emulated, so the ICR is the guest's only when nobody waits for them any more.
  void all_started(virtual_machine& vm) const override {
    msr_bitmap{vm.kvm_.host_.hardware().physical(), vm.msr_bitmap_}.allow_write(apic::msr::icr);
  }
  cpu::program host_interrupt(kvm& k, unsigned cpu, std::uint8_t vector) const override {
    vcpu* target = cpu < k.dedicated_.size() ? k.dedicated_[cpu] : nullptr;
    if (target != nullptr) co_await accept(*target, vector);
  }
};

/// The processor keeps the local APIC in a virtual-APIC page and delivers from there; who sends writes a
/// posted-interrupt descriptor and, if the target is in its guest, sends one physical interrupt that does not exit
/// (enable_apicv=1). With `by_hardware` processors do that for IPIs of guests themselves (enable_ipiv=1).
class posted_path final : public interrupt_path {
 public:
  explicit posted_path(bool by_hardware) : by_hardware_{by_hardware} {}
  const char* name() const noexcept override { return by_hardware_ ? "ipi_virtualized" : "posted"; }
  bool posts() const noexcept override { return true; }
  bool posts_by_hardware() const noexcept override { return by_hardware_; }

  void prepare(virtual_machine& vm) const override {
    kernel& host = vm.kvm_.host_;
    physical_memory& memory = host.hardware().physical();
    vm.msr_bitmap_ = host.memory().take(msr_bitmap::bytes, msr_bitmap::bytes);
    msr_bitmap bitmap{memory, vm.msr_bitmap_};
    bitmap.intercept_all();
    vm.kvm_.timers_->open(bitmap);
    if (vm.apic_mode() == apic::apic_mode::x2apic) {  // vmx_update_msr_bitmap_x2apic
      for (std::uint32_t msr = apic::msr::x2apic_first; msr <= apic::msr::x2apic_last; ++msr)
        if (msr != apic::msr::current_count) bitmap.allow_read(msr);
      for (const std::uint32_t msr : {apic::msr::tpr, apic::msr::eoi, apic::msr::self_ipi}) bitmap.allow_write(msr);
      if (by_hardware_) bitmap.allow_write(apic::msr::icr);
    }
    if (!by_hardware_) return;
    namespace entry = apic::pid_pointer;
    vm.pid_table_ = host.memory().take(entry::bytes * vm.vcpus(), 4096);
    for (unsigned i = 0; i < vm.vcpus(); ++i)
      memory.write(vm.pid_table_ + entry::bytes * i, entry::encode(vm.cpu(i).virtual_apic_->descriptor));
  }
  void ask_for(vmx::minimal_vmcs_options& options, apic::apic_mode mode) const override {
    options.pin |= vmx::pin_based::process_posted_interrupts;
    options.primary |= vmx::primary::use_tpr_shadow;
    options.secondary |= vmx::secondary::apic_register_virtualization | vmx::secondary::virtual_interrupt_delivery;
    if (mode == apic::apic_mode::xapic)
      ask_for_xapic(options);
    else
      options.secondary |= vmx::secondary::virtualize_x2apic_mode;
    if (by_hardware_) options.tertiary |= vmx::tertiary::ipi_virtualization;
  }
  cpu::program set_up(vcpu& v) const override {
    const virtual_apic_memory& m = *v.virtual_apic_;
    co_await isa::vmwrite(field::virtual_apic_address, m.page.address());
    co_await isa::vmwrite(field::tpr_threshold, 0);
    for (const field f :
         {field::eoi_exit_bitmap_0, field::eoi_exit_bitmap_1, field::eoi_exit_bitmap_2, field::eoi_exit_bitmap_3})
      co_await isa::vmwrite(f, 0);
    co_await isa::vmwrite(field::guest_interrupt_status, 0);
    co_await isa::vmwrite(field::posted_interrupt_notification_vector, posting_vector::notification);
    co_await isa::vmwrite(field::posted_interrupt_descriptor_address, m.descriptor);
    if (v.vm().apic_mode() == apic::apic_mode::xapic)
      co_await isa::vmwrite(field::apic_access_address, apic_access_page);
    if (!by_hardware_) co_return;
    co_await isa::vmwrite(field::pid_pointer_table_address, v.vm().pid_table_);
    co_await isa::vmwrite(field::last_pid_pointer_index, v.vm().vcpus() - 1);
  }
  cpu::program accept(vcpu& target, std::uint8_t vector) const override {
    if (!target.apic_.software_enabled()) co_return;  // __apic_accept_irq
    auto here = co_await isa::in(code::deliver_posted_interrupt);
    kvm& k = target.vm_.kvm_;
    const unsigned cpu = k.host_.index_of(co_await isa::this_cpu());
    co_await isa::compute(k.costs().post);
    posting_sender sender{target.virtual_apic_->number, vector, cpu, k.running_[cpu]};
    post_fact fact{static_cast<std::uint16_t>(target.vm_.number_),
                   static_cast<std::uint16_t>(target.index_),
                   vector,
                   static_cast<std::uint16_t>(cpu),
                   0,
                   0};
    while (!sender.finished()) {
      const posting_action action = sender.next();
      const std::uint64_t result = co_await k.perform(action);
      fact.notified |= action.what == posting_operation::send_ipi;
      fact.woken |= action.what == posting_operation::wake_up && result != 0;
      sender.done(result);
    }
    k.host_.state(cpu, fact);
  }
  // A notification that finds its vCPU outside the guest has nothing left to do: the next entry looks.
  cpu::program host_interrupt(kvm& k, unsigned cpu, std::uint8_t vector) const override {
    if (vector != posting_vector::wakeup) co_return;
    auto here = co_await isa::in(code::pi_wakeup_handler);
    posting_wakeup wakeup{cpu};
    co_await k.run(wakeup);
  }

 private:
  bool by_hardware_;
};

std::span<const interrupt_path_entry> interrupt_paths() {
  using word = vmx::control_word;
  static const std::vector<required_control> posted{
      {word::primary, vmx::primary::use_tpr_shadow},
      {word::secondary, vmx::secondary::virtualize_x2apic_mode},
      {word::secondary, vmx::secondary::apic_register_virtualization},
      {word::secondary, vmx::secondary::virtual_interrupt_delivery},
      {word::pin, vmx::pin_based::process_posted_interrupts},
  };
  static const std::vector<required_control> ipi_virtualized = [] {
    std::vector<required_control> all = posted;
    all.push_back({word::tertiary, vmx::tertiary::ipi_virtualization});
    return all;
  }();
  static const std::vector<interrupt_path_entry> all{
      {"injected",
       "every access to the local APIC exits; interrupts are injected at VM entry",
       {},
       false,
       false,
       [] { return std::make_unique<injected_path>(); }},
      {"direct",
       "the guest writes the physical ICR; receivers exit and are injected. Only for vCPU i bound to CPU i, alone "
       "there",
       {},
       false,
       true,
       [] { return std::make_unique<direct_path>(); }},
      {"posted", "APIC virtualization and posted interrupts: senders exit, receivers do not", posted, true, false,
       [] { return std::make_unique<posted_path>(false); }},
      {"ipi_virtualized", "as posted, and unicast IPIs of guests are posted by the processor: nobody exits",
       ipi_virtualized, true, false, [] { return std::make_unique<posted_path>(true); }},
  };
  return all;
}

const interrupt_path_entry* find_interrupt_path(std::string_view name) {
  for (const interrupt_path_entry& entry : interrupt_paths())
    if (name == entry.name) return &entry;
  return nullptr;
}

}  // namespace vmxsys::models
