#pragma once
#include <memory>
#include <vector>

#include <vmxsys/cpu/core/machine.hpp>
#include <vmxsys/models/kernel/kernel.hpp>
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/models/workloads/catalogue.hpp>
#include <vmxsys/platform/observe/base/observed_machine.hpp>
#include <vmxsys/platform/presets/preset.hpp>

#include "config.hpp"

namespace vmxsys::platform {

/// A machine put together from a configuration: the hardware of the preset, the host kernel with its hypervisor, the
/// guests with their workloads. Free of SystemC; make_systemc_driver (driver.hpp) puts it under a SystemC kernel.
class simulation {
 public:
  /// `config` must be free of faults (load_config) with the names of `from`; std::invalid_argument otherwise.
  explicit simulation(const run_config& config, const catalogues& from = catalogues::shipped());
  ~simulation();
  simulation(const simulation&) = delete;
  simulation& operator=(const simulation&) = delete;

  const run_config& config() const { return config_; }
  const catalogues& names() const { return catalogues_; }
  const platform::preset& preset() const { return preset_; }
  cpu::machine& hardware() { return *hardware_; }
  models::kernel& host() { return *host_; }
  models::kvm& hypervisor() { return *kvm_; }
  unsigned vms() const { return static_cast<unsigned>(guests_.size()); }
  models::kernel& guest(unsigned vm) { return *guests_[vm]; }
  /// For traces and collectors.
  observed_machine observed();

  cycles to_cycles(duration d) const { return d.to_cycles(preset_.tsc_khz); }
  double to_us(cycles c) const { return static_cast<double>(c.count()) * 1e3 / static_cast<double>(preset_.tsc_khz); }
  cycles end() const { return to_cycles(config_.until); }
  cycles measure_from() const { return to_cycles(config_.measure_from); }

 private:
  models::kernel_config kernel_settings(const component<models::scheduler_entry>& scheduler, unsigned cpus,
                                        unsigned hz) const;

  run_config config_;
  catalogues catalogues_;
  platform::preset preset_;
  std::unique_ptr<cpu::machine> hardware_;
  std::unique_ptr<models::kernel> host_;
  std::unique_ptr<models::kvm> kvm_;
  std::vector<std::unique_ptr<models::kernel>> guests_;
  std::vector<std::unique_ptr<models::workload>> workloads_;
};

}  // namespace vmxsys::platform
