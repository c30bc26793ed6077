#include "posting_world.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <vmxsys/apic/virtualization/virtual_interrupts.hpp>
#include <vmxsys/vmx/base/physical_memory.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>

#include "detail/posting_machine.hpp"
#include "detail/posting_text.hpp"

namespace vmxsys::models {
namespace {

using op = posting_operation;
using vmx::field;

constexpr std::uint8_t first_vector = 0x41;

constexpr physical_address descriptor_of(std::uint8_t vcpu) { return 0x1000 + 0x40u * vcpu; }
constexpr physical_address page_of(std::uint8_t vcpu) { return 0x10000 + 0x1000u * vcpu; }

// Fields that never change while a scenario runs; the guest interrupt status is put in by the caller of the rules.
vmx::vmcs make_vmcs(std::uint8_t vcpu) {
  vmx::vmcs v;
  v.write(field::pin_based_controls,
          vmx::pin_based::external_interrupt_exiting | vmx::pin_based::process_posted_interrupts);
  v.write(field::primary_processor_based_controls,
          vmx::primary::use_tpr_shadow | vmx::primary::activate_secondary_controls);
  v.write(field::secondary_processor_based_controls, vmx::secondary::virtual_interrupt_delivery);
  v.write(field::posted_interrupt_notification_vector, posting_vector::notification);
  v.write(field::posted_interrupt_descriptor_address, descriptor_of(vcpu));
  v.write(field::virtual_apic_address, page_of(vcpu));
  return v;
}

vmx::vmcs& scratch_vmcs(std::uint8_t vcpu) {
  thread_local std::array<vmx::vmcs, posting_rules::most_vcpus> all{make_vmcs(0), make_vmcs(1), make_vmcs(2)};
  return all[vcpu];
}

}  // namespace

// -- memory -----------------------------------------------------------------------------------------------------------

// What the rules see of a state: each vCPU's descriptor and the registers of its virtual-APIC page that are kept.
class posting_memory final : public physical_memory {
 public:
  explicit posting_memory(posting_world& of) : of_{of} {}

  using physical_memory::read;
  using physical_memory::write;
  void read(physical_address at, void* to, std::size_t bytes) const override {
    std::memset(to, 0, bytes);
    if (void* place = find(at, bytes)) std::memcpy(to, place, bytes);
  }
  void write(physical_address at, const void* from, std::size_t bytes) override {
    void* place = find(at, bytes);
    if (place == nullptr) throw std::logic_error("posting_world: a rule writes what no state keeps");
    std::memcpy(place, from, bytes);
  }

 private:
  // Null for what always reads as 0.
  void* find(physical_address at, std::size_t bytes) const {
    if (at < page_of(0)) {
      auto& descriptor = of_.vcpus_[(at - descriptor_of(0)) / 0x40].descriptor;
      const std::size_t offset = at % 0x40;
      if (offset + bytes > sizeof descriptor) return nullptr;
      return reinterpret_cast<char*>(descriptor.data()) + offset;
    }
    auto& v = of_.vcpus_[(at - page_of(0)) / 0x1000];
    const auto offset = static_cast<unsigned>(at % 0x1000);
    if ((offset & 15) + bytes > 4) return nullptr;
    const unsigned reg = offset >> 4 << 4;
    const unsigned index = (reg & 0x7f) >> 4;
    char* found = nullptr;
    if (reg == apic::vapic::ppr) found = reinterpret_cast<char*>(&v.ppr);
    if ((reg & ~0x7fu) == apic::vapic::irr) found = reinterpret_cast<char*>(&v.irr[index]);
    if ((reg & ~0x7fu) == apic::vapic::isr) found = reinterpret_cast<char*>(&v.isr[index]);
    return found != nullptr ? found + (offset & 15) : nullptr;
  }

