#include <algorithm>

#include <vmxsys/platform/observe/report/svg.hpp>

#include "detail/study_timer_ladder.hpp"

// The picture of the study: lateness of each rung, computing and halted, and its exits.
namespace vmxsys::platform {

namespace {

constexpr double width = 1080;
constexpr double left = 230;
constexpr double row = 26;
constexpr double bar_width = 560;
constexpr const char* colour_of_computing = "#3a6ea8";
constexpr const char* colour_of_halted = "#d98b3a";

double draw(svg& out, const timer_ladder_output& s, double y, const char* title, const char* colour,
            timer_timing_result timer_rung_results::*which) {
  out.text(20, y, title, "font-size=\"15\" font-weight=\"bold\"");
  out.text(width - 20, y, "exits: arm + until fired", "text-anchor=\"end\" font-size=\"12\" fill=\"#555\"");
  y += 14;
  std::uint64_t most = 1;
  for (const timer_rung_results& r : s.results) most = std::max(most, (r.*which).late.p99);
  const double scale = bar_width / static_cast<double>(most);
  for (std::size_t i = 0; i < s.rungs.size(); ++i) {
    const timer_timing_result& r = s.results[i].*which;
    const double median = static_cast<double>(r.late.median) * scale, p99 = static_cast<double>(r.late.p99) * scale;
    out.text(left - 10, y + 16, s.rungs[i].name, "text-anchor=\"end\" font-size=\"12\"");
    out.bar(left, y, median, row - 6, colour);
    if (!r.late.empty()) out.line(left + p99, y, left + p99, y + row - 6, "#333");
    out.text(left + std::max(median, p99) + 8, y + 15, r.late.empty() ? "no samples" : std::to_string(r.late.median),
             "font-size=\"12\"");
    out.text(width - 20, y + 15, shown_count(r.arming) + " + " + shown_count(r.firing),
             "text-anchor=\"end\" font-size=\"12\"");
    y += row;
  }
  return y + 36;
}

}  // namespace

std::string timer_ladder_picture(const timer_ladder_output& s) {
  svg out;
  double y = draw(out, s, 30, "How late a timer is while the CPU computes (TSC cycles; bar: median, line: 99 %)",
                  colour_of_computing, &timer_rung_results::computing);
  y = draw(out, s, y, "The same while the CPU is halted", colour_of_halted, &timer_rung_results::halted);
  return out.finish(width, y);
}

}  // namespace vmxsys::platform
