#include <gtest/gtest.h>
#include <string>

#include <vmxsys/vmx/transition/entry.hpp>
#include <vmxsys/vmx/transition/guest_state.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>
#include <vmxsys/vmx/vmcs/pdpte.hpp>
#include <vmxsys/vmx/vmcs/register_bits.hpp>

#include "flat_memory.hpp"
#include "marked_processor.hpp"
#include "random_numbers.hpp"

// An entry followed by an exit leaves the guest-state area as it was.
namespace vmxsys::vmx {
namespace {

using test::guest_field;
using test::guest_fields;
using test::of;

// Saves pending debug exceptions and leaves RF alone: what a round trip needs.
const exit_info init = test::of(exit_reason::init_signal);

// Legal VMCSs by random steps away from a minimal one; a step that makes it illegal is taken back.
class random_vmcs {
 public:
  random_vmcs(std::uint64_t seed, const capabilities& caps) : random_{seed}, caps_{caps}, context_{caps, memory_} {}

  vmcs next() {
    vmcs v = make_minimal_vmcs(caps_, {});
    for (int i = 0; i < 300; ++i) {
      const vmcs before = v;
      step(v);
      if (!check_entry_fields(v, context_)) {
        v = before;
      } else {
        ++accepted_;
      }
    }
    return v;
  }
  std::uint64_t accepted() const { return accepted_; }
  processor_state processor() {
    processor_state p;
    for (const guest_field& f : guest_fields()) f.set(p, random_());
    return p;
  }

 private:
  void step(vmcs& v) {
    static const std::vector<field> state = [] {
      std::vector<field> all;
      for (const field_info& f : field_table)
        if (f.type == field_type::guest_state && f.encoding != field::vmcs_link_pointer) all.push_back(f.encoding);
      return all;
    }();
    static const field controls[] = {field::pin_based_controls,
                                     field::primary_processor_based_controls,
                                     field::secondary_processor_based_controls,
                                     field::tertiary_processor_based_controls,
                                     field::primary_vm_exit_controls,
                                     field::secondary_vm_exit_controls,
                                     field::vm_entry_controls};
    if (random_.one_in(4)) {
      const field f = controls[random_.below(std::size(controls))];
      v.write(f, v.read(f) ^ std::uint64_t{1} << random_.below(32));
      return;
    }
    const field f = state[random_.below(state.size())];
    switch (random_.below(4)) {
      case 0:
        v.write(f, random_());
        break;
      case 1:
        v.write(f, v.read(f) ^ std::uint64_t{1} << random_.below(32));
        break;
      case 2:
        v.write(f, random_.below(256));
        break;
      default:
        v.write(f, random_() & 0x0000'3FFF'FFFF'F000);
        break;
    }
  }

  testing::random_numbers random_;
  const capabilities& caps_;
  test::flat_memory memory_;
  entry_context context_;
  std::uint64_t accepted_ = 0;
};

bool unusable(const vmcs& v, field rights) { return v.any(rights, access_rights::unusable); }

// What loading and saving again may change in a field that is both loaded and saved: see `load_guest_state`.
std::uint64_t normalised(const vmcs& v, field f, const processor_state& before, const capabilities& caps) {
  const std::uint64_t value = v.read(f);
  switch (f) {
    case field::guest_cr0:
      return (value & ~cr0_kept_bits) | (before.cr0 & cr0_kept_bits);
    case field::guest_dr7:
      return (value & ~std::uint64_t{0xD000}) | 0x400;
    case field::guest_ss_base:
      return unusable(v, field::guest_ss_access_rights) ? value & 0xFFFF'FFF0 : value;
    case field::guest_ds_base:
      return unusable(v, field::guest_ds_access_rights) ? value & 0xFFFF'FFFF : value;
    case field::guest_es_base:
      return unusable(v, field::guest_es_access_rights) ? value & 0xFFFF'FFFF : value;
    case field::guest_ldtr_base:
      return unusable(v, field::guest_ldtr_access_rights) ? sign_extended(value, caps) : value;
    case field::guest_ss_access_rights:
      return (value & 0x1'F0FF) | ((value & 0x1'0000) != 0 ? 0x4000 : 0);
    case field::guest_es_access_rights:
    case field::guest_cs_access_rights:
    case field::guest_ds_access_rights:
    case field::guest_fs_access_rights:
    case field::guest_gs_access_rights:
    case field::guest_ldtr_access_rights:
    case field::guest_tr_access_rights:
      return value & 0x1'F0FF;
    default:
      return value;
  }
}

void expect_round_trip(const vmcs& v, const processor_state& before, const capabilities& caps) {
  processor_state p = before;
  vmcs after = v;
  load_guest_state(v, p, caps);
  save_guest_state(after, p, caps, init);
  std::uint64_t compared = 0;
  for (const guest_field& f : guest_fields()) {
    ++compared;
    if (!saved(f, v, caps)) {
      EXPECT_EQ(after.read(f.where), v.read(f.where)) << name_of(f.where) << " is not saved";
    } else if (loaded(f, v)) {
      EXPECT_EQ(after.read(f.where), normalised(v, f.where, before, caps)) << name_of(f.where);
    } else if (f.where == field::guest_ia32_efer) {
      EXPECT_EQ(after.read(f.where) & ~0x500u, before.efer & ~0x500u);
    } else {
      EXPECT_EQ(after.read(f.where), f.get(before) & mask_of(width_of(f.where))) << name_of(f.where) << " goes through";
    }
  }
  for (const field f :
       {field::guest_activity_state, field::guest_interruptibility_state, field::guest_pending_debug_exceptions,
        field::guest_smbase, field::vmcs_link_pointer, field::guest_interrupt_status, field::pml_index,
        field::guest_pdpte0, field::guest_pdpte1, field::guest_pdpte2, field::guest_pdpte3, field::vm_entry_controls})
    EXPECT_EQ(after.read(f), v.read(f)) << name_of(f);
  EXPECT_EQ(compared, guest_fields().size());

  // And a second time it changes nothing at all.
  vmcs twice = after;
  processor_state again = before;
  load_guest_state(after, again, caps);
  save_guest_state(twice, again, caps, init);
  for (const field_info& f : field_table)
    if (f.type == field_type::guest_state && f.encoding != field::guest_ia32_efer)
      EXPECT_EQ(twice.read(f.encoding), after.read(f.encoding)) << f.name;
}

TEST(vmx_guest_round_trip, load_and_save_leave_the_guest_area_as_it_was) {
  for (const char* name : {"cascade_lake_sp", "sapphire_rapids", "nehalem", "everything"}) {
    const capabilities caps =
        std::string{name} == "everything" ? test::every_control() : find_capability_row(name)->values;
    random_vmcs source{42, caps};
    for (int i = 0; i < 60 && !HasFailure(); ++i) {
      SCOPED_TRACE(name);
      expect_round_trip(source.next(), source.processor(), caps);
    }
    EXPECT_GT(source.accepted(), 60u * 60u) << name << ": the random steps are too often illegal";
  }
}

}  // namespace
}  // namespace vmxsys::vmx
