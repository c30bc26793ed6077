#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <set>

#include "legal_vmcs.hpp"

// What the rules say about themselves is true: which fields they read, and when they may be skipped.
namespace vmxsys::vmx::entry_testing {
namespace {

template <class Do>
void for_each_rule(Do what) {
  for (const entry_check_group* group : entry_check_groups())
    for (const entry_check& row : *group) what(row);
}

// A legal VMCS with a few bits of the fields in question wrong, so that rules are seen on both sides.
void disturb(entry_bench& b, const entry_check& row, testing::random_numbers& random) {
  for (const field where : row.reads)
    if (random.one_in(3)) b.set(where, random.one_in(4) ? random() : b.of(where) ^ u64{1} << random.below(64));
}

// Everything but the fields of a rule replaced by noise: it still says the same.
TEST(vmx_entry_reads, nothing_else_matters_to_a_rule) {
  testing::random_numbers random{21};
  const auto same_in_noise = [&](const entry_check& row, const entry_bench& a) {
    vmcs noise;
    for (const field_info& one : field_table) noise.write(one.encoding, random());
    for (const field where : row.reads) noise.write(where, a.of(where));
    return row.holds(noise, a.context()) == row.holds(a.v, a.context());
  };
  for (int i = 0; i < 100; ++i) {
    entry_bench b;
    legal_vmcs{b, random}.make();
    for_each_rule([&](const entry_check& row) {
      entry_bench a = b;
      disturb(a, row, random);
      ASSERT_TRUE(same_in_noise(row, a)) << row.name;
    });
  }
  std::map<std::string, const entry_check*> rules;
  for_each_rule([&](const entry_check& row) { rules[row.name] = &row; });
  for (const entry_case& c : all_entry_cases()) {
    entry_bench b;
    c.prepare(b);
    entry_bench bad = b;
    c.good(b);
    c.bad(bad);
    for (int i = 0; i < 4; ++i) {
      EXPECT_TRUE(same_in_noise(*rules.at(c.rule), b)) << c.rule << " / " << c.label;
      EXPECT_TRUE(same_in_noise(*rules.at(c.rule), bad)) << c.rule << " / " << c.label;
    }
  }
}

// From one side of a pair of the rule, changing that field alone leads to the other.
TEST(vmx_entry_reads, every_field_of_a_rule_matters_to_it) {
  std::map<std::string, std::vector<entry_bench>> samples;
  for (const entry_case& c : all_entry_cases()) {
    entry_bench b;
    c.prepare(b);
    samples[c.rule].push_back(b);
    c.bad(b);
    samples[c.rule].push_back(b);
  }
  const auto matters = [](const entry_check& row, field where, const entry_bench& sample) {
    const entry_context context = sample.context();
    const bool holds = row.holds(sample.v, context);
    vmcs v = sample.v;
    for (unsigned bit = 0; bit < 66; ++bit) {
      v.write(where, bit == 64 ? 0 : bit == 65 ? ~u64{0} : sample.of(where) ^ u64{1} << bit);
      if (row.holds(v, context) != holds) return true;
    }
    return false;
  };
  for_each_rule([&](const entry_check& row) {
    for (const field where : row.reads) {
      const auto& pairs = samples[row.name];
      EXPECT_TRUE(std::any_of(pairs.begin(), pairs.end(), [&](const entry_bench& b) { return matters(row, where, b); }))
          << row.name << " does not look at " << name_of(where);
    }
  });
}

TEST(vmx_entry_reads, rules_made_once_read_nothing_that_changes_without_notice) {
  for_each_rule([&](const entry_check& row) {
    std::set<field> fields(row.reads.begin(), row.reads.end());
    EXPECT_EQ(fields.size(), row.reads.count) << row.name << " names a field twice";
    if (row.when != check_when::once) return;
    for (const field where : row.reads)
      EXPECT_TRUE(!detail::is_rechecked(where) || where == field::guest_rflags)
          << row.name << " reads " << name_of(where);
  });
}

// Counts what is asked of it.
class watched_memory final : public physical_memory {
 public:
  explicit watched_memory(const flat_memory& behind) : behind_{behind} {}
  void read(physical_address at, void* to, std::size_t bytes) const override {
    ++reads;
    behind_.read(at, to, bytes);
  }
  void write(physical_address, const void*, std::size_t) override { ADD_FAILURE() << "a check writes"; }
  mutable unsigned reads = 0;

