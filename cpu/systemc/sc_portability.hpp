#pragma once
#include <systemc>
#include <tlm>

// SC_HAS_PROCESS is needed before IEEE 1666-2023 and deprecated from it on. To be used inside a constructor, where it
// serves plain and derived modules alike.
#if defined(IEEE_1666_SYSTEMC) && IEEE_1666_SYSTEMC >= 202301L
#define VMXSYS_SC_HAS_PROCESS(module) static_assert(true)
#else
#define VMXSYS_SC_HAS_PROCESS(module) SC_HAS_PROCESS(module)
#endif
