#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <vmxsys/cpu/core/spin_detectors.hpp>
#include <vmxsys/models/kvm/kvm.hpp>
#include <vmxsys/platform/machine/config_loader.hpp>
#include <vmxsys/vmx/vmcs/minimal_vmcs.hpp>

namespace {

using namespace vmxsys::platform;
using vmxsys::byte_size, vmxsys::component, vmxsys::distribution, vmxsys::duration, vmxsys::settings;
namespace models = vmxsys::models;
namespace fs = std::filesystem;

constexpr const char* good = R"({
  "seed": 7, "until": "20ms", "measure_from": "2ms",
  "machine": {"preset": "haswell_ep", "sockets": 1, "cores": 4, "memory": "16GiB"},
  "host": {"hz": 250, "scheduler": "cfs", "spin_policy": {"name": "kernel_mode"}},
  "vms": [
    {"name": "a", "vcpus": 4, "memory": "2GiB", "guest": {"lock": "ticket"},
     "workload": {"name": "lock_bound", "locks": 2, "work": {"kind": "exponential", "mean": "5us"}, "hold": "800ns"}},
    {"name": "b", "vcpus": 4, "workload": "cpu_bound"}
  ]
})";

loaded_config load(const std::string& text, std::vector<std::string> overrides = {}) {
  return load_config_text(text, overrides, "test.json");
}

/// The message of the one fault expected.
std::string only(const loaded_config& loaded) {
  EXPECT_EQ(loaded.errors.size(), 1u) << loaded.report();
  return loaded.errors.empty() ? "" : loaded.errors.front().message();
}

/// `good` with one more member at the front of the document.
std::string with(const std::string& member) {
  std::string text = good;
  return text.replace(0, 1, "{" + member + ",");
}

/// A distribution among the options of a workload.
distribution option(const component<models::workload_entry>& of, const char* name) {
  return std::get<distribution>(models::workloads().value_of(of, name).held);
}

std::string fault_of(const std::string& assignment) { return only(load(good, {assignment})); }

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
#define EXPECT_HAS(text, part) EXPECT_TRUE(has((text), (part))) << (text)

class files : public testing::Test {
 protected:
  void SetUp() override {
    dir = fs::temp_directory_path() / ("vmxsys_config_" + std::to_string(::getpid()));
    fs::create_directories(dir / "sub");
  }
  void TearDown() override { fs::remove_all(dir); }
  fs::path write(const std::string& name, const std::string& text) {
    std::ofstream{dir / name} << text;
    return dir / name;
  }
  fs::path dir;
};

// ---- what is right ----

TEST(config, good_document) {
  const loaded_config loaded = load(good);
  ASSERT_TRUE(loaded.ok()) << loaded.report();
  const run_config& c = loaded.config;
  EXPECT_EQ(c.seed, 7u);
  EXPECT_EQ(c.until, duration::ms(20));
  EXPECT_EQ(c.machine.cores, 4u);
  EXPECT_EQ(c.machine.threads, 1u);  // default
  EXPECT_EQ(c.host.scheduler.name, "cfs");
  EXPECT_EQ(c.host.ple_window, 4096u);
  ASSERT_EQ(c.vms.size(), 2u);
  EXPECT_EQ(c.vms[0].guest.lock.name, "ticket");
  EXPECT_EQ(option(c.vms[0].workload, "hold"), distribution::fixed(duration::ns(800)));  // shorthand
  EXPECT_EQ(c.vms[1].workload.name, "cpu_bound");                                        // shorthand
}

TEST(config, effective_document_reads_back_as_itself) {
  const loaded_config first = load(good, {"host.scheduler.wakeup_granularity=4ms", "until=123456789cycles"});
  ASSERT_TRUE(first.ok()) << first.report();
  const std::string text = to_json_text(first.config);
  const loaded_config second = load(text);
  ASSERT_TRUE(second.ok()) << second.report();
  EXPECT_EQ(to_json_text(second.config), text);
  EXPECT_HAS(text, "\"ple_gap\": 128");
  EXPECT_HAS(text, "\"until\": \"123456789cycles\"");
  EXPECT_HAS(text, "\"wakeup_granularity\": \"4ms\"");
}

TEST(config, overrides_in_order) {
  const loaded_config loaded = load(good, {"vms[0].vcpus=2", "vms[*].guest.hz=100", "vms[1].guest.hz=1000",
                                           "machine.stepped=true", "host.spin_policy=directed", "vms[1].name=12",
                                           "host.scheduler={\"name\":\"round_robin\",\"quantum\":\"5ms\"}"});
  ASSERT_TRUE(loaded.ok()) << loaded.report();
  EXPECT_EQ(loaded.config.vms[0].vcpus, 2u);
  EXPECT_EQ(loaded.config.vms[0].guest.hz, 100u);
  EXPECT_EQ(loaded.config.vms[1].guest.hz, 1000u);
  EXPECT_TRUE(loaded.config.machine.stepped);
  EXPECT_EQ(loaded.config.host.spin_policy.name, "directed");
  EXPECT_EQ(loaded.config.vms[1].name, "12");
  EXPECT_EQ(loaded.config.host.scheduler.options, (settings{{"quantum", duration::ms(5)}}));
}

