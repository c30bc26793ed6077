#include "list_rules.hpp"

#include <cstdio>
#include <string>

#include <vmxsys/vmx/events/boundary.hpp>
#include <vmxsys/vmx/instructions/instruction_error.hpp>
#include <vmxsys/vmx/instructions/instruction_exit.hpp>
#include <vmxsys/vmx/transition/entry.hpp>
#include <vmxsys/vmx/transition/transition_work.hpp>
#include <vmxsys/vmx/vmcs/capability.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/exit.hpp>
#include <vmxsys/vmx/vmcs/field.hpp>

namespace vmxsys::platform {

namespace {

template <class... A>
std::string print(const char* format, A... values) {
  char text[64];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

}  // namespace

std::vector<choice> field_rows() {
  std::vector<choice> rows;
  for (const vmx::field_info& f : vmx::field_table) {
    std::string text =
        print("%04XH", vmx::encoding_of(f.encoding)) + "  " + vmx::name_of(f.width) + ", " + vmx::name_of(f.type);
    if (f.condition != nullptr) text += std::string{"; with \""} + f.condition + '"';
    rows.push_back({f.name, text});
  }
  return rows;
}

std::vector<choice> control_rows() {
  std::vector<choice> rows;
  for (std::size_t i = 0; i < vmx::control_table_size(); ++i) {
    const vmx::control_info& c = vmx::control_table()[i];
    rows.push_back({std::string{vmx::name_of(c.word)} + ", bit " + std::to_string(c.bit),
                    std::string{c.name} + (c.default1 ? "; default1" : "")});
  }
  return rows;
}

std::vector<choice> capability_rows() {
  std::vector<choice> rows;
  for (std::size_t i = 0; i < vmx::capability_table_size(); ++i)
    rows.push_back({vmx::capability_table()[i].name, vmx::capability_table()[i].description});
  return rows;
}

std::vector<choice> instruction_rows() {
  std::vector<choice> rows;
  for (std::size_t i = 0; i < vmx::mnemonic_count; ++i) {
    const vmx::instruction_rule& r = vmx::instruction_table()[i];
    std::string text = r.may_exit ? "exit " + std::to_string(static_cast<unsigned>(r.reason)) + ": " + r.exits_if
                                  : std::string{"never exits"};
    text += std::string{"; otherwise "} + r.otherwise + " (" + r.section + ')';
    rows.push_back({r.name, text});
  }
  return rows;
}

std::vector<choice> entry_check_rows() {
  std::vector<choice> rows;
  for (const vmx::entry_check_group* group : vmx::entry_check_groups())
    for (const vmx::entry_check& c : *group) {
      std::string text = std::string{c.section} + "; reads";
      for (const vmx::field f : c.reads) text += std::string{" "} + vmx::name_of(f);
      rows.push_back({c.name, text});
    }
  return rows;
}

std::vector<choice> exit_reason_rows() {
  std::vector<choice> rows;
  for (std::size_t i = 0; i < vmx::exit_reason_table_size(); ++i) {
    const vmx::exit_reason_info& r = vmx::exit_reason_table()[i];
    constexpr const char* classes[] = {"fault", "trap", "event", "entry failure"};
    rows.push_back({print("%2u ", static_cast<unsigned>(r.reason)) + r.name,
                    std::string{classes[static_cast<std::size_t>(r.kind)]} +
                        (r.kvm_name == nullptr ? "" : std::string{", KVM prints "} + r.kvm_name) + "; " + r.condition});
  }
  return rows;
}

std::vector<choice> boundary_event_rows() {
  std::vector<choice> rows;
  for (const vmx::boundary_rule& r : vmx::boundary_table)
    rows.push_back({r.name, std::string{r.outcome} + "; held by: " + r.held_by + " (" + r.section + ')'});
  return rows;
}

std::vector<choice> instruction_error_rows() {
  std::vector<choice> rows;
  for (std::size_t i = 0; i < vmx::instruction_error_table_size(); ++i) {
    const vmx::instruction_error_info& e = vmx::instruction_error_table()[i];
    rows.push_back({print("%2u", static_cast<unsigned>(e.error)),
                    std::string{e.meaning} + " (" + e.section + ')' +
                        (e.reachable ? "" : "; not in this model: dual-monitor treatment")});
  }
  return rows;
}

std::vector<choice> transition_step_rows() {
  std::vector<choice> rows;
  for (std::size_t i = 0; i < vmx::transition_step_count; ++i) {
    const vmx::transition_step_info& s = vmx::transition_step_table()[i];
    rows.push_back({s.name, std::string{s.at_entry ? "VM entry" : "VM exit"} +
                                (s.at_failed_entry ? ", also after a failed entry" : "") + " (" + s.section + ')'});
  }
  return rows;
}

}  // namespace vmxsys::platform
