#include <array>
#include <vector>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>
#include <vmxsys/models/kvm/detail/kvm_code.hpp>
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/models/kvm/kvm_facts.hpp>

#include "detail/xapic_controls.hpp"
#include "interrupt_path.hpp"
#include "msr_bitmap.hpp"

namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

namespace {

struct options {
  bool exit_fast_paths = false;
};
constexpr std::array rows{
    row<&options::exit_fast_paths>("exit_fast_paths",
                                   "fixed unicast IPIs, TSC deadlines and exits by the preemption timer go back into "
                                   "the guest with interrupts off, without the usual way out")
        .from("Linux v6.12, arch/x86/kvm/x86.c, handle_fastpath_set_msr_irqoff, handle_fastpath_preemption_timer"),
};

/// The processor keeps the local APIC in a virtual-APIC page and delivers from there; a sender writes a
/// posted-interrupt descriptor and, if the target is in its guest, sends one physical interrupt that does not exit
/// (enable_apicv=1). With `by_hardware` processors do that for IPIs of guests themselves (enable_ipiv=1).
class posted_path final : public interrupt_path {
 public:
  posted_path(bool by_hardware, const options& o) : by_hardware_{by_hardware}, fast_paths_{o.exit_fast_paths} {}
  bool posts() const noexcept override { return true; }
  bool posts_by_hardware() const noexcept override { return by_hardware_; }
  bool fast_paths() const noexcept override { return fast_paths_; }

  void init_vm(virtual_machine& vm) override {
    kernel& host = vm.hypervisor().host();
    physical_memory& memory = host.hardware().physical();
    msr_bitmap bitmap{memory, vm.make_msr_bitmap()};
    vm.hypervisor().timers().open(bitmap);
    if (vm.apic_mode() == apic::apic_mode::x2apic) {  // vmx_update_msr_bitmap_x2apic
      for (std::uint32_t msr = apic::msr::x2apic_first; msr <= apic::msr::x2apic_last; ++msr)
        if (msr != apic::msr::current_count) bitmap.allow_read(msr);
      for (const std::uint32_t msr : {apic::msr::tpr, apic::msr::eoi, apic::msr::self_ipi}) bitmap.allow_write(msr);
      if (by_hardware_) bitmap.allow_write(apic::msr::icr);
    }
    if (!by_hardware_) return;
    namespace entry = apic::pid_pointer;
    pid_tables_.resize(vm.number() + 1);
    const physical_address table = host.memory().take(entry::bytes * vm.vcpus(), 4096);
    pid_tables_[vm.number()] = table;
    for (unsigned i = 0; i < vm.vcpus(); ++i)
      memory.write(table + entry::bytes * i, entry::encode(vm.cpu(i).lapic().memory().descriptor));
  }
  void select_controls(vmx::minimal_vmcs_options& options, apic::apic_mode mode) const override {
    options.pin |= vmx::pin_based::process_posted_interrupts;
    options.primary |= vmx::primary::use_tpr_shadow;
    options.secondary |= vmx::secondary::apic_register_virtualization | vmx::secondary::virtual_interrupt_delivery;
    if (mode == apic::apic_mode::xapic)
      select_xapic_controls(options);
    else
      options.secondary |= vmx::secondary::virtualize_x2apic_mode;
    if (by_hardware_) options.tertiary |= vmx::tertiary::ipi_virtualization;
  }
  cpu::program init_vmcs(vcpu& v) const override {
    const virtual_apic_memory& m = v.lapic().memory();
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
    co_await isa::vmwrite(field::pid_pointer_table_address, pid_tables_[v.vm().number()]);
    co_await isa::vmwrite(field::last_pid_pointer_index, v.vm().vcpus() - 1);
  }
  cpu::program accept(vcpu& target, std::uint8_t vector) const override {
    if (!target.lapic().registers().software_enabled()) co_return;  // __apic_accept_irq
    auto here = co_await isa::in(code::deliver_posted_interrupt);
    kvm& k = target.hypervisor();
    const unsigned cpu = k.host().index_of(co_await isa::this_cpu());
    co_await isa::compute(k.costs().post);
    posting_sender sender{target.lapic().memory().number, vector, cpu, k.posted().running_on(cpu)};
    post_fact fact{target.id().vm, target.id().vcpu, vector, static_cast<std::uint16_t>(cpu), 0, 0};
    while (!sender.finished()) {
      const posting_action action = sender.next();
      const std::uint64_t result = co_await k.posted().perform(action);
      fact.notified |= action.what == posting_operation::send_ipi;
      fact.woken |= action.what == posting_operation::wake_up && result != 0;
      sender.done(result);
    }
    k.host().record(cpu, fact);
  }
  // A notification that finds its vCPU outside the guest has nothing left to do: the next entry looks.
  cpu::program host_interrupt(kvm& k, unsigned cpu, std::uint8_t vector) const override {
    if (vector != posting_vector::wakeup) co_return;
    auto here = co_await isa::in(code::pi_wakeup_handler);
    posting_wakeup wakeup{cpu};
    co_await k.posted().run(wakeup);
  }

 private:
  bool by_hardware_;
  bool fast_paths_;
  std::vector<physical_address> pid_tables_;  // by VM: posted-interrupt descriptors by APIC ID
};

using word = vmx::control_word;
constexpr std::array posted_controls{
    vmx::required_control{word::primary, vmx::primary::use_tpr_shadow},
    vmx::required_control{word::secondary, vmx::secondary::virtualize_x2apic_mode},
    vmx::required_control{word::secondary, vmx::secondary::apic_register_virtualization},
    vmx::required_control{word::secondary, vmx::secondary::virtual_interrupt_delivery},
    vmx::required_control{word::pin, vmx::pin_based::process_posted_interrupts},
};
constexpr std::array ipi_virtualization_controls{
    posted_controls[0], posted_controls[1], posted_controls[2],
    posted_controls[3], posted_controls[4], vmx::required_control{word::tertiary, vmx::tertiary::ipi_virtualization},
};

template <bool ByHardware>
std::unique_ptr<interrupt_path> make(const void* o) {
  return std::make_unique<posted_path>(ByHardware, options_as<options>(o));
}

}  // namespace

extern const interrupt_path_entry posted_path_entry = entry_with<interrupt_path_entry, options, rows>(
    "posted", "APIC virtualization and posted interrupts: senders exit, receivers do not",
    vmx::required_controls{posted_controls}, true, false, &make<false>);
extern const interrupt_path_entry ipi_virtualized_path_entry = entry_with<interrupt_path_entry, options, rows>(
    "ipi_virtualized", "as posted, and unicast IPIs of guests are posted by the processor: no vCPU exits",
    vmx::required_controls{ipi_virtualization_controls}, true, false, &make<true>);

}  // namespace vmxsys::models
