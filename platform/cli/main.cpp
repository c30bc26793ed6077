#include <iostream>
#include <string>
#include <vector>

#include "command_line.hpp"

// The SystemC library refers to sc_main; this program elaborates from main() and never gets there.
extern "C" int sc_main(int, char**) { return 1; }

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  return vmxsys::platform::command_line_main(arguments, std::cout, std::cerr);
}