TEST(config, an_element_of_a_list_stands_by_its_name) {
  const loaded_config loaded = load(
      R"({"machine": {"observers": ["pause_filter", {"name": "oracle", "gap": 7}]},
                                        "vms": [{"name": "web"}, {"name": "db", "workload": "cpu_bound"}]})",
      {"vms.db.vcpus=3", "vms.db.workload.name=ipi", "machine.observers.pause_filter.gap=9", "traces.kvm_stat.vcpu=2"});
  ASSERT_TRUE(loaded.ok()) << loaded.report();
  EXPECT_EQ(loaded.config.vms[0].vcpus, 1u);
  EXPECT_EQ(loaded.config.vms[1].vcpus, 3u);
  EXPECT_EQ(loaded.config.vms[1].workload.name, "ipi");
  EXPECT_EQ(loaded.config.machine.observers[0].gap, 9u);
  EXPECT_EQ(loaded.config.machine.observers[1].gap, 7u);
  const auto& traces = loaded.config.traces;
  ASSERT_EQ(traces.size(), trace_formats().size()) << "the list that the document does not hold is its default";
  EXPECT_EQ(trace_formats().value_of(traces[1], "vcpu"), 2u);
  EXPECT_HAS(fault_of("vms.dbb.vcpus=1"), "say which one");
  EXPECT_HAS(only(load(R"({"vms": [{"name": "db"}]})", {"vms.db.vcpus=0"})),
             "-p vms.db.vcpus=0: vms[0].vcpus = 0: out of range");
}

TEST(config, another_policy_drops_the_parameters_of_the_old_one) {
  const loaded_config loaded = load(good, {"vms[0].workload.name=cpu_bound"});
  ASSERT_TRUE(loaded.ok()) << loaded.report();
  EXPECT_EQ(to_json_text(loaded.config).find("\"locks\""), std::string::npos);
}

TEST(config, every_workload_has_its_parameters) {
  const auto workload = [](const std::string& text) {
    const loaded_config loaded = load(R"({"vms": [{"workload": )" + text + "}]}");
    EXPECT_TRUE(loaded.ok()) << loaded.report();
    const std::string effective = to_json_text(loaded.config);
    EXPECT_EQ(to_json_text(load(effective).config), effective);
    return effective.substr(effective.find("\"workload\""));
  };
  const std::string locked = workload(R"({"name": "lock_bound", "hold": "2us"})");
  for (const char* given : {"\"locks\"", "\"work\"", "\"hold\"", "\"user_share\""}) EXPECT_HAS(locked, given);
  for (const char* other : {"\"lock\"", "\"unmap\"", "\"chunk\""}) EXPECT_FALSE(has(locked, other)) << other;
  const std::string user = workload(R"({"name": "user_spin", "lock": "ticket", "locks": 3, "hold": "2us"})");
  for (const char* given : {"\"locks\": 3", "\"work\"", "\"hold\"", "\"lock\": \"ticket\""}) EXPECT_HAS(user, given);
  for (const char* other : {"\"user_share\"", "\"unmap\""}) EXPECT_FALSE(has(user, other)) << other;
  const std::string unmapping = workload(R"({"name": "tlb_shootdown", "work": "50us", "unmap": "3us"})");
  for (const char* given : {"\"work\"", "\"unmap\""}) EXPECT_HAS(unmapping, given);
  for (const char* other : {"\"locks\"", "\"hold\"", "\"lock\""}) EXPECT_FALSE(has(unmapping, other)) << other;
  const std::string timer = workload(R"({"name": "timer", "ahead": "3000cycles", "halted": true})");
  for (const char* given : {"\"work\"", "\"ahead\": \"3000cycles\"", "\"halted\": true"}) EXPECT_HAS(timer, given);
  for (const char* other : {"\"send\"", "\"targets\"", "\"hold\""}) EXPECT_FALSE(has(timer, other)) << other;
}

TEST(config, configuration_made_in_code) {
  run_config c;
  c.vms.push_back({});
  EXPECT_TRUE(override_config(c, {}).ok()) << override_config(c, {}).report();
  const std::vector<std::string> overrides{"vms[0].vcpus=3"};
  EXPECT_EQ(override_config(c, overrides).config.vms[0].vcpus, 3u);
}

