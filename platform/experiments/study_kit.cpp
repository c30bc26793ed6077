#include "detail/study_kit.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <ostream>
#include <stdexcept>
#include <unistd.h>

#include <vmxsys/platform/config/embedded_file.hpp>
#include <vmxsys/platform/machine/combinations.hpp>
#include <vmxsys/platform/observe/bench_timing.hpp>
#include <vmxsys/platform/run/execution.hpp>
#include <vmxsys/platform/run/interruption.hpp>
#include <vmxsys/platform/run/workers.hpp>

namespace vmxsys::platform {

std::string_view study_configuration(std::string_view key) {
  for (std::size_t i = 0; i < embedded_studies_count; ++i)
    if (embedded_studies[i].key == key) return embedded_studies[i].text;
  throw std::logic_error{"no configuration of study " + std::string{key}};
}

loaded_config load_study(const std::string& key, const options& what, std::ostream& err) {
  loaded_config base = load_config_text(study_configuration(key), what.overrides, key + ".json");
  err << base.warning_report();
  return base;
}

void refuse_override(const std::vector<std::string>& overrides, const std::string& path, bool changed,
                     std::string_view above, std::vector<config_error>& errors) {
  for (const std::string& assignment : overrides) {
    const std::string place = assignment.substr(0, assignment.find('='));
    if (place != path && place.rfind(path + '.', 0) != 0 && !(changed && place == above)) continue;
    errors.push_back({path, "", "the study runs every value of its own; it cannot be set", "", "-p " + assignment});
    return;
  }
}

void check_study_cases(const std::vector<run_config>& cases, std::vector<config_error>& errors) {
  for (const run_config& c : cases) {
    std::vector<config_error> found;
    check_combinations(c, catalogues::shipped(), {}, found);
    for (config_error& e : found) {
      const auto known = [&](const config_error& other) { return other.message() == e.message(); };
      if (std::none_of(errors.begin(), errors.end(), known)) errors.push_back(std::move(e));
    }
  }
}

int refuse_study(const std::vector<config_error>& errors, std::ostream& err) {
  for (const config_error& e : errors) err << e.message() << '\n';
  return exit_usage;
}

int show_study(const study_results& results, const options& what, const output_directory* directory,
               std::ostream& out) {
  const bool partial = !results.missing.empty();
  if (directory != nullptr) {
    output_files files;
    files.add(directory->path() / "effective.json", to_json_text(results.base));
    files.add(directory->path() / "stats.json", results.json);
    if (!partial) files.add(directory->path() / (std::string{results.key} + ".svg"), results.picture());
    files.commit();
  }
  if (what.json) {
    out << results.json;
  } else if (!partial) {
    results.print(out);
  } else {
    const std::size_t finished = results.runs - results.missing.size();
    if (finished != 0) {
      out << "interrupted after " << finished << " of " << results.runs << " runs: figures are of these alone\n\n";
      results.print(out);
    } else {
      out << "interrupted before the first of " << results.runs << " runs had ended\n";
    }
    out << "\nMissing\n";
    for (const std::string& name : results.missing) out << "  " << name << '\n';
  }
  return partial ? exit_interrupted : exit_ok;
}

void tell_missing(const std::vector<std::string>& missing, boost::json::object& document) {
  document["partial"] = !missing.empty();
  if (!missing.empty()) document["missing"] = boost::json::value_from(missing);
}

study_jobs run_study_jobs(const std::vector<std::string>& names, const options& what, std::ostream& err,
                          const std::function<std::string(std::size_t)>& job) {
  const bool show = !what.quiet && isatty(STDERR_FILENO) != 0;
  study_jobs all;
  try {
    for (std::string& text : run_in_workers(
             names.size(), what.jobs, job,
             [&](std::size_t done) {
               if (show) err << "\r\033[K" << done << " of " << names.size() << " runs" << std::flush;
             },
             interrupted))
      all.texts.push_back(std::move(text));
  } catch (const workers_interrupted& e) {
    all.texts = e.finished();
    for (std::size_t i = 0; i < names.size(); ++i)
      if (!all.texts[i]) all.missing.push_back(names[i]);
  }
  if (show) err << "\r\033[K" << std::flush;
  return all;
}

study_runs run_study_cases(const std::vector<std::string>& names, const std::vector<run_config>& cases,
                           const options& what, std::ostream& err) {
  execution_options how;
  how.stop = interrupted;
  study_jobs jobs =
      run_study_jobs(names, what, err, [&](std::size_t i) { return to_json(execute_whole(cases[i], how)); });
  study_runs all{{}, std::move(jobs.missing)};
  for (const std::optional<std::string>& text : jobs.texts)
    all.results.push_back(text ? std::optional{run_result_from_json(*text)} : std::nullopt);
  return all;
}

std::string difference(double x, double from) {
  char text[32];
  std::snprintf(text, sizeof text, "%+.1f%%", (x / from - 1) * 100);
  return text;
}

void print_tables(std::ostream& out, const std::string& tables) {
  out << tables;
  if (tables.find(no_figure) != std::string::npos) out << '\n' << no_figure_means;
}

void print_wrapped(std::ostream& out, const std::string& text) {
  constexpr std::size_t width = 110;
  std::size_t column = 2;
  out << "- ";
  std::size_t at = 0;
  while (at < text.size()) {
    std::size_t end = std::min(text.find(' ', at), text.size());
    const auto digit = [&](std::size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '9'; };
    while (digit(end - 1) && digit(end + 1)) end = std::min(text.find(' ', end + 1), text.size());  // not inside 12 345
    const std::size_t length = end - at;
    if (column + length > width) {
      out << "\n  ";
      column = 2;
    }
    out << text.substr(at, length) << ' ';
    column += length + 1;
    at = end + 1;
  }
  out << '\n';
}

}  // namespace vmxsys::platform
