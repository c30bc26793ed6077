#include <algorithm>
#include <cmath>
#include <map>

#include <vmxsys/platform/observe/report/report.hpp>
#include <vmxsys/platform/observe/report/svg.hpp>

#include "detail/study_ple_storm.hpp"

// The picture of the study: two panels of an SVG file.
namespace vmxsys::platform {

namespace {

constexpr double width = 960;
constexpr double left = 205;
constexpr double right = 30;

constexpr const char* guest_colour = "#e8853a";
constexpr const char* host_colour = "#3a6ea8";
constexpr const char* off_colour = "#ececec";
constexpr const char* storm_colour = "#b5483a";
constexpr const char* calm_colour = "#6a9a58";
constexpr const char* grid_colour = "#ddd";

double draw_lanes(svg& out, const ple_storm_excerpt& excerpt, const ple_storm_case& of, const run_result& result,
                  double y) {
  out.text(20, y,
           "Who has the CPU: " + std::to_string(result.longest_exit_streak) + " PAUSE exits in a row at one address (" +
               of.placement + ", " + of.policy + "; the first of them)",
           "font-size=\"15\" font-weight=\"bold\"");
  y += 22;
  double end = 1;
  std::map<std::string, bool> lanes;
  for (const lane_segment& s : excerpt.segments) {
    end = std::max(end, s.to_us);
    lanes[s.lane] = true;
  }
  const double scale = (width - left - right) / end;
  for (const auto& [lane, unused] : lanes) {
    out.text(20, y + 17, lane);
    out.bar(left, y, width - left - right, 24, off_colour);
    for (const lane_segment& s : excerpt.segments)
      if (s.lane == lane)
        out.bar(left + s.from_us * scale, y, (s.to_us - s.from_us) * scale, 24,
                s.state == "guest" ? guest_colour : host_colour);
    y += 32;
  }
  const double step = std::pow(10.0, std::floor(std::log10(end / 2)));
  for (double t = 0; t <= end; t += step) {
    const double x = left + t * scale;
    out.line(x, y - 4, x, y + 2);
    out.text(x, y + 15, std::to_string(static_cast<int>(t)) + " us", "text-anchor=\"middle\" fill=\"#555\"");
  }
  y += 36;
  out.bar(left, y - 11, 14, 14, guest_colour);
  out.text(left + 20, y, "in the guest, spinning");
  out.bar(left + 180, y - 11, 14, 14, host_colour);
  out.text(left + 200, y, "in the host: exit, handler, switch, entry");
  out.bar(left + 470, y - 11, 14, 14, off_colour);
  out.text(left + 490, y, "switched out");
  return y + 40;
}

std::string group_of(const ple_storm_case& c) {
  return c.placement + (c.grow == 0 ? ", fixed window" : ", doubling window");
}

double draw_cases(svg& out, const std::vector<ple_storm_case>& cases, const std::vector<run_result>& results,
                  double y) {
  constexpr double row = 18, heading = 24, labels = 150;
  out.text(20, y, "PLE exits of each case (logarithmic), with the longest run of one vCPU at one RIP",
           "font-size=\"15\" font-weight=\"bold\"");
  y += 24;
  out.bar(left, y - 11, 14, 14, storm_colour);
  out.text(left + 20, y, "with runs of more than 100 exits");
  out.bar(left + 280, y - 11, 14, 14, calm_colour);
  out.text(left + 300, y, "without");
  y += 26;

  std::uint64_t most = 10;
  for (const run_result& r : results) most = std::max(most, r.ple_exits);
  const double decades = std::ceil(std::log10(static_cast<double>(most)));
  const double scale = (width - left - right - labels) / decades;
  double height = 0;
  for (std::size_t i = 0; i < cases.size(); ++i)
    height += row + (i == 0 || group_of(cases[i]) != group_of(cases[i - 1]) ? heading : 0);
  std::uint64_t count = 1;
  for (int d = 0; d <= static_cast<int>(decades); ++d, count *= 10) {
    const double x = left + d * scale;
    out.text(x, y, grouped(count), "text-anchor=\"middle\" font-size=\"11\" fill=\"#555\"");
    out.line(x, y + 5, x, y + 5 + height, grid_colour);
  }
  y += 5;

  for (std::size_t i = 0; i < cases.size(); ++i) {
    const run_result& r = results[i];
    if (i == 0 || group_of(cases[i]) != group_of(cases[i - 1])) {
      y += heading;
      out.text(20, y - 6, group_of(cases[i]), "font-weight=\"bold\" font-size=\"12\"");
    }
    out.text(36, y + 12, cases[i].policy, "font-size=\"12\"");
    const double w = std::log10(static_cast<double>(std::max<std::uint64_t>(1, r.ple_exits))) * scale;
    if (r.ple_exits != 0) out.bar(left, y, w, 14, r.exit_streaks_over_100 != 0 ? storm_colour : calm_colour);
    out.text(left + 8 + w, y + 12,
             cases[i].policy == "none" ? "PLE off"
             : r.ple_exits == 0        ? "none"
                                       : grouped(r.ple_exits) + ", longest " + grouped(r.longest_exit_streak),
             "font-size=\"11\" fill=\"#333\" stroke=\"#fff\" stroke-width=\"3\" paint-order=\"stroke\"");
    y += row;
  }
  return y + 16;
}

}  // namespace

std::string ple_storm_picture(const std::vector<ple_storm_case>& cases, const std::vector<run_result>& results,
                              const ple_storm_excerpt& excerpt, std::optional<std::size_t> excerpt_of) {
  svg out;
  double y = 30;
  if (excerpt_of) y = draw_lanes(out, excerpt, cases[*excerpt_of], results[*excerpt_of], y);
  y = draw_cases(out, cases, results, y);
  return out.finish(width, y);
}

}  // namespace vmxsys::platform
