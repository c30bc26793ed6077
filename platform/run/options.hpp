#pragma once
#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "exit_status.hpp"

namespace vmxsys::platform {

/// One --trace NAME=FILE.
struct trace_request {
  std::string format;
  std::filesystem::path file;  ///< "-": standard output
  bool to_standard_output() const { return file == "-"; }
};

/// A command line, read and checked.
struct options {
  std::string command;                       ///< "run", "check", "list", "study", "explore"
  std::string argument;                      ///< file, topic, study or exploration; may be empty for "list"
  std::vector<std::string> overrides;        ///< -p, in order; --until, --seed and --stepped are among them
  std::optional<std::filesystem::path> out;  ///< --out DIR
  std::vector<trace_request> traces;         ///< --trace, each format and each file once
  std::vector<std::string> tracepoints;      ///< -e, patterns that name some; empty: the format's default
  std::string name;                          ///< list: the entry of a topic
  std::vector<std::filesystem::path> with;   ///< --with FILE: shared objects with entries of their own
  unsigned jobs = std::max(1u, std::thread::hardware_concurrency());  ///< --jobs: worker processes of a study
  bool json = false;                                                  ///< one JSON document on stdout
  bool quiet = false;                                                 ///< no progress on stderr
};

}  // namespace vmxsys::platform