TEST(config, integers_may_be_written_with_an_exponent) {
  EXPECT_EQ(load(with(R"("host":{"ple_window":1e4})")).config.host.ple_window,
            4096u);  // later "host" wins: JSON keeps the last
  EXPECT_EQ(load(good, {"host.ple_window=1e4"}).config.host.ple_window, 10000u);
}

// ---- keys, types, ranges ----

TEST(config_fault, unknown_key_names_the_nearest) {
  EXPECT_EQ(only(load(with(R"("untill":"1ms")"))),
            "test.json: untill = \"1ms\": unknown key; known here: seed, until, measure_from, machine, host, vms, "
            "bare_metal, collectors, traces (did you mean \"until\"?)");
  EXPECT_HAS(fault_of("host.schedular=cfs"), "did you mean \"scheduler\"?");
  EXPECT_HAS(fault_of("vms[0].gest.hz=100"), "did you mean \"guest\"?");
}

TEST(config_fault, misplaced_key_is_told_its_place) {
  EXPECT_HAS(only(load(with(R"("vcpus":4)"))), "did you mean \"vms[].vcpus\"?");
  EXPECT_HAS(only(load(with(R"("ple_gap":4)"))), "did you mean \"host.ple_gap\"?");
}

TEST(config_fault, unknown_name_lists_the_legal_ones) {
  const std::string m = fault_of("machine.preset=haswel_ep");
  EXPECT_HAS(m, "machine.preset = \"haswel_ep\"");
  EXPECT_HAS(m, "skylake_sp");
  EXPECT_HAS(m, "did you mean \"haswell_ep\"?");
  EXPECT_HAS(fault_of("host.spin_policy=kernel-mode"), "did you mean \"kernel_mode\"?");
  EXPECT_HAS(fault_of("machine.detector=ple"), "must be one of: pause_loop_exiting");
}

TEST(config_fault, wrong_types) {
  EXPECT_HAS(fault_of("machine.cores=four"), "machine.cores = \"four\": must be an integer");
  EXPECT_HAS(fault_of("machine.cores=2.5"), "must be an integer");
  EXPECT_HAS(fault_of("machine.stepped=1"), "must be true or false");
  EXPECT_HAS(fault_of("seed=-1"), "must not be negative");
  EXPECT_HAS(fault_of("machine=5"), "must be an object");
  EXPECT_HAS(only(load(R"({"vms": {"name": "a"}})")), "must be a list");
  EXPECT_HAS(only(load(R"({"vms": [1]})")), "vms[0] = 1: must be an object");
  EXPECT_HAS(only(load(R"([1, 2])")), "a configuration is an object");
}

TEST(config_fault, units_are_needed) {
  EXPECT_HAS(fault_of("until=10"), "a duration needs a number and a unit");
  EXPECT_HAS(only(load(R"({"until": 10, "vms": [{}]})")), "a duration needs a unit: write it as text, e.g. \"10ms\"");
  EXPECT_HAS(fault_of("until=10minutes"), "ps, ns, us, ms, s or cycles");
  EXPECT_HAS(fault_of("machine.memory=16"), "a size needs a number and a unit");
  EXPECT_HAS(fault_of("until=1.5cycles"), "cycles come whole");
  EXPECT_HAS(fault_of("until=300days"), "a duration needs");
  EXPECT_HAS(fault_of("until=99999999999999999999s"), "too large");
}

TEST(config_fault, ranges_hold_at_their_ends) {
  EXPECT_HAS(fault_of("machine.sockets=0"), "machine.sockets = 0: out of range: must be 1 .. 16");
  EXPECT_HAS(fault_of("machine.sockets=17"), "must be 1 .. 16");
  EXPECT_TRUE(load(good, {"machine.sockets=16"}).ok());
  EXPECT_HAS(fault_of("vms[0].vcpus=0"), "vms[0].vcpus = 0: out of range: must be 1 .. 1024");
  EXPECT_HAS(fault_of("host.ple_gap=4294967296"), "0 .. 4294967295");
  EXPECT_HAS(fault_of("until=2hours"), "unit");
  EXPECT_HAS(fault_of("until=3601s"), "must be 1ps .. 3600s");
  EXPECT_HAS(fault_of("vms[0].workload.user_share=101"), "0 .. 100");
  EXPECT_HAS(fault_of("machine.memory=1KiB"), "must be 1MiB .. 64TiB");
}

TEST(config_fault, an_override_is_named_as_the_origin) {
  EXPECT_EQ(fault_of("machine.sockets=0").rfind("-p machine.sockets=0: machine.sockets = 0", 0), 0u)
      << fault_of("machine.sockets=0");
  const loaded_config all = load(good, {"vms[*].vcpus=0"});
  EXPECT_EQ(all.errors.size(), 2u) << all.report();
}

