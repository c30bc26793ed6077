#pragma once
#include <memory>
#include <vector>

#include <vmxsys/cpu/machine.hpp>
#include <vmxsys/models/guests/workload.hpp>
#include <vmxsys/models/hypervisor/kvm.hpp>
#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/platform/config.hpp>
#include <vmxsys/platform/preset.hpp>

namespace vmxsys::platform {

/// A machine put together from a configuration: the hardware of the preset, the host kernel with its hypervisor, the
/// guests with their workloads. Free of SystemC; make_systemc_driver (driver.hpp) puts it under a SystemC kernel.
class simulation {
 public:
  /// `config` must be free of faults (load_config); std::invalid_argument otherwise. `make_policy`, when set, makes the
  /// host's spin policy instead of the name in `config`.
  explicit simulation(const run_config& config, models::spin_policy_maker make_policy = {});
  ~simulation();
  simulation(const simulation&) = delete;
  simulation& operator=(const simulation&) = delete;

  const run_config& config() const { return config_; }
  const platform::preset& preset() const { return preset_; }
  cpu::machine& hardware() { return *hardware_; }
  models::kernel& host() { return *host_; }
  models::kvm& hypervisor() { return *kvm_; }
  unsigned vms() const { return static_cast<unsigned>(guests_.size()); }
  models::kernel& guest(unsigned vm) { return *guests_[vm]; }

  cycles to_cycles(duration d) const { return d.to_cycles(preset_.tsc_khz); }
  double to_us(cycles c) const { return static_cast<double>(c.count()) * 1e3 / static_cast<double>(preset_.tsc_khz); }
  cycles end() const { return to_cycles(config_.until); }
  cycles measure_from() const { return to_cycles(config_.measure_from); }

 private:
  models::kernel_config kernel_settings(const scheduler_config& scheduler, unsigned cpus, unsigned hz) const;
  std::unique_ptr<models::workload> make_workload(models::kernel& guest, const workload_config& w) const;

  run_config config_;
  platform::preset preset_;
  std::unique_ptr<cpu::machine> hardware_;
  std::unique_ptr<models::kernel> host_;
  std::unique_ptr<models::kvm> kvm_;
  std::vector<std::unique_ptr<models::kernel>> guests_;
  std::vector<std::unique_ptr<models::workload>> workloads_;
};

/// The CPUs on which vCPU `index` of VM `vm` may run under a placement; empty: all.
///   spread    vCPU k of the whole machine on CPU k mod CPUs: each VM goes on where the one before it ended, and
///             siblings share no run queue while there are CPUs for them
///   stacked   vCPUs 2k and 2k+1 on one CPU, the VMs one after the other
///   free      no restriction: wake-ups and the balancer decide
std::vector<unsigned> placement_of(std::string_view placement, unsigned cpus, unsigned first_vcpu_of_vm,
                                   unsigned index);

}  // namespace vmxsys::platform
