#include "detail/posting_machine.hpp"
#include "detail/posting_text.hpp"
#include "posting_world.hpp"

// What must hold in a state of the posting world, its description, its encoding.
namespace vmxsys::models {

namespace {

const char* place_name(unsigned place) {
  constexpr const char* names[] = {"runs in the host", "waits for a CPU", "sleeps"};
  return names[place];
}

}  // namespace

// -- what must hold ---------------------------------------------------------------------------------------------------

const char* posting_world::wrong(bool settled) const noexcept {
  if (surplus_) return "delivered what was not posted";
  if (!settled) return nullptr;
  for (std::uint8_t i = 0; i < rules_->scenario().vcpus; ++i) {
    const virtual_cpu& v = vcpus_[i];
    if (!v.in_guest && v.where != place::asleep) return "stuck in the host";
  }
  for (std::size_t i = 0; i < rules_->posts().size(); ++i) {
    if ((owed_ >> i & 1) == 0) continue;
    return vcpus_[rules_->posts()[i].target].in_guest ? "lost interrupt: the guest runs on without it"
                                                      : "lost wake-up: the vCPU sleeps with an interrupt pending";
  }
  return nullptr;
}

std::vector<posting_event> posting_world::describe() const {
  std::vector<posting_event> lines;
  for (std::uint8_t i = 0; i < rules_->scenario().vcpus; ++i) {
    const virtual_cpu& v = vcpus_[i];
    const apic::descriptor_info info = apic::decode_descriptor_info(v.descriptor[4]);
    std::string text = v.in_guest ? "runs in the guest" : place_name(static_cast<unsigned>(v.where));
    text += std::string{"; ON "} + (info.outstanding ? "1" : "0") + ", SN " + (info.suppressed ? "1" : "0") + ", NV " +
            line_of(vector_text{info.vector}) + ", NDST " + std::to_string(info.destination);
    for (const posting_rules::post& post : rules_->posts()) {
      if (post.target != i || (owed_ >> rules_->post_of(post.vector) & 1) == 0) continue;
      const bool posted = (v.descriptor[posting_world_pir_word] >> (post.vector & 63) & 1) != 0;
      text += line_of("; ", vector_text{post.vector}, posted ? " waits in PIR" : " waits in VIRR");
    }
    lines.push_back({"vCPU " + std::to_string(i), text});
  }
  return lines;
}

void posting_world::encode(state_bytes& to) const {
  const auto& posts = rules_->posts();
  const auto bits = [&](auto set) {
    std::uint64_t packed = 0;
    for (std::size_t i = 0; i < posts.size(); ++i)
      packed |= static_cast<std::uint64_t>(set(posts[i].vector) ? 1 : 0) << i;
    return packed;
  };
  for (std::uint8_t i = 0; i < rules_->scenario().vcpus; ++i) {
    const virtual_cpu& v = vcpus_[i];
    to.put_short(bits([&](std::uint8_t n) { return (v.descriptor[posting_world_pir_word] >> (n & 63) & 1) != 0; }));
    to.put_short(bits([&](std::uint8_t n) { return (v.irr[n >> 5] >> (n & 31) & 1) != 0; }));
    const apic::descriptor_info info = apic::decode_descriptor_info(v.descriptor[4]);
    to.put(info.vector);
    to.put(info.destination << 2 | (info.suppressed ? 2u : 0u) | (info.outstanding ? 1u : 0u));
    to.put(v.status, 2);
    to.put(v.inside.rvi);
    to.put(static_cast<unsigned>(v.processing.next) << 1 | (v.inside.recognized ? 1u : 0u));
    models::encode(v.program, to);
    models::encode(v.transfer, to);
    to.put(static_cast<unsigned>(v.mode) << 6 | static_cast<unsigned>(v.where) << 4 | static_cast<unsigned>(v.exit));
    to.put(v.exit_post);
    to.put(v.cpu);
    to.put(v.posting);
    to.put((v.in_guest ? 1u : 0u) | (v.interrupts_off ? 2u : 0u) | (v.waiting ? 4u : 0u) | (v.slept ? 8u : 0u) |
           (v.resched ? 16u : 0u));
  }
  for (std::uint8_t p = 0; p < rules_->scenario().vcpus; ++p) {
    const physical_cpu& c = cpus_[p];
    to.put(c.current);
    models::encode(c.handler, to);
    for (const std::uint8_t pending : c.pending) to.put(pending);
    to.put(static_cast<unsigned>(c.waiting) << 1 | (c.locked ? 1u : 0u));
    for (std::uint8_t i = 0; i < c.waiting; ++i) to.put(c.waiters[i]);
  }
  to.put(preemptions_);
  to.put(unsent_, 2);
  to.put(owed_, 2);
  to.put(static_cast<unsigned>(device_) << 1 | (surplus_ ? 1u : 0u));
}

}  // namespace vmxsys::models