TEST(config_fault, overrides_that_lead_nowhere) {
  EXPECT_HAS(fault_of("vms[2].vcpus=1"), "there are only 2 (numbered from 0), so there is no [2]");
  EXPECT_HAS(fault_of("vms.vcpus=1"), "say which one: [0], [1], ... or [*]");
  EXPECT_HAS(fault_of("traces.kvn.ns=true"), "or its name: kvm, kvm_stat, sched_map (did you mean \"kvm\"?)");
  EXPECT_HAS(fault_of("host[0].hz=1"), "is no list");
  EXPECT_HAS(fault_of("seed.low=1"), "there is nothing below a plain value");
  EXPECT_HAS(fault_of("vms[0.vcpus=1"), "an override is written path=value");
  EXPECT_HAS(fault_of("vms[]=1"), "an override is written path=value");
  EXPECT_HAS(fault_of("=1"), "an override is written path=value");
  EXPECT_HAS(fault_of("seed"), "an override is written path=value");
}

TEST(config_fault, all_faults_at_once) {
  const loaded_config loaded = load(R"({
    "untill": "1s", "seed": -1,
    "machine": {"sockets": 0, "preset": "p4"},
    "host": {"hz": "fast", "ple_window": 100, "ple_window_max": 50},
    "vms": [{"name": "a", "vcpus": 0}, {"name": "a"}]
  })");
  EXPECT_EQ(loaded.errors.size(), 8u) << loaded.report();
}

// ---- combinations ----

TEST(config_fault, nothing_to_run) {
  EXPECT_HAS(only(load("{}")), "vms = []: at least one virtual machine is needed");
  EXPECT_HAS(only(load(R"({"vms": []})")), "at least one virtual machine is needed");
}

TEST(config_fault, duplicate_vm_names) {
  EXPECT_EQ(fault_of("vms[1].name=a"), "vms[1].name = \"a\": already the name of vms[0]");
}

TEST(config_fault, more_memory_than_there_is) {
  EXPECT_EQ(fault_of("machine.memory=2GiB"), "vms = 3GiB of memory in all: more than machine.memory = 2GiB");
  EXPECT_TRUE(load(good, {"machine.memory=3GiB"}).ok());
}

TEST(config_fault, measuring_must_begin_before_the_end) {
  EXPECT_EQ(fault_of("measure_from=20ms"),
            "measure_from = 20ms: nothing would be measured: it must be before the end of the run, until = 20ms");
  EXPECT_TRUE(load(good, {"measure_from=19999us"}).ok());
  // 2.5 GHz: 20 ms are 50 million cycles.
  EXPECT_TRUE(load(good, {"measure_from=49999999cycles"}).ok());
  EXPECT_FALSE(load(good, {"measure_from=50000000cycles"}).ok());
}

TEST(config_fault, too_many_cpus) {
  EXPECT_HAS(only(load(good, {"machine.sockets=8", "machine.cores=256"})),
             "machine = 2048 logical CPUs: sockets * cores * threads must be 1 .. 1024");
}

TEST(config_fault, an_ipi_needs_cpus_to_go_to) {
  const auto ipi = [](int vcpus, int targets) {
    return load(R"({"vms": [{"vcpus": )" + std::to_string(vcpus) + R"(, "workload": {"name": "ipi", "targets": )" +
                std::to_string(targets) + "}}]}");
  };
  EXPECT_TRUE(ipi(4, 3).ok());
  EXPECT_TRUE(ipi(4, 0).ok());
  EXPECT_HAS(only(ipi(4, 4)), "more CPUs than the 3 others of the VM");
  EXPECT_HAS(only(ipi(1, 0)), "there is no other CPU to send to");
}

TEST(config_fault, bare_metal_takes_one_kernel_of_the_machines_size) {
  const auto bare = [](const char* vms) {
    return load(R"({"bare_metal": true, "machine": {"cores": 3}, "vms": )" + std::string{vms} + "}");
  };
  EXPECT_TRUE(bare(R"([{"vcpus": 3}])").ok());
  EXPECT_HAS(only(bare(R"([{"vcpus": 2}])")), "a vCPU for each of the 3 CPUs");
  EXPECT_HAS(only(bare(R"([{"vcpus": 3}, {"name": "b", "vcpus": 3}])")), "one VM");
}

TEST(config_fault, window_limits) {
  EXPECT_HAS(fault_of("host.ple_window_max=4095"), "smaller than ple_window (4096)");
  EXPECT_TRUE(load(good, {"host.ple_window_max=4096"}).ok());
}

