#pragma once
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <ostream>
#include <tlm_utils/simple_initiator_socket.h>

#include <vmxsys/cpu/systemc/sc_messages.hpp>
#include <vmxsys/cpu/systemc/sc_timeline_module.hpp>

#include "random_numbers.hpp"
#include "storm_fixture.hpp"

// The corners of the TLM-2.0 base protocol, for any target: the right response status, never a crash.
namespace vmxsys::cpu::testing {

class base_protocol_initiator : public sc_core::sc_module {
 public:
  tlm_utils::simple_initiator_socket<base_protocol_initiator> socket{"socket"};
  std::function<void(base_protocol_initiator&)> body;
  bool done = false;

  explicit base_protocol_initiator(const sc_core::sc_module_name& n) : sc_module{n} {
    VMXSYS_SC_HAS_PROCESS(base_protocol_initiator);
    SC_THREAD(run);
  }

 private:
  void run() {
    body(*this);
    done = true;
  }
};

/// A target, and what is legal there.
struct target_case {
  const char* name;
  bool is_memory;           ///< byte enables, streaming, bursts, DMI
  bool reads;               ///< otherwise TLM_COMMAND_ERROR_RESPONSE
  std::uint64_t address;    ///< of a legal access of four bytes
  std::uint64_t base, end;  ///< the first byte, and the first beyond the last
  /// Constructs the target on the machine, bound to the initiator, and keeps it alive.
  std::function<std::shared_ptr<void>(timeline_module&, base_protocol_initiator&)> make;

  friend std::ostream& operator<<(std::ostream& o, const target_case& c) { return o << c.name; }
};

class sc_base_protocol : public ::testing::TestWithParam<target_case>, public boot_if {
 protected:
  struct transaction : tlm::tlm_generic_payload {
    std::array<unsigned char, 128> data{};
    transaction(tlm::tlm_command command, std::uint64_t address, unsigned bytes) {
      data.fill(0xA5);
      std::memset(data.data(), 0, bytes);
      set_command(command);
      set_address(address);
      set_data_ptr(data.data());
      set_data_length(bytes);
      set_streaming_width(bytes);
      set_dmi_allowed(true);
    }
  };

  sc_base_protocol() {
    for (const char* type : {message::lost_interrupt, message::remapping_fault})
      sc_core::sc_report_handler::set_actions(type, sc_core::SC_WARNING, sc_core::SC_DO_NOTHING);
    sc_core::sc_report_handler::set_handler([](const sc_core::sc_report& r, const sc_core::sc_actions& actions) {
      if (actions != sc_core::SC_DO_NOTHING) sc_core::sc_report_handler::default_handler(r, actions);
    });
    machine_config config = small_machine(2, false);
    config.boot_apic = apic::apic_mode::xapic;
    timeline_ = std::make_unique<timeline_module>("timeline", config, 1'000'000);
    initiator_ = std::make_unique<base_protocol_initiator>("initiator");
    target_ = GetParam().make(*timeline_, *initiator_);
    software_ = std::make_unique<strand>(timeline_->hardware().names(), "software");
    software_->start(idle(), storm_idle);
    timeline_->hardware().connect(*this);
  }
  strand& boot(logical_cpu&, physical_address) override { return *software_; }

  void run(std::function<void(base_protocol_initiator&)> body) {
    initiator_->body = std::move(body);
    timeline_->run_for(sc_core::sc_time{1, sc_core::SC_MS});
    EXPECT_TRUE(initiator_->done);
  }
  tlm::tlm_response_status send(transaction& t) {
    t.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
    sc_core::sc_time delay;
    initiator_->socket->b_transport(t, delay);
    return t.get_response_status();
  }
  template <class Change>
  tlm::tlm_response_status send(tlm::tlm_command command, Change change) {
    transaction t{command, GetParam().address, 4};
    change(t);
    return send(t);
  }
  std::vector<tlm::tlm_command> commands() const {
    if (GetParam().reads) return {tlm::TLM_READ_COMMAND, tlm::TLM_WRITE_COMMAND};
    return {tlm::TLM_WRITE_COMMAND};
  }

  std::unique_ptr<timeline_module> timeline_;
  std::unique_ptr<base_protocol_initiator> initiator_;
  std::shared_ptr<void> target_;
  std::unique_ptr<strand> software_;

