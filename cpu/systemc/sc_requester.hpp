#pragma once
#include <vmxsys/apic/remapping/interrupt_remapping.hpp>

#include "sc_portability.hpp"

namespace vmxsys::cpu {

/// The sender of a transaction: bus, device and function, which an interrupt-remapping unit compares with its table. An
/// ignorable extension: a target that does not know it works without, and a transaction without it has the requester
/// that the unit was given.
class requester_extension : public tlm::tlm_extension<requester_extension> {
 public:
  explicit requester_extension(apic::requester_id id = 0) : requester{id} {}
  tlm::tlm_extension_base* clone() const override { return new requester_extension{requester}; }
  void copy_from(const tlm::tlm_extension_base& from) override {
    requester = static_cast<const requester_extension&>(from).requester;
  }

  apic::requester_id requester;
};

}  // namespace vmxsys::cpu
