// A machine inside a foreign SystemC platform: one CPU runs a small program, a foreign thread interrupts it and
// rings a bell in its memory. No globals, no time resolution and no quantum are set on the embedder's behalf.
#include <iostream>
#include <tlm_utils/simple_initiator_socket.h>

#include <vmxsys/apic/local/register_map.hpp>
#include <vmxsys/cpu/systemc/sc_interrupt_port.hpp>
#include <vmxsys/cpu/systemc/sc_memory.hpp>
#include <vmxsys/cpu/systemc/sc_physical_cpu.hpp>

using namespace vmxsys;
using namespace vmxsys::cpu;

namespace {

constexpr code_location program_code{"wait_for_bell", 0xffffffff81000000, 0, 0, bucket::kernel};
constexpr code_location bell_code{"bell", 0xffffffff81001000, 0, 0, bucket::spin};
constexpr physical_address bell_address = 0x100000;

/// The software: enables its local APIC, takes interrupts, spins until the bell rings.
struct software final : sc_boot_if, interrupt_table {
  explicit software(machine& hw)
      : names{hw.names()}, idtr{names.add(*this)}, bell{hw.physical().word_at(bell_address)}, main{names, "main"} {
    main.start(run(), program_code);
  }
  strand& boot(logical_cpu&, physical_address) override { return main; }
  program entry(logical_cpu& on, std::uint8_t vector) override { return handle(on, vector); }

  program run() {
    (co_await isa::this_cpu()).set_idtr_base(idtr);
    co_await isa::wrmsr(apic::msr::svr, 0x1FF);
    co_await isa::sti();
    co_await isa::spin_while(bell, spin_predicate::while_equal(0), bell_code);
    std::cout << "the bell rang at cycle " << co_await isa::rdtsc() << std::endl;
    for (;;) co_await isa::hlt();
  }
  program handle(logical_cpu& on, std::uint8_t vector) {
    std::cout << "interrupt " << unsigned{vector} << " at cycle " << on.now().count() << std::endl;
    co_await isa::wrmsr(apic::msr::eoi, 0);
  }
  name_space& names;
  std::uint64_t idtr;
  word& bell;
  strand main;
};

/// The rest of the platform.
struct somebody_else : sc_core::sc_module {
  tlm_utils::simple_initiator_socket<somebody_else> out{"out"};
  tlm_utils::simple_initiator_socket<somebody_else> interrupts{"interrupts"};
  explicit somebody_else(const sc_core::sc_module_name& name) : sc_module{name} {
    VMXSYS_SC_HAS_PROCESS(somebody_else);
    SC_THREAD(act);
  }
  template <class Socket>
  void write(Socket& to, std::uint64_t address, std::uint32_t value) {
    tlm::tlm_generic_payload p;
    sc_core::sc_time delay;
    p.set_write();
    p.set_address(address);
    p.set_data_ptr(reinterpret_cast<unsigned char*>(&value));
    p.set_data_length(sizeof value);
    p.set_streaming_width(sizeof value);
    to->b_transport(p, delay);
  }
  void act() {
    wait(3, sc_core::SC_US);
    write(interrupts, apic::msi_window, 0x51);  // vector 51H to CPU 0
    wait(4, sc_core::SC_US);
    write(out, bell_address, 1);
  }
};

}  // namespace

int sc_main(int, char*[]) {
  timeline_module timeline{"timeline", machine_config{}, 2'600'000};  // one CPU, 2.6 GHz
  physical_cpu cpu0{"cpu0", timeline, 0};
  memory_target memory{"memory", timeline};
  interrupt_port msi{"msi", timeline};
  somebody_else platform{"platform"};
  software code{timeline.hardware()};  // after the machine: it must die first
  cpu0.boot(code);
  platform.out.bind(memory.socket);
  platform.interrupts.bind(msi.socket);
  timeline.run_for(sc_core::sc_time{10, sc_core::SC_US});
  timeline.hardware().check_accounting();
  return 0;
}
