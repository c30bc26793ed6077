#pragma once
#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

#include <vmxsys/platform/cli/command_line.hpp>

namespace vmxsys::platform {

/// The document of a study whose measured time is too short for samples. Its text says so, and has no "nan".
inline boost::json::value study_without_samples(const std::string& name) {
  std::vector<std::string> arguments{"study", name, "-q", "-p", "until=20us", "-p", "measure_from=10us"};
  std::ostringstream text, document, err;
  EXPECT_EQ(command_line_main(arguments, text, err), exit_ok) << err.str();
  EXPECT_NE(text.str().find("n/a: no samples"), std::string::npos) << text.str();
  EXPECT_EQ(text.str().find("nan"), std::string::npos) << text.str();
  arguments.push_back("--json");
  EXPECT_EQ(command_line_main(arguments, document, err), exit_ok) << err.str();
  return boost::json::parse(document.str());
}

}  // namespace vmxsys::platform
