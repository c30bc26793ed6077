#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "processor.hpp"

namespace vmxsys::vmx {

/// The obvious vmcs_store: a map. Counts activations that violate the one-processor rule instead of stopping, so that
/// a machine can decide what a software error of its guest is worth.
class active_vmcs_store final : public vmcs_store {
 public:
  vmcs* find(physical_address region) override;
  vmcs& activate(physical_address region, std::uint32_t processor, const physical_memory& memory) override;
  void deactivate(physical_address region) override;
  void note_vmxoff(std::uint32_t processor) override;

  std::size_t size() const noexcept { return active_.size(); }
  /// How often a VMCS was activated while active on another processor (SDM Vol. 3C §27.11.1 forbids it).
  std::uint64_t violations() const noexcept { return violations_; }

 private:
  struct entry {
    std::unique_ptr<vmcs> copy;
    std::uint32_t processor;
  };
  std::unordered_map<physical_address, entry> active_;
  std::uint64_t violations_ = 0;
};

}  // namespace vmxsys::vmx