 private:
  static constexpr code_location storm_idle{"idle", 0xffffffff81009000, 0, 0, bucket::kernel};
  static program idle() {
    for (;;) co_await isa::compute(cycles{1'000'000'000});
  }
};

TEST_P(sc_base_protocol, legal_accesses) {
  run([this](auto&) {
    for (const auto command : commands()) EXPECT_EQ(send(command, [](auto&) {}), tlm::TLM_OK_RESPONSE);
    if (!GetParam().reads) EXPECT_EQ(send(tlm::TLM_READ_COMMAND, [](auto&) {}), tlm::TLM_COMMAND_ERROR_RESPONSE);
  });
}

TEST_P(sc_base_protocol, ignore_command) {
  run([this](auto&) {
    transaction t{tlm::TLM_IGNORE_COMMAND, GetParam().address, 4};
    t.data.fill(0x5A);
    const auto before = t.data;
    const std::uint64_t events = timeline_->hardware().time().events();
    EXPECT_EQ(send(t), tlm::TLM_OK_RESPONSE);
    EXPECT_EQ(t.data, before);
    EXPECT_EQ(timeline_->hardware().time().events(), events);
  });
}

TEST_P(sc_base_protocol, byte_enables) {
  run([this](auto&) {
    unsigned char enables[] = {TLM_BYTE_DISABLED, TLM_BYTE_ENABLED};
    const auto expected = GetParam().is_memory ? tlm::TLM_OK_RESPONSE : tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE;
    for (const auto command : commands()) {
      EXPECT_EQ(send(command, [&](auto& t) { t.set_byte_enable_ptr(enables), t.set_byte_enable_length(2); }), expected);
      EXPECT_EQ(send(command, [&](auto& t) { t.set_byte_enable_ptr(enables); }), tlm::TLM_BYTE_ENABLE_ERROR_RESPONSE)
          << "no length";
      EXPECT_EQ(send(command, [&](auto& t) { t.set_byte_enable_length(2); }), tlm::TLM_OK_RESPONSE) << "no pointer";
    }
  });
}

TEST_P(sc_base_protocol, streaming_width) {
  run([this](auto&) {
    const auto expected = GetParam().is_memory ? tlm::TLM_OK_RESPONSE : tlm::TLM_BURST_ERROR_RESPONSE;
    for (const auto command : commands()) {
      EXPECT_EQ(send(command, [](auto& t) { t.set_streaming_width(0); }), tlm::TLM_BURST_ERROR_RESPONSE);
      for (unsigned width : {1u, 2u, 3u})
        EXPECT_EQ(send(command, [&](auto& t) { t.set_streaming_width(width); }), expected) << width;
      for (unsigned width : {4u, 5u, ~0u})
        EXPECT_EQ(send(command, [&](auto& t) { t.set_streaming_width(width); }), tlm::TLM_OK_RESPONSE) << width;
    }
  });
}

TEST_P(sc_base_protocol, lengths) {
  run([this](auto&) {
    for (const auto command : commands())
      for (unsigned bytes = 0; bytes <= 64; ++bytes) {
        const auto expected = bytes == 0                           ? tlm::TLM_BURST_ERROR_RESPONSE
                              : GetParam().is_memory || bytes == 4 ? tlm::TLM_OK_RESPONSE
                                                                   : tlm::TLM_BURST_ERROR_RESPONSE;
        EXPECT_EQ(send(command, [&](auto& t) { t.set_data_length(bytes), t.set_streaming_width(bytes); }), expected)
            << bytes;
      }
  });
}

TEST_P(sc_base_protocol, alignment) {
  run([this](auto&) {
    const auto expected = GetParam().is_memory ? tlm::TLM_OK_RESPONSE : tlm::TLM_BURST_ERROR_RESPONSE;
    for (const auto command : commands())
      for (unsigned off : {1u, 2u, 3u})
        EXPECT_EQ(send(command, [&](auto& t) { t.set_address(GetParam().address + off); }), expected) << off;
  });
}

TEST_P(sc_base_protocol, no_data) {
  run([this](auto&) {
    for (const auto command : {tlm::TLM_READ_COMMAND, tlm::TLM_WRITE_COMMAND, tlm::TLM_IGNORE_COMMAND})
      EXPECT_EQ(send(command, [](auto& t) { t.set_data_ptr(nullptr); }), tlm::TLM_GENERIC_ERROR_RESPONSE);
    transaction t{tlm::TLM_READ_COMMAND, GetParam().address, 4};
    t.set_data_ptr(nullptr);
    EXPECT_EQ(initiator_->socket->transport_dbg(t), 0u);
  });
}

TEST_P(sc_base_protocol, addresses_outside) {
  run([this](auto&) {
    const std::uint64_t end = GetParam().end;
    for (const auto command : {tlm::TLM_READ_COMMAND, tlm::TLM_WRITE_COMMAND})
      for (std::uint64_t address : {end, end + 4, end - 1, end - 3, ~std::uint64_t{0}, ~std::uint64_t{0} - 3})
        EXPECT_EQ(send(command, [&](auto& t) { t.set_address(address); }), tlm::TLM_ADDRESS_ERROR_RESPONSE)
            << std::hex << address;
  });
}

TEST_P(sc_base_protocol, dmi) {
  run([this](auto& initiator) {
    for (const auto command : {tlm::TLM_READ_COMMAND, tlm::TLM_WRITE_COMMAND}) {
      transaction t{command, GetParam().address, 4};
      send(t);
      EXPECT_EQ(t.is_dmi_allowed(), GetParam().is_memory) << "the hint";
      tlm::tlm_dmi grant;
      EXPECT_EQ(initiator.socket->get_direct_mem_ptr(t, grant), GetParam().is_memory);
      transaction bad{command, GetParam().address, 4};
      bad.set_data_length(0);
      send(bad);
      EXPECT_FALSE(bad.is_dmi_allowed());
    }
  });
}

TEST_P(sc_base_protocol, debug_transport) {
  run([this](auto& initiator) {
    const std::uint64_t events = timeline_->hardware().time().events();
    transaction t{tlm::TLM_READ_COMMAND, GetParam().address, 4};
    EXPECT_EQ(initiator.socket->transport_dbg(t), GetParam().reads ? 4u : 0u);
    t.set_command(tlm::TLM_IGNORE_COMMAND);
    EXPECT_EQ(initiator.socket->transport_dbg(t), 0u);
    t.set_command(tlm::TLM_WRITE_COMMAND);
    EXPECT_EQ(initiator.socket->transport_dbg(t), GetParam().is_memory ? 4u : 0u) << "registers are looked at only";
    transaction outside{tlm::TLM_READ_COMMAND, GetParam().end, 4};
    EXPECT_EQ(initiator.socket->transport_dbg(outside), 0u);
    EXPECT_EQ(timeline_->hardware().time().events(), events);
    EXPECT_EQ(sc_core::sc_time_stamp(), sc_core::SC_ZERO_TIME);
  });
}

TEST_P(sc_base_protocol, debug_transport_before_the_simulation) {
  transaction t{tlm::TLM_READ_COMMAND, GetParam().address, 4};
  run([&](auto& initiator) { EXPECT_EQ(initiator.socket->transport_dbg(t), GetParam().reads ? 4u : 0u); });
}

TEST_P(sc_base_protocol, anything) {
  run([this](auto& initiator) {
    vmxsys::testing::random_numbers next{7};
    const target_case& c = GetParam();
    unsigned ok = 0;
    for (unsigned n = 0; n < 30'000; ++n) {
      const auto command = static_cast<tlm::tlm_command>(next.below(3));
      std::uint64_t address = c.base + next.below(std::min<std::uint64_t>(c.end - c.base, 0x2000));
      if (next.one_in(2)) address = c.address + 16 * next.below(64);
      if (next.one_in(8)) address = next();
      if (next.one_in(8)) address = c.end - next.below(16);
      const auto bytes = static_cast<unsigned>(next.one_in(2) ? 4 : next.below(65));
      transaction t{command, address, bytes};
      for (unsigned i = 0; i < bytes; ++i) t.data[i] = static_cast<unsigned char>(next());
      if (next.one_in(4)) t.set_streaming_width(static_cast<unsigned>(next.below(70)));
      unsigned char enables[8];
      for (auto& e : enables) e = next.one_in(2) ? TLM_BYTE_ENABLED : TLM_BYTE_DISABLED;
      if (next.one_in(8)) t.set_byte_enable_ptr(enables);
      if (next.one_in(8)) t.set_byte_enable_length(static_cast<unsigned>(next.below(9)));
      if (next.one_in(32)) t.set_data_ptr(nullptr);
      if (next.one_in(4)) {
        EXPECT_LE(initiator.socket->transport_dbg(t), bytes);
        continue;
      }
      const auto status = send(t);
      ASSERT_NE(status, tlm::TLM_INCOMPLETE_RESPONSE);
      ok += status == tlm::TLM_OK_RESPONSE;
      for (unsigned i = bytes; i < t.data.size(); ++i) ASSERT_EQ(t.data[i], 0xA5) << "beyond the data";
      if (next.one_in(64)) wait(sc_core::sc_time{static_cast<double>(next.below(100)), sc_core::SC_NS});
    }
    EXPECT_GT(ok, 1000u);
  });
  timeline_->hardware().check_accounting();
}

}  // namespace vmxsys::cpu::testing
