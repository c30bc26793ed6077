#include "virtual_lapic.hpp"

#include <algorithm>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/apic/virtualization/posted_interrupts.hpp>
#include <vmxsys/models/posting/posting_protocol.hpp>

namespace vmxsys::models {

namespace isa = cpu::isa;
using vmx::field;

void eoi_exit_bitmap::add(std::uint8_t vector) {
  const std::uint64_t bit = std::uint64_t{1} << (vector & 63);
  if ((words_[vector >> 6] & bit) != 0) return;
  words_[vector >> 6] |= bit;
  ++version_;
}

virtual_lapic::virtual_lapic(unsigned index, apic::apic_mode mode, kernel& host)
    : host_{host}, registers_{index, index == 0, host.hardware().config().timer_clock} {
  if (mode == apic::apic_mode::x2apic) registers_.enter_x2apic();
}

void virtual_lapic::make_page() {
  const physical_address page = host_.memory().take(4096, 4096);
  memory_ = std::make_unique<virtual_apic_memory>(virtual_apic_memory{.page = {host_.hardware().physical(), page}});
  for (const std::uint32_t msr :
       {apic::msr::id, apic::msr::version, apic::msr::ldr, apic::number_of(apic::page::dfr), apic::msr::svr,
        apic::msr::esr, apic::msr::lvt_cmci, apic::msr::lvt_timer, apic::msr::lvt_thermal, apic::msr::lvt_performance,
        apic::msr::lvt_lint0, apic::msr::lvt_lint1, apic::msr::lvt_error, apic::msr::initial_count,
        apic::msr::divide_configuration})
    show(msr);
}

void virtual_lapic::make_descriptor(std::uint16_t number) {
  namespace layout = apic::posted_interrupt_descriptor;
  cpu::memory& words = host_.hardware().physical();
  virtual_apic_memory& m = *memory_;
  m.number = number;
  m.descriptor = host_.memory().take(layout::bytes, layout::bytes);
  for (unsigned w = 0; w < layout::pir_words; ++w) m.pir[w] = &words.word_at(layout::pir_word(m.descriptor, w));
  m.info = &words.word_at(m.descriptor + layout::information);
  m.info->initialise(apic::encode(apic::descriptor_info{false, true, posting_vector::notification, 0}));
  m.mode = &words.word_at(host_.memory().take(64, 64));
}

apic::register_outcome virtual_lapic::read(std::uint32_t msr) {
  const cycles now = host_.hardware().time().now();
  return registers_.mode() == apic::apic_mode::x2apic ? registers_.read_msr(msr, now)
                                                      : registers_.read_page(apic::offset_of(msr), 4, now);
}

void virtual_lapic::show(std::uint32_t msr) {
  const apic::register_outcome seen = read(msr);
  if (seen.fault) return;
  if (msr == apic::msr::icr && registers_.mode() == apic::apic_mode::x2apic) {
    memory_->page.write_64(apic::offset_of(msr), seen.value);  // the destination follows at 304H
  } else {
    memory_->page.write_32(apic::offset_of(msr), static_cast<std::uint32_t>(seen.value));
  }
}

std::uint8_t virtual_lapic::timer_vector() {
  const auto entry = static_cast<std::uint32_t>(read(apic::msr::lvt_timer).value);
  return (entry & apic::lvt::masked) != 0 ? std::uint8_t{0} : static_cast<std::uint8_t>(entry & apic::lvt::vector_bits);
}

std::uint8_t virtual_lapic::wanted_tpr_threshold() const {
  const int highest = registers_.requests().highest();
  const int tpr = memory_->page.vtpr() >> 4;
  return highest < 0 || highest >> 4 > tpr ? std::uint8_t{0} : static_cast<std::uint8_t>(highest >> 4);
}

cpu::program virtual_lapic::update_tpr_threshold() {
  const std::uint8_t threshold = wanted_tpr_threshold();
  if (threshold == memory_->tpr_threshold) co_return;
  memory_->tpr_threshold = threshold;
  co_await isa::vmwrite(field::tpr_threshold, threshold);
}

cpu::program virtual_lapic::load(const eoi_exit_bitmap& exits) {
  memory_->eoi_exits_version = exits.version();
  const std::array<std::uint64_t, 4> wanted = exits.words();  // others may add to them in between
  co_await isa::vmwrite(field::eoi_exit_bitmap_0, wanted[0]);
  co_await isa::vmwrite(field::eoi_exit_bitmap_1, wanted[1]);
  co_await isa::vmwrite(field::eoi_exit_bitmap_2, wanted[2]);
  co_await isa::vmwrite(field::eoi_exit_bitmap_3, wanted[3]);
}

bool virtual_lapic::interrupt_posted() const {
  const virtual_apic_memory& m = *memory_;
  return has_pending_interrupt(m.info->peek(),
                               {m.pir[0]->peek(), m.pir[1]->peek(), m.pir[2]->peek(), m.pir[3]->peek()});
}

bool virtual_lapic::can_take(int vector) const {
  const int service = memory_->page.highest_in_service();
  return vector >> 4 > std::max(memory_->page.vtpr() >> 4, service >> 4);
}

}  // namespace vmxsys::models
