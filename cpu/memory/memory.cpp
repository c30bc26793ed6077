#include "memory.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace vmxsys::cpu {

namespace {
constexpr std::uint64_t page_size = 4096;
}

physical_address region_allocator::take(std::uint64_t bytes, std::uint64_t alignment) {
  const physical_address at = (next_ + alignment - 1) / alignment * alignment;
  if (at + bytes > end_) throw std::length_error("memory region is full");
  next_ = at + bytes;
  return at;
}

std::uint64_t* memory::page_bytes(physical_address at) {
  auto& p = pages_[at / page_size];
  if (!p) p = std::make_unique<page>();
  return p->data();
}

void memory::read(physical_address at, void* to, std::size_t bytes) const {
  auto* out = static_cast<unsigned char*>(to);
  while (bytes != 0) {
    const std::size_t offset = at % page_size;
    const std::size_t here = std::min<std::size_t>(bytes, page_size - offset);
    if (auto p = pages_.find(at / page_size); p != pages_.end())
      std::memcpy(out, reinterpret_cast<const unsigned char*>(p->second->data()) + offset, here);
    else
      std::memset(out, 0, here);
    out += here;
    at += here;
    bytes -= here;
  }
}

template <class F>
void memory::write_lines(physical_address at, const void* from, std::size_t bytes, F written) {
  const auto* in = static_cast<const unsigned char*>(from);
  while (bytes != 0) {
    const std::size_t offset = at % page_size;
    const std::size_t here = std::min<std::size_t>(bytes, page_size - offset);
    std::memcpy(reinterpret_cast<unsigned char*>(page_bytes(at)) + offset, in, here);
    if (page_is_watched(at))
      for (std::uint64_t line = at / 64; line <= (at + here - 1) / 64; ++line)
        if (auto l = lines_.find(line); l != lines_.end()) {
          written(l->second);
          wake(l->second, time_.now());
        }
    in += here;
    at += here;
    bytes -= here;
  }
}

void memory::write(physical_address at, const void* from, std::size_t bytes) {
  write_lines(at, from, bytes, [](cache_line& line) {
    line.owner = cache_line::no_owner;
    line.valid = {};
  });
}

void memory::write_by(unsigned cpu, physical_address at, const void* from, std::size_t bytes) {
  write_lines(at, from, bytes, [cpu](cache_line& line) {
    if (line.owner == cache_line::no_owner) line.owner = cpu;
    line.valid.assign(cpu);
  });
}

word& memory::word_at(physical_address at) {
  if (at % 8 != 0) throw std::invalid_argument("a shared word must be aligned to 8 bytes");
  cache_line& line = lines_[at / 64];
  for (word* w = line.words; w != nullptr; w = w->next_)
    if (w->address_ == at) return *w;
  if (watched_pages_[at >> 12]++ == 0)
    for (watched_page_listener* who : listeners_) who->page_became_watched(at & ~(page_size - 1));
  store_.push_back(word{at, page_bytes(at) + at % page_size / 8, &line, line.words});
  line.words = &store_.back();
  return store_.back();
}

cycles memory::issue_load(word& w, unsigned cpu, cycles now) {
  cache_line& line = *w.line_;
  if (line.valid.test(cpu)) return now + costs_.instruction.load;
  const cycles transfer = line.owner == cache_line::no_owner ? costs_.transfer.same_socket
                                                             : shape_.transfer(line.owner, cpu, costs_.transfer);
  line.busy_until = max(now, line.busy_until) + transfer;
  return line.busy_until;
}

cycles memory::issue_exclusive(word& w, unsigned cpu, cycles now, cycles hit) {
  return acquire(*w.line_, cpu, now, hit);
}

cycles memory::issue_exclusive_at(physical_address at, unsigned cpu, cycles now, cycles hit) {
  if (page_is_watched(at))
    if (auto l = lines_.find(at / 64); l != lines_.end()) return acquire(l->second, cpu, now, hit);
  return now + hit;
}

cycles memory::acquire(cache_line& line, unsigned cpu, cycles now, cycles hit) {
  cycles cost = hit;
  if (line.owner == cache_line::no_owner) {
    cost += costs_.transfer.same_socket;
  } else if (line.owner != cpu || !line.valid.only(cpu)) {
    cycles farthest = shape_.transfer(line.owner, cpu, costs_.transfer);
    line.valid.for_each([&](unsigned holder) {
      if (holder != cpu) farthest = max(farthest, shape_.transfer(holder, cpu, costs_.transfer));
    });
    cost += farthest;
  }
  line.owner = cpu;
  line.busy_until = max(now, line.busy_until) + cost;
  return line.busy_until;
}

void memory::complete_store(word& w, unsigned cpu, cycles now, std::uint64_t value) {
  *w.bytes_ = value;
  w.line_->valid.assign(cpu);
  wake(*w.line_, now);
}

// A watcher may stop watching while it is told: walk a copy.
void memory::wake(cache_line& line, cycles now) {
  if (line.watchers.empty()) return;
  const auto watchers = line.watchers;
  for (line_watcher* who : watchers) who->line_changed(now);
}

void memory::unwatch(word& w, line_watcher& who) {
  auto& all = w.line_->watchers;
  if (auto it = std::find(all.begin(), all.end(), &who); it != all.end()) {
    *it = all.back();
    all.pop_back();
  }
}

}  // namespace vmxsys::cpu
