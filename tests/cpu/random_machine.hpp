#pragma once
#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <vmxsys/apic/virtualization/ipi_virtualization.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/cpu/core/msr_file.hpp>
#include <vmxsys/cpu/program/system_instruction.hpp>

#include "random_hardware.hpp"

// Small machines drawn at random: hardware, costs, detectors and software, all from one seed.
namespace vmxsys::cpu::testing {

/// What the programs see, as facts: a value that differs between two runs makes their hashes differ.
struct note_fact {
  static constexpr const char* fact_name = "note";
  std::uint32_t who;
  std::uint64_t what;
};
BOOST_DESCRIBE_STRUCT(note_fact, (), (who, what))

struct random_result {
  std::string error;
  std::uint64_t hash = 0;
  std::uint64_t facts = 0;
  std::uint64_t events = 0;
  std::uint64_t iterations = 0;  ///< of all spins that ended
  std::uint64_t detections = 0;  ///< by detectors that only watch
  std::array<std::uint64_t, 64> exits{};
  std::uint64_t virtual_interrupts = 0;
  std::uint64_t postings = 0;  ///< posted-interrupt processings that ended
  std::uint64_t virtualized_ipis = 0;
  std::uint64_t guest_timers = 0;
  std::vector<std::uint64_t> books;

  bool same_as(const random_result& o) const {
    return error == o.error && hash == o.hash && facts == o.facts && books == o.books && iterations == o.iterations;
  }
};

class random_machine final : public boot_if, fact_observer {
 public:
  random_machine(std::uint64_t seed, const random_run& how)
      : draw_{seed},
        how_{how},
        apics_{seed * 977 + 13},
        hw{draw_config(draw_, seed, how, detector_names_)},
        source_{hw.add_fact_source()} {
    hw.facts().attach(hash_);
    hw.facts().attach(*this);
    if (how.also != nullptr) hw.facts().attach(*how.also);
    disturber_ =
        hw.time().add_slot(this, [](void* self, cycles now) { static_cast<random_machine*>(self)->disturb(now); });
    const physical_address base = 0x20'0000;
    const std::uint64_t stride = draw_.one_in(3) ? 8 : 64;
    for (std::uint64_t i = 0; i < words_.size(); ++i) words_[i] = &hw.physical().word_at(base + stride * i);
    host_table_.of = guest_table_.of = this;
    guest_table_.guest = true;
    host_table_.base = hw.names().add(host_table_);
    guest_table_.base = hw.names().add(guest_table_);
    uses_locks_ = draw_.one_in(2);
    for (unsigned i = 0; i < hw.cpus(); ++i) add_cpu(i);
    schedule();
    hw.connect(*this);
    for (unsigned i = 1; i < hw.cpus(); ++i)
      hw.post(i, cycles{draw_.between(1, 3000)}, hw.cpus(), {apic::delivery_mode::startup, 1, false});
  }

  random_result run() {
    random_result r;
    try {
      random_numbers slices{how_.disturb + 1};
      if (how_.disturb != 0) hw.time().arm(disturber_, cycles{1 + slices.below(1000)}, phase::timer);
      for (const outside_write& w : writes_) {
        advance(w.at, slices);
        if (w.to_guest < 0)
          hw.physical().write<std::uint64_t>(words_[w.word]->address(), w.value);
        else
          post_from_outside(w);
      }
      advance(how_.length, slices);
      hw.check_accounting();
    } catch (const std::exception& e) {
      r.error = e.what();
    }
    r.hash = hash_.value();
    r.facts = hash_.count();
    r.events = hw.time().events();
    r.iterations = iterations_;
    r.exits = exits_;
    r.detections = detections_;
    r.virtual_interrupts = virtual_interrupts_;
    r.postings = postings_;
    r.virtualized_ipis = virtualized_ipis_;
    r.guest_timers = guest_timers_;
    for (unsigned i = 0; i < hw.cpus(); ++i)
      for (vmx_operation w : {vmx_operation::root, vmx_operation::non_root})
        for (std::size_t b = 0; b < accounting::buckets; ++b)
          r.books.push_back(hw.cpu(i).account().total(w, static_cast<bucket>(b)).count());
    return r;
  }

  std::string describe() { return description_ + detector_names_; }

