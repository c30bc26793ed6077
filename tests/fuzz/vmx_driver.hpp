#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include <vmxsys/vmx/instructions/ept.hpp>
#include <vmxsys/vmx/instructions/instruction_table.hpp>
#include <vmxsys/vmx/instructions/invalidation.hpp>
#include <vmxsys/vmx/instructions/vm_function.hpp>
#include <vmxsys/vmx/transition/entry.hpp>
#include <vmxsys/vmx/vmcs/active_vmcs_store.hpp>
#include <vmxsys/vmx/vmcs/control.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

namespace vmxsys::vmx::fuzz {

/// The input, byte by byte; zeros after its end.
class byte_stream {
 public:
  byte_stream(const std::uint8_t* data, std::size_t size) : data_{data}, size_{size} {}

  bool at_end() const { return at_ >= size_; }
  std::uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
  std::uint64_t bytes(unsigned count) {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < count; ++i) value |= std::uint64_t{byte()} << 8 * i;
    return value;
  }
  bool one_in(unsigned n) { return byte() % n == 0; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

/// 32 KBytes that repeat through the address space, so that random pointers find something. Counts writes.
class wrapping_memory final : public physical_memory {
 public:
  static constexpr std::size_t size = 0x8000;
  using physical_memory::read;
  using physical_memory::write;

  void read(physical_address at, void* to, std::size_t count) const override {
    auto* out = static_cast<std::uint8_t*>(to);
    for (std::size_t i = 0; i < count;) {
      const std::size_t offset = (at + i) % size;
      const std::size_t part = count - i < size - offset ? count - i : size - offset;
      std::memcpy(out + i, bytes_.data() + offset, part);
      i += part;
    }
  }
  void write(physical_address at, const void* from, std::size_t count) override {
    const auto* in = static_cast<const std::uint8_t*>(from);
    ++writes_;
    for (std::size_t i = 0; i < count;) {
      const std::size_t offset = (at + i) % size;
      const std::size_t part = count - i < size - offset ? count - i : size - offset;
      std::memcpy(bytes_.data() + offset, in + i, part);
      i += part;
    }
  }
  std::uint64_t writes() const { return writes_; }

 private:
  std::array<std::uint8_t, size> bytes_{};
  std::uint64_t writes_ = 0;
};

/// Runs an input as a sequence of VMX instructions, entries, exits, EPT walks and changes of memory and of the
/// processor's state, and looks after each at what must hold. `failure()` tells the first thing that did not.
class vmx_driver {
 public:
  vmx_driver(const std::uint8_t* data, std::size_t size) : in_{data, size}, caps_{pick_capabilities()} { set_up(); }
  vmx_driver(const vmx_driver&) = delete;
  vmx_driver& operator=(const vmx_driver&) = delete;

  void run(unsigned steps = 256) {
    for (unsigned i = 0; i < steps && !in_.at_end() && failure_.empty(); ++i) {
      step();
      check_state();
    }
  }

  const std::string& failure() const { return failure_; }
  /// How many steps ended in which way, to see that a test reaches something.
  struct counts {
    unsigned succeeded, failed, faulted, exited, entered, entry_failed, translated, ept_exits;
  };
  const counts& seen() const { return seen_; }

 private:
  using op = vmx_instruction;
  using kind = outcome_kind;

  static constexpr physical_address vmxon_region = 0x1000;
  static constexpr physical_address first_region = 0x2000;
  static constexpr physical_address shadow_region = 0x4000;
  static constexpr physical_address tables = 0x6000;  ///< two pages of EPT entries and EPTPs

  // ---- the machine -------------------------------------------------------------------------------------------------

  capabilities pick_capabilities() {
    capabilities c = capability_table()[in_.byte() % capability_table_size()].values;
    if (in_.one_in(4)) c.ept_vpid = in_.bytes(6);
    if (in_.one_in(4)) c.secondary ^= in_.bytes(4) << 32;
    if (in_.one_in(8)) c.misc ^= in_.bytes(4);
    if (in_.one_in(8)) c.basic ^= std::uint64_t{1} << 48;
    return c;
  }

  std::uint64_t ept_word() {
    const std::uint64_t page = in_.one_in(8) ? std::uint64_t{in_.byte()} % 8 << 12 : tables + in_.byte() % 2 * 0x1000;
    switch (in_.byte() % 16) {
      case 0:
        return 0;
      case 1:
        return in_.bytes(8);
      case 2:
        return page | 3 << 3 | 6 | (in_.one_in(2) ? eptp_bits::accessed_and_dirty : 0);  // an EPTP
      case 3:
        return page | 4 << 3 | 6;
      case 4:
        return (page << 18) | ept_entry::maps_page | 6 << 3 | in_.byte() % 8;
      case 5:
        return page | 6 << 3 | in_.byte() % 8;
      default:
        return page | (in_.one_in(4) ? in_.byte() % 8 : 7);
    }
  }

  void set_up() {
    for (const physical_address region : {vmxon_region, first_region, first_region + 0x1000})
      memory_.write(region, caps_.revision());
    memory_.write(shadow_region, caps_.revision() | vmcs_region::shadow_bit);
    std::array<std::uint64_t, 16> words;
    for (std::uint64_t& word : words) word = ept_word();
    std::uint64_t random = in_.bytes(8) | 1;
    for (physical_address at = tables; at < tables + 0x2000; at += 8) {
      random ^= random << 13;
      random ^= random >> 7;
      random ^= random << 17;
      memory_.write(at, words[random % words.size()]);
    }
    if (in_.one_in(8)) return;
    vmxon(unit_, mode_, vmxon_region);
    vmclear(unit_, mode_, first_region);
    vmptrld(unit_, mode_, first_region);
    if (state_.current != nullptr && !in_.one_in(4)) load_minimal();
  }

  void load_minimal() {
    minimal_vmcs_options options;
    options.primary |= in_.bytes(4) & 0x1220'0000;  // TPR shadow, bitmaps
    options.secondary = in_.one_in(2) ? in_.bytes(4) & 0x0600'68AA : 0;
    for (const auto& [f, value] : minimal_vmcs_fields(caps_, options)) state_.current->write(f, value);
    vmcs& v = *state_.current;
    v.write(field::ept_pointer, (tables | 3 << 3 | 6) + (in_.byte() % 2) * 0x1000);
    v.write(field::eptp_list_address, tables);
    v.write(field::vm_function_controls, in_.byte() & 1);
    v.write(field::vmread_bitmap_address, 0x5000);
    v.write(field::vmwrite_bitmap_address, 0x5000);
    if ((options.secondary & secondary::vmcs_shadowing) != 0) v.write(field::vmcs_link_pointer, shadow_region);
  }

  // ---- operands ----------------------------------------------------------------------------------------------------

  std::uint64_t encoding() {
    if (in_.one_in(8)) return in_.bytes(in_.one_in(2) ? 2 : 8);
    return encoding_of(field_table[in_.byte() % field_count].encoding) | (in_.one_in(8) ? 1 : 0);
  }
  std::uint64_t region() {
    if (in_.one_in(8)) return in_.bytes(8);
    const std::uint64_t page = std::uint64_t{in_.byte()} % 8 << 12;
    return in_.one_in(8) ? page | in_.bytes(5) << 12 : page;
  }
  operand_fault fault() { return in_.one_in(16) ? static_cast<operand_fault>(in_.byte() % 6) : operand_fault::none; }

  void change_mode() {
    switch (in_.byte() % 8) {
      case 0:
        mode_.cpl = in_.byte() % 4;
        break;
      case 1:
        mode_.cr0 ^= in_.bytes(4);
        break;
      case 2:
        mode_.cr4 ^= in_.bytes(3);
        break;
      case 3:
        mode_.virtual_8086 = !mode_.virtual_8086;
        break;
      case 4:
        mode_.long_mode = in_.one_in(2);
        mode_.code_64_bit = in_.one_in(2);
        break;
      case 5:
        mode_.mov_ss_blocking = !mode_.mov_ss_blocking;
        break;
      default:
        mode_ = {};
    }
  }

  // ---- steps -------------------------------------------------------------------------------------------------------

  void step() {
    switch (in_.byte() % 32) {
      case 0:
      case 1:
      case 2:
        return instruction(op::vmread);
      case 3:
      case 4:
      case 5:
      case 6:
        return instruction(op::vmwrite);
      case 7:
      case 8:
        return instruction(op::vmptrld);
      case 9:
        return instruction(op::vmclear);
      case 10:
        return instruction(op::vmptrst);
      case 11:
        return instruction(op::vmxon);
      case 12:
        return in_.one_in(4) ? instruction(op::vmxoff) : void();
      case 13:
        return instruction(op::vmcall);
      case 14:
        return instruction(op::vmfunc);
      case 15:
        return instruction(op::invept);
      case 16:
        return instruction(op::invvpid);
      case 17:
      case 18:
      case 19:
      case 20:
        return enter(in_.one_in(2) ? entry_instruction::vmlaunch : entry_instruction::vmresume);
      case 21:
      case 22:
        return leave();
      case 23:
      case 24:
      case 25:
        return walk();
      case 26:
        return change_mode();
      case 27:
        memory_.write(region() | in_.bytes(2) % 0x1000, in_.bytes(8));
        return;
      case 28:
        memory_.write(tables | (in_.bytes(2) % 0x2000 & ~std::uint64_t{7}), ept_word());
        return;
      case 29:
        if (state_.current != nullptr && state_.mode == operation::root) load_minimal();
        return;
      case 30:
        unit_.choices.descriptor_before_type = in_.one_in(2);
        unit_.choices.invept_checks_reserved_bits = in_.one_in(2);
        unit_.choices.vmxoff_voids_launches = in_.one_in(2);
        return;
      default:
        return registers();
    }
  }

  void registers() {
    const std::uint64_t value = in_.bytes(8);
    const vmx_state before = state_;
    if (state_.mode != operation::off && (value & 0x2000) == 0)
      require(!cr4_write_allowed(state_, caps_, value), "CR4.VMXE cannot be cleared in VMX operation");
    const bool locked = (before.feature_control & feature_control_bits::lock) != 0;
    const bool written = write_feature_control(state_, value & 15);
    require(!(written && locked), "a locked IA32_FEATURE_CONTROL cannot be written");
    require(written || state_.feature_control == before.feature_control, "WRMSR that faults changes nothing");
    if (in_.one_in(2)) state_.feature_control = before.feature_control;  // RESET
    const init_effect effect = receive_init(state_, in_.one_in(2));
    require((effect == init_effect::resets) == (state_.mode == operation::off), "INIT resets outside VMX operation");
    require(effect != init_effect::exits || state_.mode == operation::non_root, "INIT exits only from a guest");
    require(state_.latched_init == (before.latched_init || effect == init_effect::latched), "INIT is latched or not");
    state_.latched_init = in_.one_in(2) && state_.latched_init;
  }

  void instruction(vmx_instruction which) {
    instruction_call call{state_, mode_, &unit_};
    call.fault = which == op::vmcall || which == op::vmxoff || which == op::vmfunc ? operand_fault::none : fault();
    switch (which) {
      case op::vmread:
        call.operand = encoding();
        break;
      case op::vmwrite:
        call.operand = encoding();
        call.operand_2 = in_.bytes(in_.one_in(2) ? 8 : 2);
        break;
      case op::vmfunc:
        call.operand = in_.one_in(4) ? in_.byte() : 0;
        call.operand_2 = in_.bytes(2) % 520;
        break;
      case op::invept:
        call.operand = in_.one_in(8) ? in_.bytes(8) : in_.byte() % 4;
        call.operand_2 = in_.one_in(2) ? in_.bytes(8) : ept_word();
        call.operand_3 = in_.byte() % 2;
        break;
      case op::invvpid:
        call.operand = in_.one_in(8) ? in_.bytes(8) : in_.byte() % 5;
        call.operand_2 = in_.one_in(4) ? in_.bytes(8) : in_.byte();
        call.operand_3 = in_.bytes(in_.one_in(4) ? 8 : 4);
        break;
      default:
        call.operand = region();
    }
    run_and_check(which, call);
  }

  vmx_outcome execute(vmx_instruction which, const instruction_call& c, invalidation& what) {
    switch (which) {
      case op::vmread:
        return vmread(unit_, mode_, c.operand, c.fault);
      case op::vmwrite:
        return vmwrite(unit_, mode_, c.operand, c.operand_2, c.fault);
      case op::vmptrld:
        return vmptrld(unit_, mode_, c.operand, c.fault);
      case op::vmclear:
        return vmclear(unit_, mode_, c.operand, c.fault);
      case op::vmptrst:
        return vmptrst(unit_, mode_, c.fault);
      case op::vmxon:
        return vmxon(unit_, mode_, c.operand, c.fault);
      case op::vmxoff:
        return vmxoff(unit_, mode_);
      case op::vmfunc:
        return vmfunc(unit_, mode_, static_cast<std::uint32_t>(c.operand), static_cast<std::uint32_t>(c.operand_2));
      case op::invept: {
        const invalidation_outcome outcome = invept(unit_, mode_, c.operand, {c.operand_2, c.operand_3}, c.fault);
        what = outcome.what;
        return outcome;
      }
      case op::invvpid: {
        const invalidation_outcome outcome = invvpid(unit_, mode_, c.operand, {c.operand_2, c.operand_3}, c.fault);
        what = outcome.what;
        return outcome;
      }
      default:
        return vmcall(unit_, mode_);
    }
  }

  void run_and_check(vmx_instruction which, const instruction_call& asked) {
    instruction_call call = asked;
    const bool register_operand =
        which == op::vmread || which == op::vmwrite || which == op::invept || which == op::invvpid;
    if (register_operand && !mode_.in_64_bit_mode()) {  // what the instruction makes of its register
      call.operand &= 0xFFFF'FFFF;
      if (which == op::vmwrite) call.operand_2 &= 0xFFFF'FFFF;
    }
    const vmx_instruction_info& info = info_of(which);
    const instruction_check* expected = first_failing_check(info, call);
    const vmx_state before = state_;
    const vmcs vmcs_before = state_.current != nullptr ? *state_.current : vmcs{};
    const std::uint64_t writes_before = memory_.writes();

    invalidation what;
    const vmx_outcome outcome = execute(which, asked, what);
    last_ = info.mnemonic;

    require(outcome.check == (expected != nullptr ? expected->name : nullptr), "the instruction follows its table");
    require((what.kind != invalidation_kind::none) == (outcome && (which == op::invept || which == op::invvpid)),
            "something is invalidated exactly on success");
    if (outcome) {
      ++seen_.succeeded;
      check_success(which, call, outcome, what, before, vmcs_before, writes_before);
      return;
    }
    require(outcome.value == 0, "only success delivers a value");
    require(memory_.writes() == writes_before, "only success writes memory");
    require(same(state_, before), "only success changes the state");
    const bool recorded = outcome.kind == kind::fail_valid;
    check_current(vmcs_before, recorded ? outcome.error : instruction_error::none);
    switch (outcome.kind) {
      case kind::fail_valid: {
        ++seen_.failed;
        const instruction_error_info* row = find_instruction_error(static_cast<unsigned>(outcome.error));
        require(row != nullptr && row->reachable, "the error number is one of those that can happen");
        break;
      }
      case kind::fail_invalid:
        ++seen_.failed;
        break;
      case kind::vm_exit:
        ++seen_.exited;
        require(state_.mode == operation::non_root, "only a guest exits");
        require(outcome.reason == info.reason, "the exit reason is the instruction's");
        break;
      case kind::operand_fault:
        ++seen_.faulted;
        require(outcome.fault == asked.fault && asked.fault != operand_fault::none, "the fault is the operand's");
        break;
      default:
        ++seen_.faulted;
    }
  }

  void check_success(vmx_instruction which, const instruction_call& call, const vmx_outcome& outcome,
                     const invalidation& what, const vmx_state& before, const vmcs& vmcs_before,
                     std::uint64_t writes_before) {
    switch (which) {
      case op::vmxon:
        require(before.mode == operation::off && state_.mode == operation::root, "VMXON enters root operation");
        require(!state_.has_current(), "VMXON leaves no current VMCS");
        return;
      case op::vmxoff:
        require(before.mode == operation::root && state_.mode == operation::off, "VMXOFF leaves root operation");
        return;
      case op::vmptrld:
        require(state_.current_vmcs == call.operand, "VMPTRLD makes its operand current");
        return;
      case op::vmclear:
        require(state_.current_vmcs != call.operand && store_.find(call.operand) == nullptr,
                "VMCLEAR deactivates its operand");
        require(memory_.read<std::uint32_t>(call.operand + vmcs_region::launch) == 0,
                "VMCLEAR clears the launch state");
        return;
      case op::vmwrite: {
        if (state_.mode == operation::non_root) break;
        const auto which_field = static_cast<std::uint32_t>(call.operand);
        const field_info& row = *find_field(which_field);
        const std::uint64_t held = is_high(which_field) ? call.operand_2 & 0xFFFF'FFFF : call.operand_2;
        require(state_.current->read_component(which_field) == (held & mask_of(row.width)), "VMWRITE writes");
        for (const field_info& other : field_table)
          require(other.encoding == row.encoding ||
                      state_.current->read(other.encoding) == vmcs_before.read(other.encoding),
                  "VMWRITE writes one field");
        require(state_.current->launch() == vmcs_before.launch(), "VMWRITE leaves the launch state");
        return;
      }
      case op::vmfunc: {
        const std::uint64_t eptp = state_.current->read(field::ept_pointer);
        require(eptp_legal(eptp, caps_), "the new EPTP is legal");
        require(((eptp ^ vmcs_before.read(field::ept_pointer)) & eptp_bits::walk_length) == 0,
                "the walk keeps its length");
        require(same(state_, before) && memory_.writes() == writes_before, "VMFUNC changes nothing but the VMCS");
        return;
      }
      case op::vmptrst:
        require(outcome.value == before.current_vmcs, "VMPTRST stores the current pointer");
        break;
      case op::invept:
        require(what.kind != invalidation_kind::ept_single_context || eptp_legal(what.eptp, caps_),
                "INVEPT names a legal EPTP");
        break;
      case op::invvpid:
        require((what.vpid == 0) == (what.kind == invalidation_kind::vpid_all_contexts), "INVVPID names a VPID");
        break;
      default:
        break;
    }
    require(same(state_, before), "the state stays");
    if (which != op::vmwrite) require(memory_.writes() == writes_before, "memory stays");
    check_current(vmcs_before, instruction_error::none);
  }

  void enter(entry_instruction instruction) {
    last_ = instruction == entry_instruction::vmlaunch ? "VMLAUNCH" : "VMRESUME";
    const vmx_state before = state_;
    const vmcs vmcs_before = state_.current != nullptr ? *state_.current : vmcs{};
    const std::uint64_t writes_before = memory_.writes();
    const entry_result result = check_entry(instruction, state_, mode_, context_);

    require(same(state_, before), "the checks of an entry leave the state alone");
    require(memory_.writes() == writes_before, "the checks of an entry write no memory");
    const bool recorded = result.outcome == entry_outcome::fail_valid;
    check_current(vmcs_before, recorded ? result.error : instruction_error::none);
    if (recorded || result.outcome == entry_outcome::failed_entry || result) {
      // What has been remembered about earlier checks makes no difference.
      vmx_state afresh_state = before;
      vmcs afresh = vmcs_before;
      afresh.forget_checks();
      afresh_state.current = &afresh;
      const entry_result again = check_entry(instruction, afresh_state, mode_, context_);
      require(again.outcome == result.outcome && again.check == result.check && again.error == result.error &&
                  again.qualification == result.qualification,
              "checking afresh gives the same result");
    }
    require((result.outcome == entry_outcome::vm_exit) <= (state_.mode == operation::non_root), "only a guest exits");
    if (!result) {
      ++seen_.entry_failed;
      require(result.check != nullptr, "a failure names its check");
      return;
    }
    ++seen_.entered;
    complete_entry(instruction, state_);
    require(state_.mode == operation::non_root, "an entry enters");
    require(state_.current->launch() == launch_state::launched, "after an entry the VMCS is launched");
  }

  void leave() {
    if (state_.mode != operation::non_root) return;
    exit_info exit;
    exit.reason = static_cast<exit_reason>(in_.byte());
    exit.qualification = in_.bytes(2);
    record_exit(*state_.current, exit);
    require(!state_.current->any(field::vm_entry_interruption_information, std::uint64_t{1} << 31),
            "an exit clears the valid bit of the injection");
    state_.mode = operation::root;
  }

  // ---- EPT ---------------------------------------------------------------------------------------------------------

  void walk() {
    last_ = "EPT walk";
    ept_context context;
    if (in_.one_in(4) && state_.current != nullptr) {
      context = ept_context_of(*state_.current);
    } else {
      const std::uint64_t length = in_.one_in(4) ? 4 : 3;
      context.eptp = (tables + in_.byte() % 2 * 0x1000) | length << 3 | 6 | (in_.one_in(2) ? 0x40 : 0);
      context.log_modifications = in_.one_in(2);
      context.log_address = 0x5000;
      context.log_index = static_cast<std::uint16_t>(in_.one_in(4) ? in_.bytes(2) : in_.byte());
      context.log_test = static_cast<log_full_test>(in_.byte() % 3);
    }
    if (!eptp_legal(context.eptp, caps_)) return;
    const std::uint8_t bits = in_.byte();
    ept_access access;
    access.guest_physical = in_.bytes(in_.one_in(8) ? 8 : 6);
    access.fetch = (bits & 3) == 3;
    access.read = !access.fetch && (bits & 1) == 0;
    access.write = !access.fetch && ((bits & 2) != 0 || !access.read);
    access.linear_address_valid = (bits & 4) != 0;
    access.final_translation = (bits & 8) != 0;
    access.user_page = (bits & 16) != 0;
    access.nmi_unblocking = (bits & 32) != 0;

    const std::uint64_t writes_before = memory_.writes();
    const ept_result r = walk_ept(context, caps_, memory_, access);
    const std::uint64_t written = memory_.writes() - writes_before;
    const auto levels = static_cast<unsigned>((context.eptp >> 3 & 7) + 1);
    const bool flags = (context.eptp & eptp_bits::accessed_and_dirty) != 0;
    require(r.references <= levels, "no more references than levels");
    require(r.references == 0 ? r.level == 0 : r.level == levels - r.references + 1,
            "the level goes with the references");
    require((r.check != nullptr) == (r.outcome == ept_outcome::misconfiguration), "a misconfiguration names its row");
    if (r.outcome != ept_outcome::translated) {
      ++seen_.ept_exits;
      require(written == 0 && r.flag_updates == 0 && !r.logged, "a walk that fails writes nothing");
      require(r.log_index == context.log_index, "a walk that fails logs nothing");
    }
    switch (r.outcome) {
      case ept_outcome::translated: {
        ++seen_.translated;
        require(r.page_size == 4096 || r.page_size == 1u << 21 || r.page_size == 1u << 30, "a page has a known size");
        require(((r.host_physical ^ access.guest_physical) & (r.page_size - 1)) == 0, "the offset stays");
        require(r.host_physical >> caps_.physical_address_width == 0, "the host address is within its width");
        require(written == r.flag_updates + (r.logged ? 1u : 0u), "flags and log are all that is written");
        require(flags || written == 0, "no flags without accessed and dirty flags");
        require(r.logged <= context.log_modifications, "no log without logging");
        if (r.logged) return;  // the log may lie in the tables
        const ept_result again = walk_ept(context, caps_, memory_, access);
        require(again.outcome == ept_outcome::translated && again.host_physical == r.host_physical &&
                    again.flag_updates == 0,
                "a second walk finds the same and sets nothing");
        return;
      }
      case ept_outcome::violation:
        require((r.qualification & 7 & ~(r.qualification >> 3)) != 0, "a violation is of a right that is missing");
        return;
      case ept_outcome::misconfiguration:
        require(r.qualification == 0, "a misconfiguration has no qualification");
        return;
      case ept_outcome::log_full:
        require(context.log_modifications && flags && context.log_index > 511, "a log is full above 511");
        return;
    }
  }

  // ---- what must hold ----------------------------------------------------------------------------------------------

  void require(bool holds, const char* what) {
    if (!holds && failure_.empty()) failure_ = std::string{last_} + ": " + what;
  }

  static bool same(const vmx_state& a, const vmx_state& b) {
    return a.mode == b.mode && a.vmxon_pointer == b.vmxon_pointer && a.current_vmcs == b.current_vmcs &&
           a.current == b.current && a.latched_init == b.latched_init && a.feature_control == b.feature_control;
  }

  /// Nothing but the error field has changed in the current VMCS, and that only if there is an error.
  void check_current(const vmcs& before, instruction_error number) {
    if (state_.current == nullptr) {
      require(number == instruction_error::none, "an error needs a current VMCS");
      return;
    }
    const vmcs& now = *state_.current;
    require(now.launch() == before.launch() && now.vmxoff_since_launch() == before.vmxoff_since_launch(),
            "the launch state stays");
    require(now.revision() == before.revision() && now.is_shadow() == before.is_shadow() &&
                now.abort_indicator() == before.abort_indicator(),
            "the head of the VMCS stays");
    for (const field_info& row : field_table) {
      const bool error_field = row.encoding == field::vm_instruction_error && number != instruction_error::none;
      const std::uint64_t expected = error_field ? static_cast<std::uint64_t>(number) : before.read(row.encoding);
      require(now.read(row.encoding) == expected, "fields stay, but for the error number");
    }
  }

  void check_state() {
    require((state_.current == nullptr) == !state_.has_current(), "pointer and copy of the current VMCS go together");
    if (state_.has_current()) require(store_.find(state_.current_vmcs) == state_.current, "the current VMCS is active");
    if (state_.mode == operation::off)
      require(!state_.has_current() && state_.vmxon_pointer == no_vmcs, "nothing is current outside VMX operation");
    else
      require(state_.vmxon_pointer != no_vmcs, "VMX operation has a VMXON region");
    if (state_.mode == operation::non_root) require(state_.has_current(), "a guest has a VMCS");
    require(store_.violations() == 0, "one processor, no violation");
  }

  byte_stream in_;
  capabilities caps_;
  wrapping_memory memory_;
  active_vmcs_store store_;
  vmx_state state_;
  execution_mode mode_;
  vmx_unit unit_{state_, caps_, memory_, store_, 0};
  entry_context context_{caps_, memory_};
  const char* last_ = "";
  std::string failure_;
  counts seen_{};
};

}  // namespace vmxsys::vmx::fuzz
