#pragma once
#include <boost/json.hpp>
#include <functional>
#include <gtest/gtest.h>
#include <sstream>
#include <string>
#include <vector>

#include <vmxsys/platform/cli/command_line.hpp>
#include <vmxsys/platform/run/workers.hpp>

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

/// The same in a process of its own, because a run may elaborate SystemC. `before` runs there first.
inline outcome call_in_a_process(const std::vector<std::string>& arguments, const std::function<void()>& before = {}) {
  namespace json = boost::json;
  const std::string text = platform::run_in_workers(1, 1, [&](std::size_t) {
    if (before) before();
    const outcome o = call(arguments);
    return json::serialize(json::array{o.status, o.out, o.err});
  })[0];
  const json::value v = json::parse(text);
  return {static_cast<int>(v.at(0).as_int64()), std::string{v.at(1).as_string()}, std::string{v.at(2).as_string()}};
}

}  // namespace vmxsys::platform_tests
