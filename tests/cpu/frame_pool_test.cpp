#include <cstdint>
#include <cstring>
#include <gtest/gtest.h>
#include <vector>

#include <vmxsys/cpu/program/frame_pool.hpp>

namespace vmxsys::cpu {
namespace {

TEST(frame_pool, a_block_comes_back_to_the_pool_it_came_from) {
  frame_pool one;
  frame_pool other;
  void* frame = nullptr;
  {
    const frame_pool::in_use here{one};
    frame = frame_pool::allocate(200);
    std::memset(frame, 0xAB, 200);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(frame) % 16, 0u);
  }
  {
    const frame_pool::in_use there{other};
    frame_pool::release(frame, 200);
#ifndef VMXSYS_FRAMES_FROM_HEAP
    void* fresh = frame_pool::allocate(200);
    EXPECT_NE(fresh, frame);
    frame_pool::release(fresh, 200);
    const frame_pool::in_use nested{one};
    void* again = frame_pool::allocate(200);
    EXPECT_EQ(again, frame);
    frame_pool::release(again, 200);
#endif
  }
}

TEST(frame_pool, frames_made_outside_a_run_and_large_ones_come_from_the_heap) {
  void* outside = frame_pool::allocate(100);
  std::memset(outside, 0xAB, 100);
  frame_pool pool;
  {
    const frame_pool::in_use here{pool};
    void* large = frame_pool::allocate(10'000);
    std::memset(large, 0xAB, 10'000);
    frame_pool::release(large, 10'000);
    frame_pool::release(outside, 100);
  }
}

TEST(frame_pool, blocks_of_all_sizes_do_not_overlap) {
  frame_pool pool;
  const frame_pool::in_use here{pool};
  std::vector<unsigned char*> blocks;
  for (unsigned round = 0; round < 3; ++round) {
    for (std::size_t bytes = 1; bytes <= 600; ++bytes) {
      blocks.push_back(static_cast<unsigned char*>(frame_pool::allocate(bytes)));
      std::memset(blocks.back(), static_cast<int>(bytes & 0xFF), bytes);
    }
    for (std::size_t i = 0; i < blocks.size(); ++i)
      for (std::size_t k = 0; k <= i; ++k) ASSERT_EQ(blocks[i][k], (i + 1) & 0xFF) << "byte " << k << " of block " << i;
    for (std::size_t i = 0; i < blocks.size(); ++i) frame_pool::release(blocks[i], i + 1);
    blocks.clear();
  }
}

}  // namespace
}  // namespace vmxsys::cpu
