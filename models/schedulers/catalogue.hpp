#pragma once
#include <cstdint>
#include <memory>

#include <vmxsys/vmx/base/catalogue.hpp>

#include "scheduler.hpp"

namespace vmxsys::models {

/// The kernel a scheduler is for.
struct scheduler_environment {
  unsigned cpus;
  std::uint64_t tsc_khz;
};

struct scheduler_entry : entry {
  std::unique_ptr<scheduler> (*make)(const void* options, const scheduler_environment&);
};

/// The scheduling policies a kernel may have.
catalogue<scheduler_entry> schedulers();

}  // namespace vmxsys::models