 private:
  struct outside_write {
    std::uint64_t at;
    std::size_t word;
    std::uint64_t value;
    int to_guest = -1;  ///< a device posts vector `value` there; its notification takes `word` cycles
  };
  struct table : interrupt_table {
    random_machine* of = nullptr;
    bool guest = false;
    std::uint64_t base = 0;
    program entry(logical_cpu& cpu, std::uint8_t vector) override { return of->handler(cpu.number(), guest, vector); }
  };
  /// One stream of software: a CPU's own, or a guest's.
  struct agent {
    random_numbers next{0};
    std::uint32_t id = 0;
    unsigned cpu = 0;
    bool guest = false;
    bool physical_interrupts = true;  ///< the APIC it programs is the physical one
    bool can_halt = true;
    unsigned index = 0;  ///< of a guest: the number of its descriptor
    std::unique_ptr<strand> runs;
  };
  struct virtual_cpu {
    agent* who = nullptr;
    physical_address region = 0;
    vmcs_setup setup;
    bool launched = false;
    unsigned pending = 0;  ///< vector to inject
  };
  struct host {
    random_numbers next{0};
    bool vmm = false;
    bool passthrough = false;
    bool preemption_timer = false;
    bool hlt_exits = true;
    /// How the guests' local APICs are virtualized.
    enum class apic_kind : std::uint8_t { none, tpr_shadow, msr, page } apic = apic_kind::none;
    bool timer = false;
    unsigned retry_in = 2;  ///< one in so many PAUSE exits is retried instead of skipped
    agent self;
    agent other;  ///< without a hypervisor: a second thread of the CPU
    std::array<virtual_cpu, 2> guests;
  };

  static constexpr code_location kernel_code{"kernel", 0xffffffff81300000, 0, 0, bucket::kernel};
  static constexpr code_location kernel_spin{"kernel_spin", 0xffffffff81310000, 0x10, 0, bucket::spin};
  static constexpr code_location lock_spin{"lock_spin", 0xffffffff81320000, 0x20, 0, bucket::spin};
  static constexpr code_location user_text{"user", 0x400000, 0, 3, bucket::user};
  static constexpr code_location user_spin{"user_spin", 0x410000, 0x10, 3, bucket::spin};
  static constexpr code_location vmm_text{"vmm", 0xffffffff81400000, 0, 0, bucket::exit_handling};
  static constexpr std::uint8_t host_tick = 0xE1;
  static constexpr std::uint8_t notification_vector = 0xF2;
  static constexpr physical_address virtual_apics = 0x40'0000;
  static constexpr physical_address descriptors = 0x50'0000;
  static constexpr physical_address pid_table = 0x51'0000;
  static constexpr physical_address access_page = 0x52'0000;

  void add_cpu(unsigned number) {
    hosts_.push_back(std::make_unique<host>());
    host& h = *hosts_.back();
    h.next = random_numbers{draw_()};
    h.vmm = !draw_.one_in(3);
    set_up_agent(h.self, number, false);
    if (h.vmm) {
      h.passthrough = draw_.one_in(3);
      h.preemption_timer = draw_.one_in(3);
      h.hlt_exits = !h.passthrough && draw_.one_in(2);
      h.retry_in = static_cast<unsigned>(draw_.between(1, 4));
      if (how_.virtual_apics) {
        h.passthrough = false;
        h.apic = static_cast<typename host::apic_kind>(apics_.one_in(4) ? apics_.below(2) : apics_.between(2, 3));
        h.timer = h.apic >= host::apic_kind::msr && apics_.one_in(2);
      }
      for (std::size_t g = 0; g < h.guests.size(); ++g) {
        virtual_cpu& v = h.guests[g];
        guests_.push_back(std::make_unique<agent>());
        v.who = guests_.back().get();
        v.region = 0x10'0000 + 0x10000 * number + 0x1000 * (g + 1);
        draw_vmcs(h, v);
        v.who->index = static_cast<unsigned>(guests_.size() - 1);
        if (h.apic != host::apic_kind::none) virtualize_apic(h, v, number);
        set_up_agent(*v.who, number, true);
        v.who->physical_interrupts = h.passthrough;
        start(*v.who, body(*v.who), kernel_code);
      }
      start(h.self, vmm(h, number), vmm_text);
    } else {
      set_up_agent(h.other, number, false);
      start(h.self, body(h.self), kernel_code);
      start(h.other, body(h.other), kernel_code);
    }
    if (h.apic != host::apic_kind::none) description_ += " apic " + std::to_string(static_cast<int>(h.apic));
    description_ += h.vmm ? h.passthrough ? " passthrough" : " vmm" : " bare";
  }

