#pragma once
#include <boost/json/fwd.hpp>
#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/observe/run_result.hpp>
#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/platform/run/output_file.hpp>

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
/// document with --json, else what `print` prints. An interrupted study is marked as partial, names what is missing and
/// has no picture; `print` is for what there is of it, and not called if that is nothing. Returns an exit_status.
struct study_results {
  std::string_view key;
  const run_config& base;
  std::string json;
  const std::vector<std::string>& missing;  ///< names of the runs that were interrupted
  std::size_t runs;                         ///< of the whole study
  std::function<std::string()> picture;
  std::function<void(std::ostream&)> print;
};
int show_study(const study_results& results, const options& what, const output_directory* directory, std::ostream& out);

/// Adds "partial" and, of a partial study, "missing" to its document.
void tell_missing(const std::vector<std::string>& missing, boost::json::object& document);

/// What a study's jobs returned. `texts[i]` is of job i, none if an interruption came before its end; its name is in
/// `missing` then.
struct study_jobs {
  std::vector<std::optional<std::string>> texts;
  std::vector<std::string> missing;
};
/// `job(i)` for each of `names` in worker processes, with progress on `err` where that is a terminal. Throws
/// worker_error for a job that fails.
study_jobs run_study_jobs(const std::vector<std::string>& names, const options& what, std::ostream& err,
                          const std::function<std::string(std::size_t)>& job);

/// Runs configurations; those that are missing have no result.
struct study_runs {
  std::vector<std::optional<run_result>> results;
  std::vector<std::string> missing;
};
study_runs run_study_cases(const std::vector<std::string>& names, const std::vector<run_config>& cases,
                           const options& what, std::ostream& err);

/// "+3.4%": by how much `x` differs from `from`.
std::string difference(double x, double from);

/// Tables of a study, and below them what stands in place of a figure without samples.
void print_tables(std::ostream& out, const std::string& tables);

/// One sentence as an item of a list, broken into lines.
void print_wrapped(std::ostream& out, const std::string& text);

}  // namespace vmxsys::platform
