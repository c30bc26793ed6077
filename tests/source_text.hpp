#pragma once
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#ifndef VMXSYS_SOURCE_DIR
#error "tests/CMakeLists.txt tells the tests that read their sources where these are: add this one to its list"
#endif

namespace vmxsys::testing {

/// The text of a file of this tree, for a test that compares a README with its source. A file that cannot be read fails
/// the test: there is no build without its sources.
inline std::string source_text(const std::string& path) {
  const std::string name = std::string{VMXSYS_SOURCE_DIR} + '/' + path;
  std::ostringstream text;
  if (!(text << std::ifstream{name}.rdbuf())) throw std::runtime_error{"cannot read " + name};
  return text.str();
}

}  // namespace vmxsys::testing