  void draw_vmcs(const host& h, virtual_cpu& v) {
    vmx::minimal_vmcs_options& o = v.setup.options;
    o.pin = vmx::pin_based::nmi_exiting;
    if (!h.passthrough) o.pin |= vmx::pin_based::external_interrupt_exiting;
    if (h.preemption_timer) o.pin |= vmx::pin_based::activate_vmx_preemption_timer;
    o.primary = h.hlt_exits ? vmx::primary::hlt_exiting : 0;
    if (h.passthrough) o.primary |= vmx::primary::use_msr_bitmaps;
    if (draw_.one_in(12)) o.primary |= vmx::primary::pause_exiting;
    random_numbers more{draw_()};
    namespace p = vmx::primary;
    for (const std::uint64_t control :
         {std::uint64_t{p::mov_dr_exiting}, std::uint64_t{p::rdpmc_exiting}, std::uint64_t{p::unconditional_io_exiting},
          std::uint64_t{p::invlpg_exiting}, std::uint64_t{p::cr3_load_exiting}, std::uint64_t{p::cr3_store_exiting},
          std::uint64_t{p::mwait_exiting}, std::uint64_t{p::rdtsc_exiting}})
      if (more.one_in(3)) o.primary |= control;
    if (more.one_in(6)) o.primary |= p::monitor_trap_flag;
    if (more.one_in(3)) o.pin |= vmx::pin_based::virtual_nmis;
    const std::uint64_t exceptions = more.one_in(2) ? 1u << 13 | 1u << 6 : 0;
    const std::uint64_t mask = more.one_in(2) ? 8 : 0;
    const std::uint64_t lists = more.one_in(3) ? 1 : 0;
    o.secondary = draw_.one_in(5) ? 0 : vmx::secondary::pause_loop_exiting;
    if (draw_.one_in(3)) o.vm_exit &= ~std::uint64_t{vmx::vm_exit_control::acknowledge_interrupt_on_exit};
    if (h.preemption_timer && draw_.one_in(2)) o.vm_exit |= vmx::vm_exit_control::save_vmx_preemption_timer_value;
    o.ple_gap = static_cast<std::uint32_t>(draw_.one_in(6) ? 0 : draw_.between(1, 300));
    o.ple_window = static_cast<std::uint32_t>(draw_.one_in(2) ? draw_.below(60) : draw_.below(5000));
    o.guest_rflags = draw_.one_in(2) ? 2 : 0x202;
    v.setup.more = {{vmx::field::host_idtr_base, host_table_.base}, {vmx::field::guest_idtr_base, guest_table_.base},
                    {vmx::field::msr_bitmap_address, 0x8000},  // a page of zeros
                    {vmx::field::vmx_preemption_timer_value, 50},   {vmx::field::exception_bitmap, exceptions},
                    {vmx::field::cr0_guest_host_mask, mask},        {vmx::field::vm_exit_msr_store_address, 0x9000},
                    {vmx::field::vm_exit_msr_store_count, lists},   {vmx::field::vm_exit_msr_load_address, 0x9000},
                    {vmx::field::vm_exit_msr_load_count, lists},    {vmx::field::vm_entry_msr_load_address, 0x9000},
                    {vmx::field::vm_entry_msr_load_count, lists}};
    hw.physical().write<std::uint32_t>(0x9000, msr::lstar);
  }

  static physical_address descriptor_of(unsigned guest) { return descriptors + 64 * guest; }

  void virtualize_apic(const host& h, virtual_cpu& v, unsigned cpu) {
    using vmx::field;
    namespace s2 = vmx::secondary;
    using kind = typename host::apic_kind;
    vmx::minimal_vmcs_options& o = v.setup.options;
    const unsigned index = v.who->index;
    const physical_address page = virtual_apics + 0x1000 * index;
    o.primary |= vmx::primary::use_tpr_shadow;
    v.setup.more.emplace_back(field::virtual_apic_address, page);
    if (h.apic == kind::tpr_shadow) return;
    o.primary |= vmx::primary::use_msr_bitmaps;
    o.secondary |= s2::virtual_interrupt_delivery;
    o.secondary |= h.apic == kind::msr ? s2::virtualize_x2apic_mode : s2::virtualize_apic_accesses;
    if (!apics_.one_in(3)) o.secondary |= s2::apic_register_virtualization;
    o.vm_exit |= vmx::vm_exit_control::acknowledge_interrupt_on_exit;
    if (!apics_.one_in(6)) o.pin |= vmx::pin_based::process_posted_interrupts;
    if (apics_.one_in(2)) o.tertiary |= vmx::tertiary::ipi_virtualization;
    if (h.timer) {
      o.tertiary |= vmx::tertiary::apic_timer_virtualization;
      o.primary &= ~std::uint64_t{vmx::primary::rdtsc_exiting};
    }
    for (const auto& [f, value] : std::initializer_list<std::pair<field, std::uint64_t>>{
             {field::apic_access_address, access_page},
             {field::posted_interrupt_descriptor_address, descriptor_of(index)},
             {field::posted_interrupt_notification_vector, notification_vector},
             {field::pid_pointer_table_address, pid_table},
             {field::last_pid_pointer_index, 7},
             {field::virtual_timer_vector, 0xEC},
             {field::eoi_exit_bitmap_1, apics_.one_in(3) ? apics_() : 0}})
      v.setup.more.emplace_back(f, value);
    hw.physical().write<std::uint64_t>(pid_table + 8 * index, apic::pid_pointer::encode(descriptor_of(index)));
    if (!apics_.one_in(4))
      for (unsigned w = 0; w < 5; ++w) hw.physical().word_at(descriptor_of(index) + 8 * w);
    apic::write_descriptor_info(hw.physical(), descriptor_of(index), {false, false, notification_vector, cpu});
    targets_.push_back(index);
  }

