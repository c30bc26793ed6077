#include <vmxsys/vmx/base/cycles.hpp>

int main() { return vmxsys::cycles{2} + vmxsys::cycles{3} == vmxsys::cycles{5} ? 0 : 1; }