TEST(config_warning, a_shrink_beyond_the_window_wraps) {
  EXPECT_TRUE(load(good, {"host.ple_window_shrink=4096"}).warnings.empty());
  const loaded_config wraps = load(good, {"host.ple_window_shrink=4097"});
  EXPECT_TRUE(wraps.ok()) << wraps.report();
  ASSERT_EQ(wraps.warnings.size(), 1u);
  EXPECT_EQ(wraps.warnings[0].path, "host.ple_window_shrink");
  EXPECT_EQ(wraps.warnings[0].value, "4097");
  EXPECT_HAS(wraps.warning_report(), "warning: host.ple_window_shrink = 4097: greater than ple_window (4096)");
  EXPECT_TRUE(load(good, {"host.ple_window_shrink=4097", "host.ple_window=4097"}).warnings.empty());
  // Nothing shrinks without PAUSE-loop exiting.
  for (const char* off : {"host.ple_gap=0", "host.spin_policy=none"})
    EXPECT_TRUE(load(good, {"host.ple_window_shrink=4097", off}).warnings.empty()) << off;
  EXPECT_TRUE(load(R"({"bare_metal": true, "machine": {"cores": 1}, "vms": [{}], "host": {"ple_window_shrink": 4097}})")
                  .warnings.empty());
  // Of a value in doubt nothing more is said.
  const loaded_config wrong = load(good, {"host.ple_window_shrink=4097", "host.ple_window=-1"});
  EXPECT_EQ(wrong.errors.size(), 1u) << wrong.report();
  EXPECT_TRUE(wrong.warnings.empty());
}

TEST(config, what_is_not_given_is_what_the_models_do_by_themselves) {
  const host_config host;
  const vmxsys::models::kvm_config kvm;
  EXPECT_STREQ(catalogues::shipped().spin_policies.select(host.spin_policy).name(), kvm.spin_policy.name());
  EXPECT_STREQ(kvm.spin_policy.name(), "kernel_mode");
  EXPECT_EQ(host.ple_gap, kvm.ple_gap);
  EXPECT_EQ(host.ple_window, kvm.ple_window.window);
  EXPECT_EQ(host.ple_window_grow, kvm.ple_window.grow);
  EXPECT_EQ(host.ple_window_shrink, kvm.ple_window.shrink);
  EXPECT_EQ(host.ple_window_max, kvm.ple_window.max);
  EXPECT_STREQ(catalogues::shipped().interrupt_paths.select(host.interrupt_path).name(), kvm.interrupt_path.name());
  EXPECT_STREQ(catalogues::shipped().timer_backends.select(host.timer_backend).name(), kvm.timer_backend.name());
  const observer_config observer;
  const vmxsys::cpu::observing_detector watching;
  EXPECT_EQ(observer.gap, watching.gap);
  EXPECT_EQ(observer.window, watching.window);
  EXPECT_EQ(host.ple_gap, observer.gap);
  EXPECT_EQ(host.ple_window, observer.window);
  EXPECT_EQ(vmxsys::vmx::minimal_vmcs_options{}.ple_gap, observer.gap);
  EXPECT_EQ(vmxsys::vmx::minimal_vmcs_options{}.ple_window, observer.window);
  EXPECT_EQ(observer.gap, 128u) << "KVM_DEFAULT_PLE_GAP";
  EXPECT_EQ(observer.window, 4096u) << "KVM_VMX_DEFAULT_PLE_WINDOW";
}

TEST(config_fault, parameter_of_another_policy) {
  EXPECT_HAS(fault_of("host.scheduler.quantum=1ms"), "\"cfs\" has no such parameter; it belongs to \"round_robin\"");
  EXPECT_HAS(fault_of("vms[1].workload.locks=3"),
             "\"cpu_bound\" has no such parameter; it belongs to \"lock_bound\" or \"user_spin\"");
  EXPECT_HAS(fault_of("vms[0].workload.unmap=3us"),
             "\"lock_bound\" has no such parameter; it belongs to \"tlb_shootdown\"");
  EXPECT_HAS(only(load(good, {"machine.detector=none", "machine.detector.gap_end_to_start=true"})),
             "\"none\" has no such parameter");
}