 private:
  const flat_memory& behind_;
};

// Memory, paging and the current-VMCS pointer can change unseen; of RFLAGS only VM is in the digest.
TEST(vmx_entry_reads, rules_made_once_depend_on_nothing_unseen) {
  testing::random_numbers random{23};
  unsigned reading = 0;
  for (int i = 0; i < 300; ++i) {
    entry_bench b;
    legal_vmcs{b, random}.make();
    watched_memory memory{b.memory};
    entry_context here{b.caps, memory, b.options, b.features};
    here.set_long_mode(b.long_mode);
    here.set_in_smm(b.in_smm);
    here.set_tracing(b.tracing);
    entry_context elsewhere = here;
    here.set_current_vmcs(b.of(field::vmcs_link_pointer));
    elsewhere.set_paging(true, b.of(field::guest_cr3));
    for_each_rule([&](const entry_check& row) {
      entry_bench a = b;
      disturb(a, row, random);
      memory.reads = 0;
      const bool holds = row.holds(a.v, here);
      if (row.when != check_when::once) {
        reading += memory.reads;
        return;
      }
      EXPECT_EQ(memory.reads, 0u) << row.name;
      EXPECT_EQ(row.holds(a.v, elsewhere), holds) << row.name;
      a.set(field::guest_rflags, a.of(field::guest_rflags) ^ (random() & ~rflags_bits::vm));
      EXPECT_EQ(row.holds(a.v, here), holds) << row.name;
    });
  }
  EXPECT_GT(reading, 100u) << "some rules are about memory";
}

TEST(vmx_entry_reads, rules_skipped_without_an_injection_hold_then) {
  testing::random_numbers random{24};
  unsigned rows = 0;
  for (int i = 0; i < 1000; ++i) {
    entry_bench b;
    for (const field_info& row : field_table) b.set(row.encoding, random());
    b.set(field::vm_entry_interruption_information, random() & 0x7FFF'FFFF);
    const entry_context context = b.context();
    for_each_rule([&](const entry_check& row) {
      if (row.when != check_when::if_injecting) return;
      ++rows;
      EXPECT_TRUE(row.holds(b.v, context)) << row.name;
    });
  }
  EXPECT_GT(rows, 5000u);
}

TEST(vmx_entry_reads, rules_skipped_in_an_ordinary_state_hold_then) {
  testing::random_numbers random{25};
  unsigned rows = 0;
  for (int i = 0; i < 1000; ++i) {
    entry_bench b;
    b.in_smm = random.one_in(2);
    for (const field_info& row : field_table) b.set(row.encoding, random());
    for (const field where :
         {field::guest_activity_state, field::guest_interruptibility_state, field::guest_pending_debug_exceptions})
      b.set(where, 0);
    const entry_context context = b.context();
    for_each_rule([&](const entry_check& row) {
      if (row.when != check_when::if_not_ordinary) return;
      ++rows;
      EXPECT_TRUE(row.holds(b.v, context)) << row.name;
    });
  }
  EXPECT_GT(rows, 5000u);
}

// Bits of every field changed, one at a time: having passed before makes no difference.
TEST(vmx_entry_reads, any_single_write_gives_the_same_answer_with_and_without_memory_of_earlier_checks) {
  testing::random_numbers random{26};
  for (int round = 0; round < 4; ++round) {
    entry_bench legal;
    if (round > 0) legal_vmcs{legal, random}.make();
    ASSERT_EQ(explain(legal.check(), &legal.v), "VM entry succeeds");
    const entry_context context = legal.context();
    for (const field_info& row : field_table) {
      for (unsigned i = 0; i < 68; ++i) {
        const u64 noise = i < 64 ? legal.of(row.encoding) ^ u64 { 1 } << i : random();
        vmcs remembering = legal.v;
        vmcs forgetting = legal.v;
        remembering.write(row.encoding, noise);
        forgetting.write(row.encoding, noise);
        forgetting.forget_checks();
        const entry_result a = check_entry_fields(remembering, context);
        const entry_result b = check_entry_fields(forgetting, context);
        ASSERT_EQ(a.check, b.check) << row.name << " = " << noise;
        ASSERT_EQ(a.qualification, b.qualification) << row.name << " = " << noise;
      }
    }
  }
}

}  // namespace
}  // namespace vmxsys::vmx::entry_testing
