#include "frame_pool.hpp"

namespace vmxsys::cpu {

void* frame_pool::carve(std::size_t c) {
  const std::size_t bytes = (c + 1) * granule;
  if (left_ < bytes) {
    // What is left of the old chunk serves smaller frames.
    if (left_ >= granule) {
      const std::size_t rest = left_ / granule - 1;
      free_[rest] = ::new (fresh_) free_block{free_[rest]};
      left_ = 0;
    }
    chunks_.push_back(std::unique_ptr<std::byte[]>{new std::byte[chunk_bytes]});
    fresh_ = chunks_.back().get();
    left_ = chunk_bytes;
  }
  void* const block = fresh_;
  fresh_ += bytes;
  left_ -= bytes;
  return block;
}

}  // namespace vmxsys::cpu