TEST(config_fault, distributions) {
  EXPECT_HAS(fault_of(R"(vms[0].workload.work={"kind":"uniform","min":"5us"})"), "needs `min` and `max`");
  EXPECT_HAS(fault_of(R"(vms[0].workload.hold={"kind":"uniform","min":"5us","max":"6us","mean":"5us"})"), "not `mean`");
  EXPECT_HAS(fault_of(R"(vms[0].workload.hold={"kind":"fixed","mean":"5us","max":"6us"})"), "takes `mean` alone");
  EXPECT_HAS(fault_of(R"(vms[0].workload.hold={"kind":"exponential","mean":"5us","max":"4us"})"), "smaller than mean");
  EXPECT_HAS(
      only(load(R"({"vms":[{"workload":{"name":"lock_bound","hold":{"kind":"uniform","min":"5us","max":"4us"}}}]})")),
      "greater than max (4us)");
  EXPECT_HAS(only(load(R"({"vms":[{"workload":{"name":"lock_bound","hold":{"kind":"exponential"}}}]})")),
             "needs `mean`");
  EXPECT_HAS(fault_of("vms[0].workload.hold=0us"), "vms[0].workload.hold.mean");
  for (const char* of_another : {R"({"name":"user_spin","hold":{"kind":"exponential"}})",
                                 R"({"name":"user_spin","work":{"kind":"exponential"}})",
                                 R"({"name":"tlb_shootdown","work":{"kind":"exponential"}})",
                                 R"({"name":"tlb_shootdown","unmap":{"kind":"exponential"}})"})
    EXPECT_HAS(only(load(std::string{R"({"vms":[{"workload":)"} + of_another + "}]}")), "needs `mean`");
  EXPECT_HAS(only(load(R"({"vms":[{"workload":{"name":"user_spin","lock":"queued"}}]})")), "ticket");
}

TEST(config, distributions_are_not_mixed) {
  const loaded_config loaded = load(
      good, {"vms[0].workload.work.mean=7us", R"(vms[0].workload.hold={"kind":"uniform","min":"1us","max":"2us"})"});
  ASSERT_TRUE(loaded.ok()) << loaded.report();
  EXPECT_EQ(option(loaded.config.vms[0].workload, "work"), distribution::exponential(duration::us(7)));
  EXPECT_EQ(option(loaded.config.vms[0].workload, "hold"), distribution::uniform(duration::us(1), duration::us(2)));
  // A bare duration is a fixed one, whatever was there before.
  EXPECT_EQ(option(load(good, {"vms[0].workload.work=3us"}).config.vms[0].workload, "work"),
            distribution::fixed(duration::us(3)));
  EXPECT_TRUE(
      load(good, {"vms[0].workload.work.kind=uniform", "vms[0].workload.work.min=1us", "vms[0].workload.work.max=2us"})
          .ok());
}

TEST(config_fault, scheduler_constants) {
  EXPECT_HAS(only(load(good, {"host.scheduler.latency=1ms", "host.scheduler.min_granularity=2ms"})),
             "greater than latency (1ms)");
}

TEST(config_fault, interrupt_paths_need_their_processor) {
  EXPECT_TRUE(load(good, {"host.interrupt_path=posted"}).ok()) << "Haswell-EP has all it takes";
  const std::string fault = fault_of("host.interrupt_path=ipi_virtualized");
  EXPECT_HAS(fault, "preset \"haswell_ep\" (capabilities \"haswell_ep\") has no");
  EXPECT_HAS(fault, "presets that have what it needs: sapphire_rapids_sp, hypothetical_apic_timer");
  const std::vector<std::string> later{"host.interrupt_path=ipi_virtualized", "machine.preset=sapphire_rapids_sp"};
  EXPECT_TRUE(load(good, later).ok());
  EXPECT_HAS(only(load(good, {"host.timer_backend=apic_timer_virtualization", "host.interrupt_path=posted"})),
             "presets that have what it needs: hypothetical_apic_timer");
}

TEST(config_fault, interrupt_paths_and_timers_need_each_other) {
  EXPECT_HAS(fault_of("host.timer_backend=posted"), "needs an interrupt_path that posts (posted, ipi_virtualized)");
  EXPECT_TRUE(load(good, {"host.timer_backend=posted", "host.interrupt_path=posted"}).ok());
  EXPECT_TRUE(load(good, {"host.timer_backend=hrtimer"}).ok());
  EXPECT_HAS(fault_of("host.interrupt_path.exit_fast_paths=true"), "it belongs to \"posted\" or \"ipi_virtualized\"");
  EXPECT_TRUE(load(good, {"host.interrupt_path=posted", "host.interrupt_path.exit_fast_paths=true"}).ok());
  const auto housekeeping = [](const char* cpu) {
    return load(good, {"host.interrupt_path=posted", "host.timer_backend=posted",
                       std::string{"host.timer_backend.housekeeping_cpu="} + cpu});
  };
  EXPECT_HAS(only(housekeeping("4")), "4 logical CPUs");
  EXPECT_TRUE(housekeeping("3").ok());
  EXPECT_TRUE(load(good, {"host.timer_advance=adaptive"}).ok());
  EXPECT_TRUE(load(good, {"host.timer_advance.name=fixed", "host.timer_advance.lead=2us"}).ok());
  EXPECT_FALSE(load(good, {"host.timer_advance.name=adaptive", "host.timer_advance.lead=2us"}).ok());
}