  void post_from_outside(const outside_write& w) {
    const auto guest = static_cast<unsigned>(w.to_guest);
    apic::set_pir(hw.physical(), descriptor_of(guest), static_cast<std::uint8_t>(w.value));
    if (const auto n = apic::announce(hw.physical(), descriptor_of(guest)))
      hw.post(n->destination, hw.time().now() + cycles{1 + w.word}, hw.cpus() + 2,
              {apic::delivery_mode::fixed, n->vector, false});
  }

  void set_up_agent(agent& a, unsigned cpu, bool guest) {
    a.next = random_numbers{draw_()};
    a.id = static_cast<std::uint32_t>(agents_++);
    a.cpu = cpu;
    a.guest = guest;
    a.can_halt = draw_.one_in(2);
  }
  void start(agent& a, program what, const code_location& where) {
    a.runs = std::make_unique<strand>(hw.names(), "agent" + std::to_string(a.id));
    a.runs->start(std::move(what), where);
  }

  void schedule() {
    for (std::uint64_t n = draw_.below(15); n > 0; --n)
      writes_.push_back({draw_.between(5000, how_.length - 1), 1 + draw_.below(words_.size() - 1), draw_.below(3)});
    if (!targets_.empty())
      for (std::uint64_t n = apics_.below(60); n > 0; --n) {
        const std::uint64_t at = apics_.between(5000, how_.length - 1);
        const auto to = static_cast<int>(targets_[apics_.below(targets_.size())]);
        writes_.push_back({at, apics_.below(700), apics_.between(0x30, 0xDF), to});
      }
    std::sort(writes_.begin(), writes_.end(), [](const auto& a, const auto& b) { return a.at < b.at; });
    for (std::uint64_t n = draw_.below(60); n > 0; --n) {
      const auto cpu = static_cast<unsigned>(draw_.below(hw.cpus()));
      const bool nmi = draw_.one_in(12);
      const bool init = draw_.one_in(12) && hosts_[cpu]->vmm;  // elsewhere it would end the software
      const std::uint64_t at = draw_.between(init ? 40'000 : 4000, std::max<std::uint64_t>(how_.length, 50'000));
      hw.post(cpu, cycles{at}, hw.cpus() + 1,
              init  ? apic::interrupt_message{apic::delivery_mode::init, 0, false}
              : nmi ? apic::interrupt_message{apic::delivery_mode::nmi, 0, false}
                    : apic::interrupt_message{apic::delivery_mode::fixed,
                                              static_cast<std::uint8_t>(draw_.between(0x30, 0xDF)), false});
    }
  }

  // -- running --------------------------------------------------------------------------------------------------------

  void advance(std::uint64_t to, random_numbers& slices) {
    while (how_.disturb != 0 && hw.time().now().count() < to && !slices.one_in(10)) {
      hw.run_until(cycles{std::min(to, hw.time().now().count() + 1 + slices.below(slices.one_in(2) ? 60 : 9000))});
      if (slices.one_in(2)) hw.materialise();
      if (slices.one_in(2)) hw.check_accounting();
    }
    hw.run_until(cycles{to});
  }
  void disturb(cycles now) {
    random_numbers when{how_.disturb ^ now.count() * 77};
    hw.materialise();
    hw.time().arm(disturber_, now + cycles{1 + when.below(when.one_in(2) ? 40 : 3000)}, phase::timer);
  }

  strand& boot(logical_cpu& cpu, physical_address) override {
    cpu.set_idtr_base(host_table_.base);
    return *hosts_[cpu.number()]->self.runs;
  }
  void observe(const fact_view& f) override {
    if (const auto* spin = f.as<spin_fact>()) iterations_ += spin->iterations;
    if (f.as<spin_detected_fact>() != nullptr) ++detections_;
    if (f.as<virtual_interrupt_fact>() != nullptr) ++virtual_interrupts_;
    if (const auto* step = f.as<posting_step_fact>()) postings_ += step->step == apic::posting_step::evaluate;
    if (const auto* step = f.as<ipi_step_fact>()) virtualized_ipis_ += step->step == ipi_step::announce;
    if (const auto* timer = f.as<timer_fired_fact>()) guest_timers_ += timer->preemption_timer == 2;
    if (const auto* exit = f.as<vm_exit_fact>()) ++exits_[static_cast<std::size_t>(exit->reason) % exits_.size()];
  }
  void note(const agent& a, std::uint64_t what) { hw.facts().record(source_, hw.time().now(), note_fact{a.id, what}); }

  // -- software -------------------------------------------------------------------------------------------------------

