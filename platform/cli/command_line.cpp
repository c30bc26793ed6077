#include "command_line.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <boost/program_options.hpp>
#include <csignal>
#include <exception>
#include <ostream>
#include <sstream>

#include <vmxsys/platform/experiments/study.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/platform/machine/shared_object.hpp>
#include <vmxsys/platform/run/interruption.hpp>
#include <vmxsys/platform/run/output_file.hpp>
#include <vmxsys/platform/run/trace_options.hpp>
#include <vmxsys/vmx/base/nearest.hpp>

#include "explore_command.hpp"
#include "list.hpp"
#include "runner.hpp"

namespace vmxsys::platform {

namespace po = boost::program_options;
namespace json = boost::json;

namespace {

constexpr std::string_view usage =
    "vmxsys: x86 virtualization hardware, cycle by cycle\n"
    "\n"
    "  vmxsys run FILE      simulate the machine FILE describes\n"
    "  vmxsys check FILE    say everything that is wrong with FILE, or print it with every value filled in\n"
    "  vmxsys list [TOPIC [NAME]]  parameters, presets, policies, ...; one of them with its options\n"
    "  vmxsys study NAME    re-run a published experiment\n"
    "  vmxsys explore NAME  run a protocol through every order of its steps, shipped and with planted mistakes\n"
    "\n";

const std::vector<std::string> commands{"run", "check", "list", "study", "explore"};

/// Options that not every command has.
struct restricted {
  std::string name;
  std::vector<std::string> commands;
};
const std::vector<restricted> restricted_options{
    {"parameter", {"run", "check", "study", "explore"}},
    {"order", {"explore"}},
    {"until", {"run", "check", "study"}},
    {"seed", {"run", "check", "study"}},
    {"stepped", {"run", "check", "study"}},
    {"out", {"run", "study"}},
    {"trace", {"run"}},
    {"event", {"run"}},
    {"jobs", {"study"}},
    {"with", {"run", "check", "list"}},
};

po::options_description described() {
  po::options_description all{"Options"};
  all.add_options()("help,h", "print this")("version", "print the version")(
      "parameter,p", po::value<std::vector<std::string>>()->value_name("PATH=VALUE"),
      "set a parameter, e.g. -p 'vms[0].vcpus=4' -p 'vms[*].guest.hz=100' (repeatable)")(
      "until", po::value<std::string>()->value_name("DURATION"), "end of the run, as -p until=DURATION")(
      "seed", po::value<std::string>()->value_name("N"), "random seed, as -p seed=N")(
      "stepped", po::bool_switch(), "execute every PAUSE and poll one by one, as -p machine.stepped=true")(
      "out,o", po::value<std::string>()->value_name("DIR"), "write results into DIR (run, study)")(
      "trace", po::value<std::vector<std::string>>()->value_name("NAME=FILE"),
      "write a trace, e.g. --trace kvm=FILE; names: vmxsys list traces. FILE - is standard output, and the report then "
      "goes to standard error (run, repeatable)")(
      "event,e", po::value<std::vector<std::string>>()->value_name("EVENTS"),
      "tracepoints of --trace kvm, separated by commas: kvm_exit, sched:sched_switch, 'kvm:*', sched; all: vmxsys list "
      "tracepoints (run, repeatable)")(
      "with", po::value<std::vector<std::string>>()->value_name("FILE"),
      "a shared object with schedulers, policies, detectors, ... of its own (run, check, list; repeatable)")(
      "jobs,j", po::value<std::string>()->value_name("N"), "worker processes of a study")(
      "order", po::value<std::string>()->value_name("NAME"),
      "order of a protocol's steps (explore), as -p order=NAME; all: each of them")(
      "json", po::bool_switch(), "one JSON document on standard output")("quiet,q", po::bool_switch(),
                                                                         "no progress on standard error");
  return all;
}

std::string help() {
  std::ostringstream text;
  text << usage << described()
       << "\nExit status: 0 done, 2 usage or configuration, 3 files, 4 broken invariant, 130 interrupted.\n";
  return text.str();
}

std::vector<std::string> option_names() {
  std::vector<std::string> names;
  const po::options_description all = described();
  for (const auto& option : all.options()) names.push_back("--" + option->long_name());
  return names;
}

command_line wrong(std::string text, int status = exit_usage) {
  return {std::nullopt, status, "vmxsys: " + std::move(text) + "\nTry: vmxsys --help\n"};
}

std::vector<std::string> names_of(const std::vector<choice>& choices) {
  std::vector<std::string> names;
  for (const choice& c : choices) names.emplace_back(c.name);
  return names;
}

json::array to_array(const std::vector<config_error>& faults) {
  json::array array;
  for (const config_error& e : faults) {
    array.push_back(json::object{{"origin", e.origin},
                                 {"path", e.path},
                                 {"value", e.value},
                                 {"reason", e.reason},
                                 {"nearest", e.nearest},
                                 {"message", e.message()}});
  }
  return array;
}

/// Loads the file and says what is wrong and what is doubtful in it. With --json a configuration that is wrong is a
/// document on `out`.
loaded_config load_and_report(const options& what, const catalogues& names, std::ostream& out, std::ostream& err) {
  loaded_config loaded = load_config(what.argument, what.overrides, {}, names);
  err << loaded.report() << loaded.warning_report();
  if (!loaded.ok() && what.json)
    out << json::serialize(json::object{
               {"schema", 1}, {"errors", to_array(loaded.errors)}, {"warnings", to_array(loaded.warnings)}})
        << '\n';
  return loaded;
}

int status_of(const loaded_config& refused) { return refused.file_missing ? exit_files : exit_usage; }

int check_command(const options& what, const catalogues& names, std::ostream& out, std::ostream& err) {
  const loaded_config loaded = load_and_report(what, names, out, err);
  if (!loaded.ok()) return status_of(loaded);
  if (what.json) {
    out << json::serialize(json::object{{"schema", 1},
                                        {"errors", json::array{}},
                                        {"warnings", to_array(loaded.warnings)},
                                        {"effective", json::parse(to_json_text(loaded.config, names))}})
        << '\n';
  } else {
    out << to_json_text(loaded.config, names);
  }
  return exit_ok;
}

int load_and_run(const options& what, const catalogues& names, std::ostream& out, std::ostream& err) {
  if (const std::string fault = trace_name_fault(what, names.trace_formats); !fault.empty()) {
    err << wrong(fault).text;
    return exit_usage;
  }
  const loaded_config loaded = load_and_report(what, names, out, err);
  if (!loaded.ok()) return status_of(loaded);
  std::optional<output_directory> directory;
  if (what.out) directory.emplace(*what.out);
  return run_command(what, loaded.config, names, directory ? &*directory : nullptr, out, err);
}

int act(const options& what, std::ostream& out, std::ostream& err) {
  catalogues names = catalogues::shipped();
  for (const auto& file : what.with) add_entries_of(file, names);
  if (what.command == "check") return check_command(what, names, out, err);
  if (what.command == "run") return load_and_run(what, names, out, err);
  if (what.command == "list") {
    const std::string wrong = list(what.argument, what.name, what.json, names, out);
    if (wrong.empty()) return exit_ok;
    err << "vmxsys: list: " << wrong << '\n';
    return exit_usage;
  }
  if (what.command == "explore") {
    const auto known = names_of(exploration_choices());
    if (std::find(known.begin(), known.end(), what.argument) != known.end()) return explore_command(what, out, err);
    err << "vmxsys: explore: nothing called \"" << what.argument << '"' << did_you_mean(what.argument, known)
        << "; see vmxsys list explorations\n";
    return exit_usage;
  }
  const auto studies = names_of(study_choices());
  if (std::find(studies.begin(), studies.end(), what.argument) == studies.end()) {
    err << "vmxsys: no study \"" << what.argument << '"' << did_you_mean(what.argument, studies)
        << "; see vmxsys list studies\n";
    return exit_usage;
  }
  std::optional<output_directory> directory;
  if (what.out) directory.emplace(*what.out);
  return study_command(what, directory ? &*directory : nullptr, out, err);
}

int broken_invariant(const std::string& what, std::ostream& err) {
  err << "vmxsys: broken invariant: " << what << "\nThis is a defect of vmxsys; please report it.\n";
  return exit_invariant;
}

}  // namespace

command_line parse_command_line(const std::vector<std::string>& arguments) {
  po::options_description all = described();
  po::options_description with_words;
  with_words.add(all).add_options()("word", po::value<std::vector<std::string>>());
  po::positional_options_description words;
  words.add("word", -1);

  po::variables_map values;
  try {
    // Options are written out: an abbreviation of today may be ambiguous tomorrow.
    const int style = po::command_line_style::default_style & ~po::command_line_style::allow_guessing;
    const po::parsed_options parsed =
        po::command_line_parser{arguments}.options(with_words).positional(words).style(style).run();
    po::store(parsed, values);
    po::notify(values);
  } catch (const po::unknown_option& e) {
    std::string name = e.get_option_name();
    name.resize(std::min(name.find('='), name.size()));
    if (name.empty()) name = "?";
    return wrong("unknown option " + name + did_you_mean(name, option_names()));
  } catch (const po::error& e) {
    return wrong(e.what());
  }

  if (values.count("help") != 0) return {std::nullopt, exit_ok, help()};
  if (values.count("version") != 0) return {std::nullopt, exit_ok, "vmxsys " VMXSYS_VERSION "\n"};

  const auto all_of = [&](const char* name) {
    return values.count(name) != 0 ? values[name].as<std::vector<std::string>>() : std::vector<std::string>{};
  };
  const std::vector<std::string> given = all_of("word");
  if (given.empty()) return {std::nullopt, exit_usage, help()};
  options o;
  o.command = given[0];
  if (std::find(commands.begin(), commands.end(), o.command) == commands.end()) {
    return wrong("no command \"" + o.command + '"' + did_you_mean(o.command, commands) +
                 "; commands: " + joined(commands));
  }
  const std::size_t most = o.command == "list" ? 3 : 2;
  if (given.size() > most) return wrong(o.command + ": unexpected \"" + given[most] + '"');
  if (given.size() == 3) o.name = given[2];
  if (given.size() >= 2) o.argument = given[1];
  if (o.argument.empty() && o.command != "list") {
    return wrong(o.command + (o.command == "study"     ? ": the name of a study is missing; see vmxsys list studies"
                              : o.command == "explore" ? ": what to explore is missing; see vmxsys list explorations"
                                                       : ": a file is missing"));
  }

  if (values.count("parameter") != 0) {
    o.overrides = values["parameter"].as<std::vector<std::string>>();
    for (const std::string& assignment : o.overrides) {
      if (assignment.find('=') == std::string::npos || assignment.front() == '=') {
        return wrong("-p takes PATH=VALUE, not \"" + assignment + '"');
      }
    }
  }
  if (values.count("order") != 0) o.overrides.push_back("order=" + values["order"].as<std::string>());
  if (values.count("until") != 0) o.overrides.push_back("until=" + values["until"].as<std::string>());
  if (values.count("seed") != 0) o.overrides.push_back("seed=" + values["seed"].as<std::string>());
  if (values["stepped"].as<bool>()) o.overrides.emplace_back("machine.stepped=true");
  if (values.count("out") != 0) o.out = values["out"].as<std::string>();
  if (o.out && o.out->empty()) return wrong("--out needs a directory");
  if (values.count("with") != 0)
    for (const std::string& file : values["with"].as<std::vector<std::string>>()) o.with.emplace_back(file);
  o.json = values["json"].as<bool>();
  o.quiet = values["quiet"].as<bool>();
  if (values.count("jobs") != 0) {
    const std::string& n = values["jobs"].as<std::string>();
    if (n.empty() || n.size() > 4 || n.find_first_not_of("0123456789") != std::string::npos || std::stoul(n) == 0 ||
        std::stoul(n) > 1024) {
      return wrong("--jobs takes a number of 1 .. 1024, not \"" + n + '"');
    }
    o.jobs = static_cast<unsigned>(std::stoul(n));
  }
  for (const restricted& option : restricted_options) {
    const bool given_here = option.name == "stepped" ? values["stepped"].as<bool>() : values.count(option.name) != 0;
    const auto& of = option.commands;
    if (given_here && std::find(of.begin(), of.end(), o.command) == of.end())
      return wrong(o.command + " has no use for --" + option.name + "; it is for " + joined(of));
  }
  if (std::string fault = read_trace_options(all_of("trace"), all_of("event"), o); !fault.empty())
    return wrong(std::move(fault));
  return {std::move(o), exit_ok, ""};
}

int command_line_main(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err) {
  try {
    const command_line line = parse_command_line(arguments);
    if (!line.to_do) {
      (line.status == exit_ok ? out : err) << line.text << std::flush;
      return line.status;
    }
    catch_interrupts();
    std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is a write that fails
    const int status = act(*line.to_do, out, err);
    out.flush();
    if (!out && (status == exit_ok || status == exit_interrupted)) {
      err << "vmxsys: cannot write to standard output\n";
      return exit_files;
    }
    return interrupted() ? exit_interrupted : status;
  } catch (const shared_object_error& e) {
    err << "vmxsys: " << e.what() << '\n';
    return exit_files;
  } catch (const file_error& e) {
    err << "vmxsys: " << e.what() << '\n';
    return exit_files;
  } catch (const std::exception& e) {
    return broken_invariant(e.what(), err);
  } catch (...) {
    return broken_invariant("an exception that is no std::exception", err);
  }
}

}  // namespace vmxsys::platform
