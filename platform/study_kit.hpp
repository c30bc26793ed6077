#pragma once
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "config_loader.hpp"
#include "options.hpp"
#include "output_file.hpp"
#include "run_result.hpp"

// What studies have in common.
namespace vmxsys::platform {

/// A study's own configuration: the file examples/.../KEY.json as it is built into the library.
std::string_view study_configuration(std::string_view key);

/// The same with the overrides that the user asked for; what is doubtful in it goes to `err`.
loaded_config load_study(const std::string& key, const options& what, std::ostream& err);

/// Adds an error for an override that sets `path`, or something inside it, which the study sets itself. `changed`: the
/// value differs from the study's; then an override of the whole `above` counts too.
void refuse_override(const std::vector<std::string>& overrides, const std::string& path, bool changed,
                     std::string_view above, std::vector<config_error>& errors);

/// Adds what is wrong with the configurations that a study has made of a legal one, each fault once.
void check_study_cases(const std::vector<run_config>& cases, std::vector<config_error>& errors);

/// Tells what is wrong with what the user asked for; the exit status of that.
int refuse_study(const std::vector<config_error>& errors, std::ostream& err);

/// What a study has to show in the end: with a directory effective.json, stats.json and KEY.svg there, on `out` the
/// document with --json, else what `print` prints.
struct study_results {
  std::string_view key;
  const run_config& base;
  std::string json;
  std::function<std::string()> picture;
  std::function<void(std::ostream&)> print;
};
int show_study(const study_results& results, const options& what, const output_directory* directory, std::ostream& out);

/// `job(0)` to `job(count - 1)` in worker processes, with progress on `err` where that is a terminal. Throws
/// worker_error.
std::vector<std::string> run_study_jobs(std::size_t count, const options& what, std::ostream& err,
                                        const std::function<std::string(std::size_t)>& job);
/// Runs every configuration.
std::vector<run_result> run_study_cases(const std::vector<run_config>& cases, const options& what, std::ostream& err);

/// One sentence as an item of a list, broken into lines.
void print_wrapped(std::ostream& out, const std::string& text);

}  // namespace vmxsys::platform