TEST(config_fault, a_guest_with_the_icr_has_its_cpus_to_itself) {
  const auto direct = [](const std::vector<std::string>& more) {
    return load(R"({"machine": {"cores": 4}, "host": {"interrupt_path": "direct"},
                    "vms": [{"name": "a", "vcpus": 4}]})",
                more);
  };
  EXPECT_TRUE(direct({"host.vcpu_affinity=spread"}).ok()) << direct({"host.vcpu_affinity=spread"}).report();
  EXPECT_HAS(only(direct({})), "needs vCPU i on CPU i: \"spread\"");
  EXPECT_HAS(only(direct({"host.vcpu_affinity=spread", "vms[0].vcpus=5"})), "needs a CPU for each");
  EXPECT_HAS(only(direct({"host.vcpu_affinity=spread", "vms[0].guest.apic=xapic"})), "a guest in x2APIC mode");
  EXPECT_HAS(only(direct({"host.vcpu_affinity=spread", "host.apic=xapic"})), "a host in x2APIC mode");
  EXPECT_HAS(only(load(good, {"host.interrupt_path=direct", "host.vcpu_affinity=spread"})), "2 virtual machines");
}

TEST(config_fault, xapic_ids_have_eight_bits) {
  const std::vector<std::string> many{"machine.sockets=1", "machine.cores=256", "host.apic=xapic"};
  EXPECT_HAS(only(load(good, many)), "addresses at most 255 CPUs, not 256");
  EXPECT_HAS(only(load(good, {"vms[1].vcpus=256", "vms[1].guest.apic=xapic"})), "vms[1].guest.apic");
  EXPECT_TRUE(load(good, {"vms[1].vcpus=255", "vms[1].guest.apic=xapic", "host.apic=x2apic_cluster"}).ok());
}

TEST(config_fault, no_false_alarm_after_a_fault) {
  // The size is unreadable, so nothing can be said about the sum.
  EXPECT_EQ(load(good, {"vms[0].memory=lots"}).errors.size(), 1u);
  EXPECT_EQ(load(good, {"until=soon"}).errors.size(), 1u);
}

// ---- files ----

TEST_F(files, layers) {
  write("sub/hardware.json", R"({"machine": {"preset": "skylake_sp", "cores": 8}})");
  write(
      "base.json",
      R"({"include": "sub/hardware.json", "machine": {"cores": 6}, "host": {"hz": 1000, "scheduler": {"name": "round_robin", "quantum": "3ms"}}})");
  const fs::path file =
      write("run.json", R"({"include": ["base.json"], "host": {"scheduler": "cfs"}, "vms": [{"name": "x"}]})");
  const std::vector<std::string> overrides{"host.hz=100"};
  const loaded_config loaded = load_config(file, overrides);
  ASSERT_TRUE(loaded.ok()) << loaded.report();
  EXPECT_EQ(loaded.config.machine.preset, "skylake_sp");
  EXPECT_EQ(loaded.config.machine.cores, 6u);
  EXPECT_EQ(loaded.config.host.hz, 100u);
  EXPECT_EQ(loaded.config.host.scheduler.name, "cfs");
  EXPECT_EQ(loaded.files.size(), 3u);
}

TEST_F(files, a_fault_names_its_file) {
  write("base.json", R"({"machine": {"coers": 6}})");
  const loaded_config loaded = load_config(write("run.json", R"({"include": "base.json", "vms": [{}]})"));
  EXPECT_HAS(only(loaded), (dir / "base.json").string() + ": machine.coers = 6: unknown key");
}

TEST_F(files, cycles_are_found) {
  write("a.json", R"({"include": "b.json"})");
  write("b.json", R"({"include": "a.json", "vms": [{}]})");
  const loaded_config loaded = load_config(dir / "a.json");
  EXPECT_HAS(only(loaded), "includes itself");
  EXPECT_FALSE(loaded.file_missing);
}

TEST_F(files, depth_and_number_are_limited) {
  for (int i = 0; i < 20; ++i) {
    write(std::to_string(i) + ".json", R"({"include": ")" + std::to_string(i + 1) + R"(.json"})");
  }
  write("20.json", R"({"vms": [{}]})");
  EXPECT_HAS(load_config(dir / "0.json").report(), "nested more than 16 deep");
  EXPECT_TRUE(load_config(dir / "5.json").ok()) << load_config(dir / "5.json").report();
  // Twice two to the twelfth power of files, were it not limited.
  for (int i = 0; i < 12; ++i) {
    const std::string next = '"' + std::to_string(i + 1) + ".json\"";
    write(std::to_string(i) + ".json", "{\"include\": [" + next + ", " + next + "]}");
  }
  write("12.json", "{}");
  EXPECT_HAS(load_config(dir / "0.json").report(), "more than 64 files are included");
}

