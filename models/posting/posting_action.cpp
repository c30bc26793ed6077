#include <array>
#include <string>

#include <vmxsys/apic/virtualization/posted_interrupts.hpp>

#include "posting_protocol.hpp"

// The steps of the posting protocol as text.
namespace vmxsys::models {
namespace {

using op = posting_operation;

// What an operation names of its action, for people.
struct operation_row {
  const char* name;
  bool vcpu, vector, word, cpu, expected, value;
  const char* result;  // null: none
};

constexpr std::size_t operation_count = static_cast<std::size_t>(op::enter_guest) + 1;
constexpr std::array<operation_row, operation_count> operations{{
    {"none", false, false, false, false, false, false, nullptr},
    {"set_pir", true, true, false, false, false, false, "was"},
    {"set_on", true, false, false, false, false, false, "was"},
    {"clear_on", true, false, false, false, false, false, "was"},
    {"set_sn", true, false, false, false, false, false, "was"},
    {"clear_sn", true, false, false, false, false, false, "was"},
    {"load_info", true, false, false, false, false, false, "is"},
    {"exchange_info", true, false, false, false, true, true, "was"},
    {"load_pir", true, false, true, false, false, false, "is"},
    {"take_pir", true, false, true, false, false, false, "was"},
    {"merge_irr", true, false, true, false, false, true, nullptr},
    {"update_rvi", true, false, false, false, false, false, "is"},
    {"set_irr", true, true, false, false, false, false, "was"},
    {"load_mode", true, false, false, false, false, false, "is"},
    {"store_mode", true, false, false, false, false, true, nullptr},
    {"exchange_mode", true, false, false, false, true, true, "was"},
    {"load_cpu", true, false, false, false, false, false, "is"},
    {"set_request", true, false, false, false, false, true, nullptr},
    {"load_requests", true, false, false, false, false, false, "is"},
    {"serve_requests", true, false, false, false, false, false, nullptr},
    {"announce_wait", true, false, false, false, false, false, nullptr},
    {"cancel_wait", true, false, false, false, false, false, nullptr},
    {"sleep", true, false, false, false, false, false, nullptr},
    {"wake_up", true, false, false, false, false, false, "woke"},
    {"add_waiter", true, false, false, true, false, false, nullptr},
    {"remove_waiter", true, false, false, true, false, false, nullptr},
    {"lock_waiters", false, false, false, true, false, false, nullptr},
    {"next_waiter", false, false, false, true, false, true, "is"},
    {"unlock_waiters", false, false, false, true, false, false, nullptr},
    {"send_ipi", false, true, false, true, false, false, nullptr},
    {"disable_interrupts", false, false, false, false, false, false, nullptr},
    {"enable_interrupts", false, false, false, false, false, false, nullptr},
    {"enter_guest", true, false, false, false, false, false, nullptr},
}};

std::string hex(std::uint64_t value) {
  std::string digits;
  do {
    digits.insert(digits.begin(), "0123456789abcdef"[value & 15]);
    value >>= 4;
  } while (value != 0);
  return "0x" + digits;
}

bool is_info(op what) { return what == op::load_info || what == op::exchange_info; }
bool is_mode(op what) { return what == op::load_mode || what == op::store_mode || what == op::exchange_mode; }

std::string value_text(op what, std::uint64_t value) {
  static constexpr const char* modes[] = {"outside_guest", "in_guest", "exiting"};
  if (is_mode(what) && value < 3) return modes[value];
  if (is_info(what)) {
    const apic::descriptor_info info = apic::decode_descriptor_info(value);
    return std::string{"{ON "} + (info.outstanding ? "1" : "0") + ", SN " + (info.suppressed ? "1" : "0") + ", NV " +
           hex(info.vector) + ", NDST " + std::to_string(info.destination) + "}";
  }
  if (what == op::next_waiter) return value == 0 ? "nobody" : "vCPU " + std::to_string(value - 1);
  if (what == op::load_cpu) return "pCPU " + std::to_string(value);
  if (what == op::wake_up) return value != 0 ? "it" : "nobody";
  return value < 10 ? std::to_string(value) : hex(value);
}

}  // namespace

const char* name_of(posting_operation what) noexcept { return operations[static_cast<std::size_t>(what)].name; }

std::string describe(const posting_action& a, std::uint64_t result) {
  const operation_row& row = operations[static_cast<std::size_t>(a.what)];
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (row.vcpu) add("vCPU " + std::to_string(a.vcpu));
  if (row.vector) add("vector " + hex(a.vector));
  if (row.word) add("word " + std::to_string(a.word));
  if (row.cpu) add("pCPU " + std::to_string(a.cpu));
  if (row.expected)
    add(value_text(a.what, a.expected) + " to " + value_text(a.what, a.value));
  else if (a.what == op::next_waiter)
    add("position " + std::to_string(a.value));
  else if (row.value)
    add(value_text(a.what, a.value));
  text = row.name + (text.empty() ? "" : "(" + text + ")");
  if (row.result != nullptr) text += std::string{": "} + row.result + " " + value_text(a.what, result);
  return text;
}

}  // namespace vmxsys::models
