#pragma once
#include <tlm_utils/simple_target_socket.h>
#include <unordered_set>

#include "sc_timeline_module.hpp"

namespace vmxsys::cpu {

/// A way into the machine's memory for initiators outside: device models, loaders, an IOMMU. Any number of them
/// may exist on one machine, one for each initiator or one behind an interconnect.
///
/// - A read at kernel time T sees every event up to cycle floor(T) and every outside write so far. A read with an
///   annotated delay waits it out first.
/// - A write at T (+ delay) takes effect at cycle floor(T + delay)+1, in phase `message`; a write of a watched word
///   wakes the CPUs that spin on it. Writes of one cycle take effect in the order in which these modules were made.
/// - Debug transactions see and change bytes at once and cost nothing; a changed word wakes its spinners, too.
/// - DMI is granted page by page: for reading always, for writing unless the page holds a watched word. When a page
///   gets its first one, the grant is taken back. What is written through DMI is seen by the machine without order
///   against events of the same cycle; with a quantum, only what lies beyond the kernel's next activity is sure to see
///   it.
///
/// The whole base protocol is answered: byte enables, streaming, TLM_IGNORE_COMMAND. Errors: address beyond `size`
/// (TLM_ADDRESS_ERROR_RESPONSE), no bytes or no streaming width (TLM_BURST_ERROR_RESPONSE), byte enables
/// without length (TLM_BYTE_ENABLE_ERROR_RESPONSE), no data pointer (TLM_GENERIC_ERROR_RESPONSE).
class memory_target : public sc_core::sc_module, private watched_page_listener {
 public:
  /// Addresses are offsets from `base` of machine memory, or physical addresses with the default base 0.
  tlm_utils::simple_target_socket_optional<memory_target> socket{"socket"};

  static constexpr std::uint64_t whole = std::uint64_t{1} << 52;
  memory_target(const sc_core::sc_module_name& name, timeline_module& timeline, physical_address base = 0,
                std::uint64_t size = whole);
  memory_target(const memory_target&) = delete;
  memory_target& operator=(const memory_target&) = delete;
  ~memory_target() override;

  const char* kind() const override { return "vmxsys::cpu::memory_target"; }

 private:
  void b_transport(tlm::tlm_generic_payload& transaction, sc_core::sc_time& delay);
  unsigned transport_dbg(tlm::tlm_generic_payload& transaction);
  bool get_direct_mem_ptr(tlm::tlm_generic_payload& transaction, tlm::tlm_dmi& grant);
  void page_became_watched(physical_address page) override;
  bool valid(tlm::tlm_generic_payload& transaction) const;
  template <class Access>
  void for_each_run(tlm::tlm_generic_payload& transaction, Access access);

  timeline_module& timeline_;
  unsigned sender_;
  physical_address base_;
  std::uint64_t size_;
  std::unordered_set<physical_address> granted_for_writing_;
};

}  // namespace vmxsys::cpu
