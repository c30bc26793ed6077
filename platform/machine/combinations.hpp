#pragma once
#include <vector>

#include "config.hpp"

namespace vmxsys::platform {

/// Combinations that cannot be, of values each of which is legal. A combination is not reported when a path it needs
/// (or something above or below it) is in `already`, because its value is then unknown.
void check_combinations(const run_config& config, const catalogues& from, const std::vector<config_error>& already,
                        std::vector<config_error>& errors);

/// What is legal and probably not meant: the configuration runs. Leaves out what `already` doubts, as above.
void collect_warnings(const run_config& config, const catalogues& from, const std::vector<config_error>& already,
                      std::vector<config_error>& warnings);

}  // namespace vmxsys::platform
