#pragma once
#include <cstdint>
#include <vector>

#include "frame_pool.hpp"
#include "program.hpp"

namespace vmxsys::cpu {

class strand;
class logical_cpu;

/// What an interrupt descriptor table leads to: the handler program of a vector. `entry` is called when the CPU
/// delivers; the program it returns runs on the interrupted strand with interrupts disabled and ends with IRET.
class interrupt_table {
 public:
  virtual ~interrupt_table() = default;
  virtual program entry(logical_cpu& cpu, std::uint8_t vector) = 0;
};

/// The architectural name space of one machine: the values that registers and VMCS fields hold, and the model objects
/// they stand for. RSP names a strand, the IDTR base an interrupt table, the GS base one CPU's data of a
/// kernel.
class name_space {
 public:
  std::uint32_t add(strand& s) {
    strands_.push_back(&s);
    return static_cast<std::uint32_t>(strands_.size() - 1);
  }
  void remove(std::uint32_t id) { strands_[id] = nullptr; }

  static constexpr std::uint64_t stack_base = 0xffffc90000000000;
  static constexpr std::uint64_t stack_size = 0x4000;
  static constexpr std::uint64_t table_base = 0xfffffe0000000000;
  static constexpr std::uint64_t table_size = 0x1000;

  static constexpr std::uint64_t data_base = 0xffff888000000000;
  static constexpr std::uint64_t data_stride = 0x1000;

  static constexpr std::uint64_t rsp_of(std::uint32_t id) { return stack_base + id * stack_size + stack_size - 64; }
  /// The strand of a stack pointer, or null.
  strand* strand_at(std::uint64_t rsp) const {
    const std::uint64_t id = (rsp - stack_base) / stack_size;
    return rsp >= stack_base && id < strands_.size() ? strands_[id] : nullptr;
  }

  /// Gives a table its IDTR base.
  std::uint64_t add(interrupt_table& table) {
    tables_.push_back(&table);
    return table_base + (tables_.size() - 1) * table_size;
  }
  /// Reserves per-CPU data areas for a kernel of `cpus` CPUs: the GS base of its first CPU, `data_stride` apart.
  std::uint64_t add_data_areas(unsigned cpus) {
    const std::uint64_t at = data_base + data_areas_ * data_stride;
    data_areas_ += cpus;
    return at;
  }
  /// Numbers the kernels of a machine: 0 is the first, usually the host.
  unsigned add_kernel() { return kernels_++; }
  /// Where the frames of programs come from while the machine runs.
  frame_pool& frames() { return frames_; }
  interrupt_table* table_at(std::uint64_t idtr_base) const {
    const std::uint64_t i = (idtr_base - table_base) / table_size;
    return idtr_base >= table_base && i < tables_.size() ? tables_[i] : nullptr;
  }

 private:
  frame_pool frames_;
  std::vector<strand*> strands_;
  std::vector<interrupt_table*> tables_;
  std::uint64_t data_areas_ = 0;
  unsigned kernels_ = 0;
};

}  // namespace vmxsys::cpu
