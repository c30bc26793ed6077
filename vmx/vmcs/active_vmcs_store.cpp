#include "active_vmcs_store.hpp"

namespace vmxsys::vmx {

vmcs* active_vmcs_store::find(physical_address region) {
  const auto it = active_.find(region);
  return it == active_.end() ? nullptr : it->second.copy.get();
}

vmcs& active_vmcs_store::activate(physical_address region, std::uint32_t processor, const physical_memory& memory) {
  entry& e = active_[region];
  if (!e.copy) {
    e.copy = std::make_unique<vmcs>();
    e.copy->load(memory, region);
    e.processor = processor;
  } else if (e.processor != processor) {
    ++violations_;
    e.processor = processor;
  }
  return *e.copy;
}

void active_vmcs_store::deactivate(physical_address region) { active_.erase(region); }

void active_vmcs_store::note_vmxoff(std::uint32_t processor) {
  for (auto& active : active_)
    if (active.second.processor == processor) active.second.copy->note_vmxoff();
}

}  // namespace vmxsys::vmx