TEST_F(files, missing_and_odd_files) {
  const loaded_config missing = load_config(dir / "none.json");
  EXPECT_HAS(only(missing), "no such file");
  EXPECT_TRUE(missing.file_missing);
  EXPECT_HAS(only(load_config(dir)), "not a regular file");
  EXPECT_HAS(only(load_config("/dev/zero")), "not a regular file");
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
  EXPECT_HAS(only(load_config(dir / "fifo")), "not a regular file");  // and does not wait for a writer
  const loaded_config included = load_config(write("run.json", R"({"include": "gone.json", "vms": [{}]})"));
  EXPECT_TRUE(included.file_missing);
  EXPECT_HAS(included.report(), "gone.json\": no such file");
  EXPECT_HAS(load_config(write("run.json", R"({"include": 5, "vms": [{}]})")).report(),
             "include = 5: must be a file name");
}

TEST_F(files, size_is_limited) {
  const fs::path file = write("big.json", "{\"seed\": 1" + std::string(1 << 20, ' ') + "}");
  EXPECT_HAS(only(load_config(file)), "larger than 1MiB");
  EXPECT_FALSE(load_config_text(std::string((1 << 20) + 1, ' ')).ok());
}

TEST(config_fault, not_json) {
  EXPECT_HAS(only(load("{\n  \"seed\": 1,\n  seed\n}")), "test.json: not JSON at line 3, column 3");
  EXPECT_HAS(only(load("")), "not JSON at line 1, column 1");
  EXPECT_HAS(only(load("{} {}")), "not JSON at line 1, column 4");
  EXPECT_FALSE(load(std::string(10000, '[')).ok());
  EXPECT_FALSE(load("{\"seed\": \"\xff\xfe\"}").ok());
}

// ---- nothing a file contains may crash, hang or overrun ----

class generator {  // splitmix64
 public:
  explicit generator(std::uint64_t seed) : state_{seed} {}
  std::uint64_t operator()() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>((*this)() % n); }

 private:
  std::uint64_t state_;
};

TEST(config_robustness, every_truncation) {
  const std::string text = good;
  for (std::size_t n = 0; n < text.size(); ++n) EXPECT_FALSE(load(text.substr(0, n)).ok()) << n;
}

TEST(config_robustness, random_damage) {
  generator random{20240607};
  const std::string tokens[] = {"{",
                                "}",
                                "[",
                                "]",
                                ",",
                                ":",
                                "\"",
                                "null",
                                "true",
                                "-1",
                                "1e999",
                                "18446744073709551616",
                                "\"\\u0000\"",
                                "\"1e9s\"",
                                "[[[[[[",
                                "{\"name\":",
                                "\"include\":",
                                "0.5",
                                "99999999999999999999999"};
  const std::string text = good;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = text;
    for (std::size_t k = 1 + random.below(4); k-- > 0;) {
      const std::size_t at = random.below(damaged.size());
      switch (random.below(4)) {
        case 0:
          damaged[at] = static_cast<char>(random());
          break;
        case 1:
          damaged.erase(at, 1 + random.below(20));
          break;
        case 2:
          damaged.insert(at, tokens[random.below(std::size(tokens))]);
          break;
        default:
          damaged.insert(at, damaged.substr(random.below(damaged.size()), random.below(40)));
          break;
      }
      if (damaged.empty()) damaged = "{";
    }
    const loaded_config loaded = load(damaged);
    // Whatever is accepted stays accepted once written down.
    if (loaded.ok()) {
      EXPECT_TRUE(load(to_json_text(loaded.config)).ok()) << damaged;
    }
    EXPECT_LT(loaded.report().size(), 100000u);
  }
}

TEST(config_robustness, random_overrides) {
  generator random{99};
  const std::string pieces[] = {"vms",  "[0]", "[*]", "[9]", ".",    "vcpus", "=",  "1",  "host", "scheduler",
                                "name", "{}",  "[",   "]",   "null", "-",     "\"", "\n", "\xff", "[99999999999]"};
  for (int round = 0; round < 3000; ++round) {
    std::string assignment;
    for (std::size_t k = 1 + random.below(10); k-- > 0;) assignment += pieces[random.below(std::size(pieces))];
    load(good, {assignment}).report();
  }
}

// ---- the table ----

TEST(parameters, every_one_is_described) {
  std::vector<parameter_row> rows;
  run_config_type().rows("", run_config_type().defaults(), "", rows);
  EXPECT_GT(rows.size(), 40u);
  for (const parameter_row& row : rows) {
    EXPECT_FALSE(row.description.empty()) << row.path;
    EXPECT_FALSE(row.unit.empty()) << row.path;
    EXPECT_FALSE(row.type.empty()) << row.path;
  }
}

TEST(parameters, every_default_is_legal) {
  run_config c;
  c.vms.push_back({});
  EXPECT_TRUE(load(to_json_text(c)).ok()) << load(to_json_text(c)).report();
}

}  // namespace
