#pragma once
#include <array>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define VMXSYS_FRAMES_FROM_HEAP
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define VMXSYS_FRAMES_FROM_HEAP
#endif
#endif

namespace vmxsys::cpu {

/// Memory for the coroutine frames of one machine: programs call programs all the time, and a frame comes from and goes
/// back to a list of free blocks of its size in a few instructions. A block goes back to the pool it came from, so a
/// pool must outlive the strands whose programs were called while it was in use; the machine's name space owns it.
///
/// A coroutine is made before it knows its strand. So `machine::run_until` names its pool to the thread for as long as
/// it runs (`frame_pool::in_use`); frames made outside a run come from the heap. So do large ones, which are few: what
/// a pool once held it keeps, and a vCPU's few large frames are most of its memory. The pointer is the only state of a
/// thread, it owns nothing, and machines may run in turn or in different threads.
///
/// Under AddressSanitizer every frame comes from the heap, so that it sees uses after destruction.
class frame_pool {
 public:
  frame_pool() = default;
  frame_pool(const frame_pool&) = delete;
  frame_pool& operator=(const frame_pool&) = delete;

  /// While it lives, frames made by this thread come from `pool`.
  class in_use {
   public:
    explicit in_use(frame_pool& pool) : before_{current_} { current_ = &pool; }
    in_use(const in_use&) = delete;
    in_use& operator=(const in_use&) = delete;
    ~in_use() { current_ = before_; }

   private:
    frame_pool* before_;
  };

  static void* allocate(std::size_t bytes) {
#ifdef VMXSYS_FRAMES_FROM_HEAP
    return ::operator new(bytes);
#else
    const std::size_t c = class_of(bytes);
    if (c >= classes) return ::operator new(bytes);
    frame_pool* const pool = current_;
    if (pool == nullptr) return with_header(::operator new(bytes + header_bytes), nullptr);
    free_block* const first = pool->free_[c];
    if (first == nullptr) return with_header(pool->carve(c), pool);
    pool->free_[c] = first->next;
    return with_header(first, pool);
#endif
  }

  static void release(void* frame, std::size_t bytes) noexcept {
#ifdef VMXSYS_FRAMES_FROM_HEAP
    (void)bytes;
    ::operator delete(frame);
#else
    const std::size_t c = class_of(bytes);
    if (c >= classes) {
      ::operator delete(frame);
      return;
    }
    auto* const block = reinterpret_cast<header*>(static_cast<std::byte*>(frame) - header_bytes);
    frame_pool* const pool = block->from;
    if (pool == nullptr) {
      ::operator delete(block);
      return;
    }
    free_block*& first = pool->free_[c];
    first = ::new (block) free_block{first};
#endif
  }

 private:
  static constexpr std::size_t granule = 16;
  static constexpr std::size_t classes = 20;  // up to 320 bytes with the header
  static constexpr std::size_t chunk_bytes = 4096;
  static constexpr std::size_t header_bytes = 16;  // keeps the alignment of the heap

  struct header {
    frame_pool* from;
  };
  struct free_block {
    free_block* next;
  };

  static constexpr std::size_t class_of(std::size_t bytes) { return (bytes + header_bytes - 1) / granule; }
  static void* with_header(void* block, frame_pool* from) {
    ::new (block) header{from};
    return static_cast<std::byte*>(block) + header_bytes;
  }
  void* carve(std::size_t c);

  static inline thread_local constinit frame_pool* current_ = nullptr;

  std::array<free_block*, classes> free_{};
  std::vector<std::unique_ptr<std::byte[]>> chunks_;
  std::byte* fresh_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace vmxsys::cpu
