#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include <vmxsys/models/kvm/kvm.hpp>

namespace vmxsys::platform {

/// A record for each vCPU of a machine, found by what facts say of a vCPU. `Record` is made without arguments.
template <class Record>
class per_vcpu {
 public:
  explicit per_vcpu(const models::kvm& of) {
    for (const auto& vm : of.vms()) {
      first_of_vm_.push_back(records_.size());
      for (unsigned i = 0; i < vm->vcpus(); ++i) {
        by_vmcs_[vm->cpu(i).vmcs()] = records_.size();
        by_pid_[vm->cpu(i).thread().pid] = records_.size();
        vm_.push_back(vm->number());
        records_.emplace_back();
      }
    }
  }

  std::size_t size() const { return records_.size(); }
  auto begin() { return records_.begin(); }
  auto end() { return records_.end(); }
  Record& at(unsigned vm, unsigned vcpu) { return records_[first_of_vm_[vm] + vcpu]; }
  const Record& at(unsigned vm, unsigned vcpu) const { return records_[first_of_vm_[vm] + vcpu]; }
  /// Null: it is the VMCS, or the thread, of no vCPU.
  Record* by_vmcs(std::uint64_t vmcs) { return find(by_vmcs_, vmcs); }
  Record* by_pid(std::uint32_t pid) { return find(by_pid_, pid); }
  /// The number of the VM that the vCPU of a record belongs to.
  unsigned vm_of(const Record& r) const { return vm_[static_cast<std::size_t>(&r - records_.data())]; }

 private:
  template <class Key>
  Record* find(const std::unordered_map<Key, std::size_t>& in, Key key) {
    const auto it = in.find(key);
    return it == in.end() ? nullptr : &records_[it->second];
  }

  std::vector<Record> records_;
  std::vector<unsigned> vm_;  // by record
  std::vector<std::size_t> first_of_vm_;
  std::unordered_map<std::uint64_t, std::size_t> by_vmcs_;
  std::unordered_map<std::uint32_t, std::size_t> by_pid_;
};

}  // namespace vmxsys::platform