  program handler(unsigned cpu, bool guest, std::uint8_t vector) {
    random_numbers& next = hosts_[cpu]->next;
    auto here = co_await isa::in(kernel_code);
    co_await isa::compute(cycles{next.below(200)});
    if (next.one_in(3)) note(hosts_[cpu]->self, co_await isa::fetch_add(*words_[1], 1));
    if (vector == 2) co_return;
    if (next.one_in(4)) {
      co_await isa::sti();
      co_await isa::compute(cycles{next.below(300)});
      co_await isa::cli();
    }
    if (vector == host_tick && !guest) co_await rearm(cpu);
    if (guest && hosts_[cpu]->apic == host::apic_kind::page)
      co_await isa::mmio_write(access_page + 0xB0, 0, 4);
    else
      co_await isa::wrmsr(apic::msr::eoi, 0);
    if (!guest && !hosts_[cpu]->vmm && next.one_in(3)) co_await switch_threads(cpu);  // preempts
  }
  program switch_threads(unsigned cpu) {
    host& h = *hosts_[cpu];
    strand& to = hw.cpu(cpu).active() == h.self.runs.get() ? *h.other.runs : *h.self.runs;
    co_await isa::switch_to(to);
  }

  program rearm(unsigned cpu) {
    const std::uint64_t ahead = hosts_[cpu]->next.between(300, 20'000);
    co_await isa::wrmsr(apic::msr::tsc_deadline, co_await isa::rdtsc() + ahead);
  }
  program prepare_apic(unsigned cpu) {
    co_await isa::wrmsr(apic::msr::svr, 0x1FF);
    co_await isa::wrmsr(apic::msr::lvt_timer, 0x40000u | host_tick);
    co_await rearm(cpu);
  }

  /// What every agent does for ever.
  program body(agent& a) {
    random_numbers& next = a.next;
    if (&a == &hosts_[a.cpu]->self) co_await prepare_apic(a.cpu);
    if (!next.one_in(6)) co_await isa::sti();
    for (;;) {
      if (how_.virtual_apics && next.one_in(3)) {
        const bool posts = !a.guest && !targets_.empty();
        if (a.guest)
          co_await interrupts_of_guest(a);
        else if (posts)
          co_await post(a);
      }
      word& w = *words_[1 + next.below(words_.size() - 1)];
      std::uint64_t vector = 0;  // drawn apart: the order of evaluation within an expression is the compiler's
      switch (next.below(21)) {
        case 0:
        case 1:
          co_await isa::compute(cycles{next.below(next.one_in(2) ? 50 : 2000)});
          break;
        case 2:
        case 3:
        case 4:
          co_await wait(a, w);
          break;
        case 5:
          co_await isa::store(w, next.below(3));
          break;
        case 6:
          note(a, co_await isa::fetch_add(w, next.below(2)));
          break;
        case 7: {
          const std::uint64_t expected = next.below(3);
          note(a, co_await isa::cmpxchg(w, expected, next.below(3)));
          break;
        }
        case 8:
          co_await isa::store_part(w, 0xFF, next());
          note(a, co_await isa::exchange_part(w, 0xFF00, next.below(2) << 8));
          break;
        case 9:
          vector = next.between(0x30, 0xDF);
          co_await isa::wrmsr(apic::msr::icr, next.below(hw.cpus()) << 32 | vector);
          break;
        case 10:
          note(a, co_await isa::rdtsc());
          break;
        case 11:
          for (std::uint64_t n = next.below(40); n > 0; --n) co_await isa::pause();
          break;
        case 12:
          co_await isa::cli();
          co_await isa::compute(cycles{next.below(500)});
          if (!next.one_in(5)) co_await isa::sti();
          break;
        case 13:
          if (a.guest) note(a, co_await isa::vmcall(1, 2));
          note(a, (co_await isa::cpuid(1)).eax);
          note(a, co_await isa::rdmsr(apic::msr::id));
          break;
        case 14:
          if (a.can_halt) co_await sleep_a_while(a);
          break;
        case 15:
          co_await in_user_mode(a, w);
          break;
        case 16:
          if (!a.guest && !hosts_[a.cpu]->vmm) co_await switch_threads(a.cpu);
          break;
        case 17:
          if (uses_locks_) co_await locked(a);
          break;
        case 18:
          co_await registers(a);
          break;
        case 19:
          if (a.can_halt && a.physical_interrupts) {
            co_await isa::monitor(w);
            co_await isa::wrmsr(apic::msr::tsc_deadline, co_await isa::rdtsc() + next.below(6000));
            co_await isa::sti();
            co_await isa::mwait(static_cast<std::uint32_t>(next.below(2)));
          }
          break;
        default:
          co_await odds_and_ends(a);
      }
      note(a, 1);
    }
  }

  /// What software without IPI virtualization does.
  program post(agent& a) {
    const unsigned to = targets_[a.next.below(targets_.size())];
    const auto vector = static_cast<std::uint8_t>(a.next.between(0x30, 0xDF));
    if (!hw.physical().page_is_watched(descriptor_of(to))) co_return;
    namespace layout = apic::posted_interrupt_descriptor;
    word& request = hw.physical().word_at(layout::pir_word_of(descriptor_of(to), vector));
    word& information = hw.physical().word_at(descriptor_of(to) + layout::information);
    note(a, co_await isa::fetch_or(request, layout::pir_bit_of(vector)));
    const std::uint64_t old = co_await isa::fetch_or(information, layout::on);
    if ((old & (layout::on | layout::sn)) != 0) co_return;
    const apic::descriptor_info info = apic::decode_descriptor_info(old);
    co_await isa::wrmsr(apic::msr::icr, std::uint64_t{info.destination} << 32 | info.vector);
  }
  /// A guest uses its local APIC, whichever it has.
  program interrupts_of_guest(agent& a) {
    using kind = typename host::apic_kind;
    const host& h = *hosts_[a.cpu];
    random_numbers& next = a.next;
    const bool msr = h.apic == kind::msr;
    const std::uint64_t vector = next.between(next.one_in(8) ? 0 : 0x30, 0xDF);
    const std::uint64_t to = next.below(guests_.size() + 1);
    const std::uint64_t priority = next.below(next.one_in(3) ? 14 : 4);
    switch (next.below(8)) {
      case 0:
      case 1:
        if (msr)
          co_await isa::wrmsr(apic::msr::self_ipi, vector);
        else if (h.apic == kind::page)
          co_await isa::mmio_write(access_page + 0x300, vector | 1u << 18, 4);
        break;
      case 2:
      case 3:
        if (msr) {
          co_await isa::wrmsr(apic::msr::icr, to << 32 | std::max<std::uint64_t>(vector, 16));
        } else if (h.apic == kind::page) {
          co_await isa::mmio_write(access_page + 0x310, to << 24, 4);
          co_await isa::mmio_write(access_page + 0x300, vector, 4);
        }
        break;
      case 4:
        if (h.apic != kind::none) co_await isa::mov_to_cr(8, priority);
        break;
      case 5:
        if (h.apic == kind::page) co_await isa::mmio_write(access_page + 0x80, priority << 4, 4);
        if (msr) co_await isa::wrmsr(apic::msr::tpr, priority << 4);
        break;
      case 6: {
        const std::uint64_t register_read = next.below(64);
        if (h.apic == kind::page)
          note(a, co_await isa::mmio_read(access_page + 16 * register_read, next.one_in(4) ? 8 : 4));
        else if (msr)
          note(a, co_await isa::rdmsr(static_cast<std::uint32_t>(apic::msr::isr + register_read % 24)));
        break;
      }
      default:
        if (!h.timer) break;
        co_await isa::wrmsr(apic::msr::tsc_deadline, co_await isa::rdtsc() + next.below(next.one_in(2) ? 300 : 6000));
        note(a, co_await isa::rdmsr(apic::msr::tsc_deadline));
        if (!a.can_halt || next.one_in(2)) break;
        co_await isa::monitor(*words_[1]);
        if (next.one_in(3)) co_await isa::cli();
        co_await isa::mwait(static_cast<std::uint32_t>(next.below(2)));
        co_await isa::sti();
        break;
    }
  }
  program registers(agent& a) {
    const std::uint64_t cr0 = co_await isa::mov_from_cr(0);
    note(a, cr0);
    co_await isa::mov_to_cr(0, cr0 ^ (a.next.below(2) << 3));
    note(a, co_await isa::mov_from_cr(3));
    co_await isa::mov_to_cr(3, a.next.below(3) << 12);
    if (a.next.one_in(2)) co_await isa::clts();
    note(a, co_await isa::smsw());
    co_await isa::mov_to_dr(1, a.next.below(100));
    note(a, co_await isa::mov_from_dr(1));
  }
  program odds_and_ends(agent& a) {
    note(a, co_await isa::in(static_cast<std::uint16_t>(a.next.below(4))));
    co_await isa::invlpg(a.next.below(1000));
    note(a, co_await isa::rdrand());
    note(a, co_await isa::rdpmc(0));
    try {
      note(a, co_await isa::rdmsr(0x123));
    } catch (const fault& f) {
      note(a, static_cast<std::uint64_t>(f.what_fault()));
    }
    try {
      note(a, co_await isa::rdtscp());
    } catch (const fault& f) {
      note(a, static_cast<std::uint64_t>(f.what_fault()));
    }
  }
  program wait(agent& a, word& w) {
    const std::uint64_t seen = co_await isa::load(w);
    const std::uint64_t limit = a.next.one_in(20) ? 0 : a.next.between(1, a.next.one_in(2) ? 20 : 600);
    const spin_predicate p =
        a.next.one_in(4) ? spin_predicate::while_any(~std::uint64_t{0}) : spin_predicate::while_equal(seen);
    const spin_result r = co_await isa::spin_while(w, p, kernel_spin, a.next.one_in(2) ? &subject_ : nullptr, limit);
    note(a, r.value);
    note(a, r.iterations * 2 + r.limit_reached);
  }
  program sleep_a_while(agent& a) {
    if (a.physical_interrupts) co_await isa::wrmsr(apic::msr::tsc_deadline, co_await isa::rdtsc() + a.next.below(6000));
    co_await isa::sti();
    if (a.next.one_in(3)) co_await isa::compute(cycles{a.next.below(100)});
    co_await isa::hlt();
  }
  program in_user_mode(agent& a, word& w) {
    auto here = co_await isa::in(user_text);
    co_await isa::compute(cycles{a.next.below(3000)});
    const spin_result r =
        co_await isa::spin_while(w, spin_predicate::while_equal(w.peek()), user_spin, nullptr, a.next.between(1, 200));
    note(a, r.iterations);
    if (a.next.one_in(2)) co_await isa::pause();
  }
  program locked(agent& a) {
    word& lock = *words_[0];
    while (co_await isa::cmpxchg(lock, 0, 1) != 0)
      co_await isa::spin_while(lock, spin_predicate::while_not_equal(0), lock_spin, &subject_);
    subject_.await(a.runs.get(), hw.time().now());
    co_await isa::compute(cycles{a.next.below(3000)});
    subject_.await(nullptr, hw.time().now());
    co_await isa::store(lock, 0);
  }

  // A hypervisor of two virtual CPUs that handles everything in some legal way, drawn anew each time.
  program vmm(host& h, unsigned number) {
    using vmx::field;
    random_numbers& next = h.next;
    co_await enter_root_operation(hw, 0x10'0000 + 0x10000 * number);
    for (virtual_cpu& v : h.guests) co_await make_vmcs(hw, *v.who->runs, v.region, v.setup);
    co_await prepare_apic(number);
    std::size_t which = 1;
    for (;;) {
      virtual_cpu& v = h.guests[which];
      if (hw.cpu(number).vmx_state().current_vmcs != v.region) co_await isa::vmptrld(v.region);
      if (v.pending != 0) co_await inject(v);
      if (h.apic >= host::apic_kind::msr && next.one_in(3)) co_await look_at_descriptor(h, v);
      if (h.apic == host::apic_kind::tpr_shadow)
        co_await isa::vmwrite(field::tpr_threshold, vtpr_of(v) == 0 ? 0 : next.between(1, vtpr_of(v)));
      if (h.preemption_timer && !next.one_in(3))
        co_await isa::vmwrite(field::vmx_preemption_timer_value, next.below(next.one_in(2) ? 3 : 150));
      vmx::exit_info exit;
      if (v.launched)
        exit = co_await isa::vmresume();
      else
        exit = co_await isa::vmlaunch();
      v.launched = true;
      if (exit.entry_failure) throw std::runtime_error{"VM entry failed"};
      co_await isa::compute(cycles{next.below(400)});
      if (co_await handle(h, v, exit)) which = next.below(h.guests.size());
    }
  }

  unsigned vtpr_of(const virtual_cpu& v) {
    return hw.physical().read<std::uint8_t>(virtual_apics + 0x1000 * v.who->index + apic::vapic::tpr) >> 4;
  }
  /// Suppresses or lets in notifications; makes up for one that found the CPU in root operation.
  program look_at_descriptor(host& h, virtual_cpu& v) {
    const physical_address at = descriptor_of(v.who->index);
    if (hw.physical().page_is_watched(at)) {
      word& information = hw.physical().word_at(at + apic::posted_interrupt_descriptor::information);
      const std::uint64_t sn = apic::posted_interrupt_descriptor::sn;
      if (h.next.one_in(4)) co_await isa::fetch_or(information, sn);
      if (h.next.one_in(2)) co_await isa::fetch_and(information, ~sn);
    }
    if (h.next.one_in(2)) co_await isa::wrmsr(apic::msr::self_ipi, notification_vector);
  }

  program inject(virtual_cpu& v) {
    using vmx::field;
    const std::uint64_t controls = co_await isa::vmread(field::primary_processor_based_controls);
    const std::uint64_t rflags = co_await isa::vmread(field::guest_rflags);
    const std::uint64_t blocking = co_await isa::vmread(field::guest_interruptibility_state);
    std::uint64_t wanted = controls | vmx::primary::interrupt_window_exiting;
    if ((rflags & vmx::rflags_bits::interrupt_flag) != 0 && blocking == 0) {
      co_await isa::vmwrite(field::vm_entry_interruption_information, 0x8000'0000u | v.pending);
      v.pending = 0;
      wanted = controls & ~std::uint64_t{vmx::primary::interrupt_window_exiting};
    }
    if (wanted != controls) co_await isa::vmwrite(field::primary_processor_based_controls, wanted);
  }

  /// True: another virtual CPU may run.
  task<bool> handle(host& h, virtual_cpu& v, vmx::exit_info& exit) {
    using vmx::exit_reason;
    using vmx::field;
    random_numbers& next = h.next;
    strand& s = *v.who->runs;
    switch (exit.reason) {
      case exit_reason::external_interrupt: {
        const std::uint32_t information = exit.interruption_information;
        if ((information >> 31) == 0) {
          co_await isa::sti();
          co_await isa::compute(cycles{1});
          co_await isa::cli();
        } else {
          if ((information & 0xFF) == host_tick) co_await rearm(s.on_cpu()->number());
          co_await isa::wrmsr(apic::msr::eoi, 0);
          if (next.one_in(2)) v.pending = information & 0xFF;
        }
        if (next.one_in(8)) co_await isa::vmwrite(field::guest_activity_state, 0);  // a halted guest goes on
        co_return next.one_in(2);
      }
      case exit_reason::pause:
        if (!next.one_in(h.retry_in)) co_await skip(exit);
        co_return !next.one_in(3);
      case exit_reason::hlt:
        co_await skip(exit);
        if (next.one_in(2) && !h.passthrough) co_await isa::vmwrite(field::guest_activity_state, 1);
        co_return true;
      case exit_reason::exception_or_nmi:
        // An exception goes back to the guest.
        if ((exit.interruption_information >> 8 & 7) == 3)
          co_await isa::vmwrite(field::vm_entry_interruption_information, exit.interruption_information);
        co_return next.one_in(2) && (exit.interruption_information >> 8 & 7) != 3;
      case exit_reason::preemption_timer:
      case exit_reason::interrupt_window:
      case exit_reason::init_signal:
        co_return next.one_in(2);
      case exit_reason::wrmsr:
        if (s.reg(gpr::rcx) == apic::msr::icr && next.one_in(2))
          co_await isa::wrmsr(apic::msr::icr, s.reg(gpr::rdx) << 32 | s.reg(gpr::rax));
        co_await skip(exit);
        co_return next.one_in(4);
      case exit_reason::cpuid:
      case exit_reason::rdmsr:
      case exit_reason::vmcall:
        s.reg(gpr::rax) = next.below(1000);
        co_await skip(exit);
        co_return next.one_in(4);
      case exit_reason::mov_dr:
      case exit_reason::rdpmc:
      case exit_reason::io_instruction:
      case exit_reason::invlpg:
      case exit_reason::mwait:
      case exit_reason::rdtsc:
      case exit_reason::control_register_access:
        s.reg(gpr::rax) = next.below(1000);
        s.reg(gpr::rdx) = 0;
        co_await skip(exit);
        co_return next.one_in(4);
      case exit_reason::tpr_below_threshold:
      case exit_reason::virtualized_eoi:
      case exit_reason::apic_write:
        co_return next.one_in(4);
      case exit_reason::apic_access:
        exit.instruction_length = 3;
        s.reg(gpr::rax) = next.below(1000);
        co_await skip(exit);
        co_return next.one_in(4);
      case exit_reason::monitor_trap_flag:
        if (next.one_in(8)) {
          const std::uint64_t controls = co_await isa::vmread(field::primary_processor_based_controls);
          co_await isa::vmwrite(field::primary_processor_based_controls,
                                controls & ~std::uint64_t{vmx::primary::monitor_trap_flag});
        }
        co_return next.one_in(4);
      default:
        throw std::runtime_error{"exit " + std::to_string(static_cast<int>(exit.reason)) + " was not expected"};
    }
  }
  program skip(const vmx::exit_info& exit) {
    const std::uint64_t rip = co_await isa::vmread(vmx::field::guest_rip);
    co_await isa::vmwrite(vmx::field::guest_rip, rip + exit.instruction_length);
    co_await isa::vmwrite(vmx::field::guest_interruptibility_state, 0);
  }

  std::string detector_names_;
  random_numbers draw_;
  random_run how_;
  random_numbers apics_;
  fact_hash hash_;
  std::uint64_t iterations_ = 0;
  std::uint64_t detections_ = 0;
  std::array<std::uint64_t, 64> exits_{};
  std::uint64_t virtual_interrupts_ = 0;
  std::uint64_t postings_ = 0;
  std::uint64_t virtualized_ipis_ = 0;
  std::uint64_t guest_timers_ = 0;

 public:
  machine hw;

 private:
  std::uint32_t source_;
  slot disturber_{};
  spin_subject subject_;
  std::array<word*, 5> words_{};
  table host_table_, guest_table_;
  bool uses_locks_ = false;
  std::size_t agents_ = 0;
  std::vector<std::unique_ptr<host>> hosts_;
  std::vector<std::unique_ptr<agent>> guests_;
  std::vector<outside_write> writes_;
  std::vector<unsigned> targets_;  ///< guests that can be posted to
  std::string description_;
};

}  // namespace vmxsys::cpu::testing