  posting_world& of_;
};

template <class F>
auto posting_world::with_apic(std::uint8_t number, F act) {
  posting_memory memory{*this};
  vmx::vmcs& v = scratch_vmcs(number);
  v.write(field::guest_interrupt_status, vcpus_[number].status);
  return act(apic::virtual_apic{v, memory, vcpus_[number].inside});
}

// -- the scenario -----------------------------------------------------------------------------------------------------

const char* posting_scenario::error() const noexcept {
  if (vcpus < 1 || vcpus > posting_rules::most_vcpus) return "vCPUs: 1 .. 3";
  if (ipis > most_ipis) return "IPIs: 0 .. 6";
  if (device_posts > most_device_posts) return "posts of the device: 0 .. 6";
  if (preemptions > most_preemptions) return "preemptions: 0 .. 7";
  return nullptr;
}

posting_rules::posting_rules(const posting_scenario& scenario) : scenario_{scenario} {
  if (const char* error = scenario.error()) throw std::invalid_argument(error);
  const auto add = [&](bool by_device, unsigned sender, unsigned target) {
    posts_.push_back({by_device, static_cast<std::uint8_t>(sender), static_cast<std::uint8_t>(target),
                      static_cast<std::uint8_t>(first_vector + posts_.size())});
  };
  for (unsigned n = 0; n < scenario.device_posts; ++n) add(true, 0, (n + 1) % scenario.vcpus);
  if (scenario.vcpus < 2) return;
  for (unsigned n = 0; n < scenario.ipis; ++n) add(false, n % scenario.vcpus, (n + 1) % scenario.vcpus);
}

unsigned posting_rules::post_of(std::uint8_t vector) const noexcept { return vector - first_vector; }

// -- states -----------------------------------------------------------------------------------------------------------

posting_world::posting_world(const posting_rules& rules) : rules_{&rules} {
  const posting_scenario& s = rules.scenario();
  for (std::uint8_t i = 0; i < s.vcpus; ++i) {
    virtual_cpu& v = vcpus_[i];
    v.cpu = i;
    v.descriptor[4] = apic::encode(apic::descriptor_info{false, false, posting_vector::notification, i});
    v.program = posting_entry{i, true, s.order};
    cpus_[i].current = i;
  }
  preemptions_ = static_cast<std::uint8_t>(s.preemptions);
  unsent_ = static_cast<std::uint16_t>((1u << rules.posts().size()) - 1);
}

bool posting_world::can(const posting_machine& machine) const {
  const posting_action a = next_of(machine);
  const bool locks = a.what == op::add_waiter || a.what == op::remove_waiter || a.what == op::lock_waiters;
  return !locks || !cpus_[a.cpu].locked;
}

void posting_world::choices(std::vector<posting_choice>& to) const {
  using kind = posting_choice::kind;
  const posting_scenario& s = rules_->scenario();
  for (std::uint8_t p = 0; p < s.vcpus; ++p) {
    const physical_cpu& c = cpus_[p];
    const auto takes = [&] {
      for (std::uint8_t i = 0; i < vectors.size(); ++i)
        for (std::uint8_t n = 1; n <= c.pending[i]; ++n) to.push_back({kind::take, p, i, n});
    };
    if (!finished(c.handler)) {
      if (can(c.handler)) to.push_back({kind::go_on, p, 0, 0});
      continue;
    }
    if (c.current == nobody) {
      takes();
      for (std::uint8_t i = 0; i < s.vcpus; ++i) {
        const virtual_cpu& v = vcpus_[i];
        const bool here = s.migration || v.cpu == p;
        if (v.where == place::queued && finished(v.transfer) && here) to.push_back({kind::run, p, i, 0});
      }
      continue;
    }
    const virtual_cpu& v = vcpus_[c.current];
    if (std::holds_alternative<posting_put>(v.transfer)) {  // interrupts are off in a context switch
      if (can(v.transfer)) to.push_back({kind::go_on, p, 0, 0});
      continue;
    }
    if (std::holds_alternative<posting_load>(v.transfer)) {
      if (can(v.transfer)) to.push_back({kind::go_on, p, 0, 0});
      takes();
      continue;
    }
    if (v.in_guest) {
      if (v.processing.next == apic::posting_step::acknowledge && v.posting == 0) takes();
      guest_choices(p, v, to);
    } else {
      if (!v.interrupts_off) takes();
      software_choices(p, v, to);
    }
    if (preemptions_ > 0 && !v.resched) to.push_back({kind::reschedule, p, c.current, 0});
  }
  if (device_ != 0) {
    to.push_back({kind::device_go_on, 0, 0, 0});
  } else {
    for (std::uint8_t i = 0; i < rules_->posts().size(); ++i)
      if (rules_->posts()[i].by_device && (unsent_ >> i & 1) != 0) to.push_back({kind::device_post, 0, i, 0});
  }
}

void posting_world::software_choices(std::uint8_t p, const virtual_cpu& v, std::vector<posting_choice>& to) const {
  if (v.resched && !v.interrupts_off) to.push_back({posting_choice::preempt, p, 0, 0});
  to.push_back({posting_choice::go_on, p, 0, 0});
}

void posting_world::guest_choices(std::uint8_t p, const virtual_cpu& v, std::vector<posting_choice>& to) const {
  using kind = posting_choice::kind;
  if (v.processing.next != apic::posting_step::acknowledge || v.posting != 0) {
    to.push_back({kind::go_on, p, 0, 0});
    return;
  }
  if (v.inside.recognized) {  // comes before the next instruction
    to.push_back({kind::deliver, p, 0, 0});
    return;
  }
  for (std::uint8_t i = 0; i < rules_->posts().size(); ++i) {
    const posting_rules::post& post = rules_->posts()[i];
    if (post.by_device || post.sender != number_of(v) || (unsent_ >> i & 1) == 0) continue;
    to.push_back({kind::send, p, i, 0});
    if (!rules_->scenario().ipi_virtualization) to.push_back({kind::send_fast, p, i, 0});
  }
  to.push_back({kind::halt, p, 0, 0});
}

// -- steps ------------------------------------------------------------------------------------------------------------

std::string posting_world::cpu_name(std::uint8_t p) const {
  const std::string cpu = "pCPU " + std::to_string(p);
  const physical_cpu& c = cpus_[p];
  if (!finished(c.handler)) return cpu + ", handler";
  if (c.current == nobody) return cpu + ", idle";
  const virtual_cpu& v = vcpus_[c.current];
  return cpu + ", vCPU " + std::to_string(c.current) +
         (!finished(v.transfer) ? " switching"
          : v.in_guest          ? " in guest"
                                : "");
}

template <class... Parts>
void posting_world::say(std::uint8_t p, const Parts&... parts) const {
  if (log_ != nullptr) log_->push_back({cpu_name(p), line_of(parts...)});
}

void posting_world::send_notification(const apic::notification& n) {
  const auto at = std::find(vectors.begin(), vectors.end(), n.vector) - vectors.begin();
  ++cpus_[n.destination].pending[static_cast<std::size_t>(at)];
}

std::uint64_t posting_world::perform(const posting_action& a, std::uint8_t p) {
  namespace layout = apic::posted_interrupt_descriptor;
  virtual_cpu& v = vcpus_[a.vcpu];
  std::uint64_t& info = v.descriptor[4];
  const auto exchange = [](std::uint64_t& word, std::uint64_t value) { return std::exchange(word, value); };
  switch (a.what) {
    case op::set_pir: {
      posting_memory memory{*this};
      owed_ = static_cast<std::uint16_t>(owed_ | 1u << rules_->post_of(a.vector));
      return apic::set_pir(memory, descriptor_of(static_cast<std::uint8_t>(a.vcpu)), a.vector) ? 0 : 1;
    }
    case op::set_on:
      return exchange(info, info | layout::on) & layout::on;
    case op::clear_on:
      return exchange(info, info & ~layout::on) & layout::on;
    case op::set_sn:
      return (exchange(info, info | layout::sn) & layout::sn) != 0 ? 1 : 0;
    case op::clear_sn:
      return (exchange(info, info & ~layout::sn) & layout::sn) != 0 ? 1 : 0;
    case op::load_info:
      return info;
    case op::exchange_info:
      return exchange(info, info == a.expected ? a.value : info);
    case op::load_pir:
      return v.descriptor[a.word];
    case op::take_pir:
      return exchange(v.descriptor[a.word], 0);
    case op::merge_irr: {
      posting_memory memory{*this};
      apic::virtual_apic_page{memory, page_of(static_cast<std::uint8_t>(a.vcpu))}.request_64(a.word, a.value);
      return 0;
    }
    case op::update_rvi: {
      posting_memory memory{*this};
      const int highest =
          apic::virtual_apic_page{memory, page_of(static_cast<std::uint8_t>(a.vcpu))}.highest_requested();
      v.status = static_cast<std::uint16_t>((v.status & 0xff00) | std::max(highest, 0));
      return static_cast<std::uint64_t>(std::max(highest, 0));
    }
    case op::load_mode:
      return static_cast<std::uint64_t>(v.mode);
    case op::store_mode:
      v.mode = static_cast<vcpu_mode>(a.value);
      return 0;
    case op::load_cpu:
      return v.cpu;
    case op::load_requests:
      return v.resched ? 1 : 0;
    case op::serve_requests:
      return 0;
    case op::announce_wait:
      v.waiting = true;
      return 0;
    case op::cancel_wait:
      v.waiting = false;
      return 0;
    case op::wake_up: {
      if (!v.waiting) return 0;
      v.waiting = false;
      if (v.where == place::asleep) v.where = place::queued;
      return 1;
    }
    case op::add_waiter: {
      physical_cpu& c = cpus_[a.cpu];
      c.waiters[c.waiting++] = static_cast<std::uint8_t>(a.vcpu);
      return 0;
    }
    case op::remove_waiter: {
      physical_cpu& c = cpus_[a.cpu];
      const auto end = c.waiters.begin() + c.waiting;
      const auto found = std::find(c.waiters.begin(), end, a.vcpu);
      if (found == end) throw std::logic_error("posting_world: a vCPU is not on the list that it is to leave");
      std::move(found + 1, end, found);
      c.waiters[--c.waiting] = 0;
      return 0;
    }
    case op::lock_waiters:
      cpus_[a.cpu].locked = true;
      return 0;
    case op::next_waiter:
      return a.value < cpus_[a.cpu].waiting ? cpus_[a.cpu].waiters[a.value] + std::uint64_t{1} : 0;
    case op::unlock_waiters:
      cpus_[a.cpu].locked = false;
      return 0;
    case op::send_ipi:
      send_notification({a.vector, a.cpu});
      return 0;
    case op::disable_interrupts:
      vcpus_[cpus_[p].current].interrupts_off = true;
      return 0;
    case op::enable_interrupts:
      vcpus_[cpus_[p].current].interrupts_off = false;
      return 0;
    case op::none:
    case op::set_irr:
    case op::set_request:
    case op::exchange_mode:
    case op::sleep:
    case op::enter_guest:
      break;
  }
  throw std::logic_error("posting_world: a step that no scenario has");
}

// What the thread of a vCPU does next: enter, leave, handle why it left, enter again.
void posting_world::program_ended(std::uint8_t number) {
  virtual_cpu& v = vcpus_[number];
  const posting_order order = rules_->scenario().order;
  const auto sender = [&](std::uint8_t post) {
    const posting_rules::post& of = rules_->posts()[post];
    return posting_sender{of.target, of.vector, v.cpu, number, true, order};
  };
  if (const auto* entry = std::get_if<posting_entry>(&v.program)) {
    if (entry->entered() && v.exit == cause::fast_ipi) {
      v.program = sender(v.exit_post);
    } else if (entry->entered()) {
      v.program = posting_leave{number};
    } else {
      v.program = posting_entry{number, true, order};
    }
    return;
  }
  const cause why = v.exit;
  if (std::holds_alternative<posting_leave>(v.program) && why == cause::halt) {
    v.program = posting_block{number, true, order};
  } else if (std::holds_alternative<posting_leave>(v.program) && why == cause::ipi) {
    v.program = sender(v.exit_post);
  } else if (std::holds_alternative<posting_sender>(v.program) && why == cause::fast_ipi) {
    v.program = posting_entry::again(number, true, order);
  } else {
    v.program = posting_entry{number, true, order};
  }
  if (std::holds_alternative<posting_sender>(v.program)) return;
  v.exit = cause::none;
  v.exit_post = 0;
}

// -- the host's scheduler ---------------------------------------------------------------------------------------------

void posting_world::switch_out(std::uint8_t p, posting_put_reason why) {
  const std::uint8_t number = cpus_[p].current;
  virtual_cpu& v = vcpus_[number];
  v.where = why.preempted ? place::queued : place::asleep;
  v.resched = false;
  const posting_put put{number, p, why, rules_->scenario().order};
  v.transfer = put;
  if (put.finished()) transfer_ended(p, number);
}

void posting_world::transfer_ended(std::uint8_t p, std::uint8_t number) {
  virtual_cpu& v = vcpus_[number];
  const bool loaded = std::holds_alternative<posting_load>(v.transfer);
  v.transfer = std::monostate{};
  if (!loaded) {
    cpus_[p].current = nobody;
    return;
  }
  v.cpu = p;
  if (v.slept) {
    v.slept = false;
    tell(v.program, 0);
  }
}

// -- a CPU's step -----------------------------------------------------------------------------------------------------

// How a step commutes with the steps of other CPUs and of the device. `own`: it is the thread's, about its own vCPU.
posting_world::mover posting_world::mover_of(const posting_action& a, bool own) const {
  switch (a.what) {
    // Only the CPU that owns the vCPU touches its virtual APIC. No vector of a scenario lies in the other words of PIR.
    case op::merge_irr:
    case op::update_rvi:
      return mover::both;
    case op::load_pir:
      return a.word != posting_world_pir_word ? mover::both : mover::none;
    // There are no kicks here: only its own thread changes a vCPU's mode.
    case op::load_mode:
      return own ? mover::both : mover::none;
    case op::serve_requests:
    case op::next_waiter:
      return mover::both;
    // No thread asks for this CPU any more.
    case op::load_requests:
      return preemptions_ == 0 && !vcpus_[a.vcpu].resched ? mover::both : mover::none;
    case op::load_cpu:
      return rules_->scenario().migration ? mover::none : mover::both;
    case op::disable_interrupts:
    case op::lock_waiters:
      return mover::right;
    case op::enable_interrupts:
    case op::unlock_waiters:
    case op::enter_guest:
    // An interrupt that is sent earlier can still be taken later.
    case op::send_ipi:
      return mover::left;
    default:
      return mover::none;
  }
}

// What this CPU does next, unless that would be a second step that does not commute. `committed`: there was a first
// one, or one that may only be followed by steps that could come earlier.
std::optional<posting_world::mover> posting_world::step(std::uint8_t p, bool committed) {
  physical_cpu& c = cpus_[p];
  if (finished(c.handler) && c.current == nobody) return std::nullopt;
  virtual_cpu* v = c.current == nobody ? nullptr : &vcpus_[c.current];
  const bool in_transfer = v != nullptr && !finished(v->transfer);
  if (finished(c.handler) && !in_transfer && v->in_guest) {
    using apic::posting_step;
    const posting_step next = v->processing.next;
    const bool idle = next == posting_step::acknowledge && v->posting == 0;
    const bool shared = v->posting != 0 || next == posting_step::clear_on || next == posting_step::merge_pir;
    if (idle || (committed && shared)) return std::nullopt;
    v->posting != 0 ? announce_ipi(p, *v) : processing_step(p, *v);
    return shared ? mover::none : mover::both;
  }
  const bool own = finished(c.handler) && !in_transfer;
  posting_machine& machine = !finished(c.handler) ? c.handler : in_transfer ? v->transfer : v->program;
  const mover m = mover_of(next_of(machine), own && std::holds_alternative<posting_entry>(machine));
  if ((committed && m != mover::both && m != mover::left) || !can(machine)) return std::nullopt;
  own ? software_step(p, *v) : machine_step(machine, p);
  return m;
}

void posting_world::go_on(std::uint8_t p) {
  if (rules_->scenario().one_by_one) {
    step(p, false);
  } else {
    go_on_with(p);
  }
}

// What comes after a step that commutes to the right, or what begins with one: up to one step that does not commute,
// and beyond it what commutes to the left.
void posting_world::go_on_with(std::uint8_t p) {
  if (rules_->scenario().one_by_one) return;
  bool committed = false;
  while (const std::optional<mover> m = step(p, committed))
    committed = *m == mover::none || *m == mover::left || committed;
}

void posting_world::machine_step(posting_machine& machine, std::uint8_t p) {
  const posting_action a = next_of(machine);
  const std::string who = log_ != nullptr ? cpu_name(p) : std::string{};
  const std::uint64_t result = perform(a, p);
  tell(machine, result);
  if (log_ != nullptr) log_->push_back({who, models::describe(a, result)});
  if (!finished(machine)) return;
  const std::uint8_t current = cpus_[p].current;
  if (&machine == &cpus_[p].handler) {
    machine = std::monostate{};
  } else if (&machine == &vcpus_[current].transfer) {
    transfer_ended(p, current);
  } else {
    program_ended(current);
  }
}

void posting_world::software_step(std::uint8_t p, virtual_cpu& v) {
  const posting_action a = next_of(v.program);
  if (a.what == op::sleep) {
    if (!v.waiting) {
      say(p, "sleep: a wake-up has come already");
      return tell(v.program, 0);
    }
    say(p, "sleep: the thread gives up its CPU");
    v.slept = true;
    return switch_out(p, {false, true, false, rules_->hardware_posts()});
  }
  if (a.what == op::enter_guest) {
    v.in_guest = true;
    with_apic(number_of(v), [](const apic::virtual_apic& to) { apic::at_entry(to); });
    say(p, "VM entry, RVI ", vector_text{v.inside.rvi});
    v.status = 0;  // no read comes before the exit writes it
    return;
  }
  machine_step(v.program, p);
}

void posting_world::announce_ipi(std::uint8_t p, virtual_cpu& v) {
  posting_memory memory{*this};
  const auto n = apic::announce(memory, descriptor_of(rules_->posts()[v.posting - 1u].target));
  v.posting = 0;
  if (n) send_notification(*n);
  if (n) {
    say(p, "IPI virtualization: ON = 1, sends ", vector_text{n->vector}, " to pCPU ", n->destination);
  } else {
    say(p, "IPI virtualization: ON or SN is set, no notification");
  }
}

void posting_world::processing_step(std::uint8_t p, virtual_cpu& v) {
  if (v.processing.next != apic::posting_step::write_eoi)
    say(p, "posted-interrupt processing: ", apic::name_of(v.processing.next));
  with_apic(number_of(v), [&v](const apic::virtual_apic& of) { v.processing.step(of); });
  if (v.processing.next == apic::posting_step::done) v.processing = {};
}

void posting_world::leave_guest(virtual_cpu& v, cause why, std::uint8_t post) {
  with_apic(number_of(v), [&v](const apic::virtual_apic& of) {
    apic::at_exit(of.v, of.state);
    v.status = static_cast<std::uint16_t>(of.v.read(field::guest_interrupt_status));
  });
  v.in_guest = false;
  v.exit = why;
  v.exit_post = post;
  tell(v.program, 0);
  program_ended(number_of(v));
}

void posting_world::take(std::uint8_t p, std::uint8_t i, std::uint8_t count) {
  physical_cpu& c = cpus_[p];
  const std::uint8_t vector = vectors[i];
  virtual_cpu* v = c.current == nobody ? nullptr : &vcpus_[c.current];
  if (v != nullptr && v->in_guest) {
    if (!v->processing.acknowledge(scratch_vmcs(c.current), vector)) {
      // KVM acknowledges it at the exit and serves it as soon as interrupts are on again: here it waits until then.
      v->processing = {};
      say(p, "interrupt ", vector_text{vector}, " causes a VM exit");
      return leave_guest(*v, cause::interrupt, 0);
    }
    say(p, "notification ", vector_text{vector}, " in the guest starts posted-interrupt processing");
  } else {
    say(p, "interrupt ", vector_text{vector},
        " in the host: ", vector == posting_vector::wakeup ? "wake-up handler" : "nothing to do");
    if (vector == posting_vector::wakeup) c.handler = posting_wakeup{p};
  }
  c.pending[i] = static_cast<std::uint8_t>(c.pending[i] - count);
}

// Delivery, the guest's handler and its EOI: no other part sees any of it.
void posting_world::deliver(std::uint8_t p) {
  const std::uint8_t number = cpus_[p].current;
  const std::uint8_t vector = with_apic(number, [](const apic::virtual_apic& of) { return apic::deliver(of); });
  with_apic(number, [](const apic::virtual_apic& of) { apic::eoi_virtualization(of); });
  say(p, "takes virtual interrupt ", vector_text{vector});
  const std::uint16_t bit = static_cast<std::uint16_t>(1u << rules_->post_of(vector));
  if ((owed_ & bit) == 0 || rules_->posts()[rules_->post_of(vector)].target != number) surplus_ = true;
  owed_ = static_cast<std::uint16_t>(owed_ & ~bit);
}

void posting_world::happen(const posting_choice& choice, std::vector<posting_event>* log) {
  using kind = posting_choice::kind;
  log_ = log;
  const std::uint8_t p = choice.cpu;
  physical_cpu& c = cpus_[p];
  const auto begin_post = [&](const char* who) {
    const posting_rules::post& post = rules_->posts()[choice.which];
    const bool before = perform({op::set_pir, post.vector, 0, post.target, 0, 0, 0}, p) != 0;
    if (log_ != nullptr) {
      log_->push_back({post.by_device ? "device" : cpu_name(p),
                       who + models::describe({op::set_pir, post.vector, 0, post.target, 0, 0, 0}, before ? 1 : 0)});
    }
  };
  const auto sent = [&] { unsent_ = static_cast<std::uint16_t>(unsent_ & ~(1u << choice.which)); };
  switch (choice.what) {
    case kind::go_on:
      go_on(p);
      break;
    case kind::take:
      take(p, choice.which, choice.count);
      go_on_with(p);
      break;
    case kind::deliver:
      deliver(p);
      break;
    case kind::preempt:
      say(p, "the thread is preempted");
      switch_out(p, {true, vcpus_[c.current].waiting, false, rules_->hardware_posts()});
      go_on_with(p);
      break;
    case kind::run: {
      virtual_cpu& v = vcpus_[choice.which];
      say(p, "runs the thread of vCPU ", unsigned{choice.which});
      c.current = choice.which;
      v.where = place::on_cpu;
      v.transfer = posting_load{choice.which, p, v.cpu, p, rules_->scenario().order};
      break;
    }
    case kind::device_go_on: {
      const posting_rules::post& post = rules_->posts()[device_ - 1u];
      posting_memory memory{*this};
      const auto n = apic::announce(memory, descriptor_of(post.target), rules_->scenario().urgent);
      device_ = 0;
      if (n) send_notification(*n);
      if (log_ != nullptr) {
        log_->push_back({"device", n ? line_of("ON = 1, sends ", vector_text{n->vector}, " to pCPU ", n->destination)
                                     : "ON or SN is set: no notification"});
      }
      break;
    }
    case kind::send:
      sent();
      if (rules_->scenario().ipi_virtualization) {
        begin_post("IPI virtualization: ");
        vcpus_[c.current].posting = static_cast<std::uint8_t>(choice.which + 1);
      } else {
        say(p, "the guest sends an IPI: VM exit");
        leave_guest(vcpus_[c.current], cause::ipi, choice.which);
        go_on_with(p);
      }
      break;
    case kind::send_fast:
      sent();
      say(p, "the guest sends an IPI: VM exit, handled in guest mode");
      leave_guest(vcpus_[c.current], cause::fast_ipi, choice.which);
      go_on_with(p);
      break;
    case kind::halt:
      say(p, "the guest halts: VM exit");
      leave_guest(vcpus_[c.current], cause::halt, 0);
      go_on_with(p);
      break;
    case kind::reschedule: {
      virtual_cpu& v = vcpus_[choice.which];
      --preemptions_;
      v.resched = true;
      if (log_ != nullptr) log_->push_back({"scheduler", "wants pCPU " + std::to_string(p) + ": reschedule IPI"});
      send_notification({vector::reschedule, p});
      break;
    }
    case kind::device_post:
      sent();
      begin_post("");
      device_ = static_cast<std::uint8_t>(choice.which + 1);
      break;
  }
  log_ = nullptr;
}

}  // namespace vmxsys::models
