#include <gtest/gtest.h>

#include "legal_vmcs.hpp"

namespace vmxsys::vmx::entry_testing {
namespace {

TEST(vmx_entry_legal, any_legal_vmcs_enters_on_every_processor) {
  testing::random_numbers random{20};
  for (const entry_bench& processor : processors()) {
    for (int i = 0; i < 400; ++i) {
      entry_bench b = processor;
      legal_vmcs{b, random}.make();
      const entry_result result = b.check();
      ASSERT_EQ(explain(result, &b.v), "VM entry succeeds") << i;
      ASSERT_TRUE(b.broken().empty());
      ASSERT_TRUE(b.check()) << "again, by the short way: " << explain(b.check_afresh(), &b.v);
    }
  }
}

}  // namespace
}  // namespace vmxsys::vmx::entry_testing
