#pragma once
#include <iosfwd>
#include <vector>

#include <vmxsys/platform/run/options.hpp>
#include <vmxsys/vmx/base/parameter.hpp>

namespace vmxsys::platform {

/// What can be explored, for `vmxsys list explorations`.
std::vector<choice> exploration_choices();
/// Orders of the posting protocol's steps, for `vmxsys list orders`; "all" is none of them.
std::vector<choice> order_choices();
/// The parameters of an exploration, for `vmxsys list exploration_parameters`.
std::vector<choice> exploration_parameter_choices();

/// `vmxsys explore NAME [-p NAME=VALUE]...`: runs a protocol through every order of its steps. Returns an exit_status;
/// finding a lost interrupt is a result like any other.
int explore_command(const options& what, std::ostream& out, std::ostream& err);

}  // namespace vmxsys::platform
