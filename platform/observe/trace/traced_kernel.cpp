#include "traced_kernel.hpp"

#include <algorithm>
#include <set>

namespace vmxsys::platform {

namespace {

constexpr std::size_t comm_characters = 15;  // TASK_COMM_LEN less its NUL

std::string vcpu_comm(unsigned index, const std::string& mark) {
  return "CPU " + std::to_string(index) + "/KVM" + mark;
}

}  // namespace

std::vector<std::string> vm_marks(const std::vector<std::string>& names, unsigned most_vcpus) {
  std::vector<std::string> marks(names.size());
  if (names.size() < 2) return marks;
  const std::size_t room = comm_characters - vcpu_comm(std::max(1u, most_vcpus) - 1, "/").size();
  std::set<std::string> cut;
  for (const std::string& name : names) cut.insert(name.substr(0, room));
  const bool told_apart = cut.size() == names.size() && cut.count("") == 0;
  for (std::size_t i = 0; i < names.size(); ++i)
    marks[i] = "/" + (told_apart ? names[i].substr(0, room) : std::to_string(i));
  return marks;
}

traced_kernel::traced_kernel(const observed_machine& of) : kernel_{of.outer_kernel()}, vms_{of.hypervisor.vms()} {
  for (unsigned cpu = 0; cpu < kernel_.cpus(); ++cpu) {
    const std::size_t source = kernel_.fact_source(cpu);
    if (source >= cpu_of_source_.size()) cpu_of_source_.resize(source + 1, -1);
    cpu_of_source_[source] = static_cast<int>(cpu);
    idlers_.push_back(kernel_.idle_thread(cpu).name());
  }
  const auto name = [&](std::uint32_t pid, std::string comm) {
    if (pid >= comms_.size()) comms_.resize(pid + std::size_t{1}, "<...>");  // as ftrace calls a thread it has lost
    comms_[pid] = std::move(comm);
  };
  for (const auto& t : kernel_.threads()) name(t->pid, t->name());

  std::vector<std::string> names;
  unsigned most_vcpus = 0;
  for (const auto& vm : vms_) {
    names.push_back(vm->name());
    most_vcpus = std::max(most_vcpus, vm->vcpus());
  }
  const std::vector<std::string> marks = vm_marks(names, most_vcpus);
  for (const auto& vm : vms_)
    for (unsigned i = 0; i < vm->vcpus(); ++i) name(vm->cpu(i).thread().pid, vcpu_comm(i, marks[vm->number()]));
}

models::trace::task_name traced_kernel::task(std::uint32_t pid, unsigned cpu) const {
  if (pid == 0) return {idlers_[cpu], 0};
  return {pid < comms_.size() ? std::string_view{comms_[pid]} : "<...>", static_cast<int>(pid)};
}

}  // namespace vmxsys::platform
