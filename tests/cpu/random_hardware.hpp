#pragma once
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <vmxsys/vmx/spin_detectors/catalogue.hpp>

#include "rig.hpp"

// The hardware of machines drawn at random: costs, topology and detectors from one seed.
namespace vmxsys::cpu::testing {

struct random_run {
  bool stepped = false;
  std::uint64_t disturb = 0;  ///< seed of materialisations and extra stops; 0: none
  std::uint64_t length = 200'000;
  bool virtual_apics = false;  ///< hypervisors may virtualize their guests' local APICs, and interrupts are posted
  fact_observer* also = nullptr;
};

inline void draw_apic_config(machine_config& c, std::uint64_t seed) {
  c.capabilities = vmx::find_capability_row("sapphire_rapids")->values;
  c.capabilities.tertiary |= vmx::tertiary::apic_timer_virtualization;
  random_numbers d{seed * 131 + 3};
  boost::mp11::mp_for_each<boost::describe::describe_members<apic_costs, boost::describe::mod_public>>(
      [&](auto member) { c.costs.apic.*member.pointer = cycles{d.between(d.one_in(10) ? 0 : 1, 250)}; });
}

/// The catalogue, and variants of what the manuals leave open.
inline std::vector<selection<vmx::spin_detector_entry>> all_detectors() {
  const std::vector<std::pair<std::string, settings>> variants{{"pause_loop_exiting", {{"gap_end_to_start", true}}},
                                                               {"pause_filter", {{"count_adjustment", -1}}}};
  const auto all = vmx::spin_detectors();
  std::vector<selection<vmx::spin_detector_entry>> selections;
  for (const std::string& name : all.names()) {
    selections.push_back(all.select(name));
    for (const auto& [of, options] : variants)
      if (of == name) selections.push_back(all.select(name, options));
  }
  return selections;
}

/// Appends the names of the detectors to `detectors`.
inline machine_config draw_config(random_numbers& d, std::uint64_t seed, const random_run& how,
                                  std::string& detectors) {
  machine_config c;
  const auto some = [&](std::uint64_t most) { return cycles{d.between(1, most)}; };
  constexpr topology shapes[] = {{1, 1, 1}, {1, 2, 1}, {1, 1, 2}, {2, 1, 1},
                                 {1, 3, 1}, {2, 2, 1}, {1, 2, 2}, {2, 1, 2}};
  c.shape = shapes[d.below(std::size(shapes))];
  c.capabilities = vmx::find_capability_row("cascade_lake_sp")->values;
  c.stepped = how.stepped;
  instruction_costs& i = c.costs.instruction;
  i.pause = some(d.one_in(2) ? 150 : 10);
  i.load = some(8);
  i.branch = some(4);
  i.store = some(8);
  i.locked = some(30);
  i.rdtsc = some(30);
  i.interrupt_flag = some(5);
  i.hlt = some(12);
  i.interrupt = some(200);
  i.iret = some(80);
  i.wrmsr = some(100);
  i.wrmsr_x2apic = some(100);
  i.vmwrite = some(20);
  i.vmread = some(20);
  c.costs.transfer = {some(20), some(150), some(350)};
  c.costs.exit.save_guest_state = some(150);
  c.costs.entry.load_guest_state = some(150);
  c.costs.interrupt.flight_self = some(80);
  c.costs.interrupt.flight_same_socket = c.costs.interrupt.flight_same_core = some(500);
  c.costs.interrupt.flight_other_socket = some(900);
  c.costs.idle_states = {{"C1", some(2500), cycles{0}}};
  c.timer_clock = {static_cast<std::uint32_t>(d.between(1, 100)), 1};
  const auto all = all_detectors();
  const auto drawn = [&](random_numbers& from, const char* as) {
    const auto& chosen = all[from.below(all.size())];
    detectors += std::string{as} + chosen.name();
    return [chosen] { return chosen.make(); };
  };
  c.make_detector = drawn(d, ", detector ");
  random_numbers watching{seed * 31 + 7};
  if (watching.one_in(2)) {
    for (std::uint64_t n = watching.between(1, 4); n > 0; --n) {
      const auto observer = drawn(watching, ", watched by ");
      c.observers.push_back({observer, watching.between(0, 300), watching.below(watching.one_in(2) ? 60 : 5000)});
    }
  }
  c.overcommitted = [](unsigned cpu) { return cpu % 2 == 0; };
  if (how.virtual_apics) draw_apic_config(c, seed);
  return c;
}

}  // namespace vmxsys::cpu::testing
