#pragma once
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

#include <vmxsys/platform/cli/command_line.hpp>

// The command line, called as `main` calls it.
namespace vmxsys::platform_tests {

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define EXPECT_HAS(text, part) EXPECT_TRUE(has((text), (part))) << (text)

struct outcome {
  int status;
  std::string out, err;
};

inline outcome call(const std::vector<std::string>& arguments) {
  std::ostringstream out, err;
  const int status = platform::command_line_main(arguments, out, err);
  return {status, out.str(), err.str()};
}

}  // namespace vmxsys::platform_tests
