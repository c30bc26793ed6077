#include <algorithm>

#include <vmxsys/platform/observe/report/report.hpp>
#include <vmxsys/platform/observe/report/svg.hpp>

#include "detail/study_ipi_ladder.hpp"

// The picture of the study: one stacked bar a rung for one target, two plain ones for many.
namespace vmxsys::platform {

namespace {

constexpr double width = 1080;
constexpr double left = 250;
constexpr double row = 24;
constexpr const char* colour_of_send = "#3a6ea8";
constexpr const char* colour_of_flight = "#c9c9c9";
constexpr const char* colour_of_receive = "#d98b3a";
constexpr const char* heading = "font-size=\"15\" font-weight=\"bold\"";

std::string exits(const ipi_timing_result& r) { return shown_count(r.sending) + " + " + shown_count(r.receiving); }

double draw_unicast(svg& out, const ipi_ladder_output& s, double y) {
  constexpr double bar_width = 620;
  out.text(20, y, "One target: where the latency goes (TSC cycles, medians), and exits at sender + receiver", heading);
  y += 24;
  double x = left;
  for (const auto& [colour, name] :
       {std::pair{colour_of_send, "send"}, {colour_of_flight, "flight"}, {colour_of_receive, "receive"}}) {
    out.bar(x, y - 10, 12, 12, colour);
    out.text(x + 18, y, name, "font-size=\"12\"");
    x += 90;
  }
  y += 12;
  std::uint64_t most = 1;
  for (const ipi_rung_results& r : s.results) most = std::max(most, r.unicast.latency.median);
  const double scale = bar_width / static_cast<double>(most);
  for (std::size_t i = 0; i < s.rungs.size(); ++i) {
    const ipi_timing_result& r = s.results[i].unicast;
    out.text(left - 10, y + 15, s.rungs[i].name, "text-anchor=\"end\" font-size=\"12\"");
    double at = left;
    for (const auto& [part, colour] :
         {std::pair{&r.send, colour_of_send}, {&r.flight, colour_of_flight}, {&r.receive, colour_of_receive}}) {
      const double length = static_cast<double>(part->median) * scale;
      out.bar(at, y, length, row - 5, colour);
      if (length > 34)
        out.text(at + length / 2, y + 14, std::to_string(part->median), "text-anchor=\"middle\" font-size=\"11\"");
      at += length;
    }
    out.text(at + 8, y + 14, r.latency.empty() ? "no samples" : std::to_string(r.latency.median),
             "font-size=\"12\" font-weight=\"bold\"");
    out.text(width - 20, y + 14, exits(r), "text-anchor=\"end\" font-size=\"12\"");
    y += row;
  }
  return y + 36;
}

double draw_many(svg& out, const ipi_ladder_output& s, double y, const char* title,
                 ipi_timing_result ipi_rung_results::*fan) {
  constexpr double bar_width = 560;
  out.text(20, y, title, heading);
  y += 14;
  const auto us = [](const cycle_summary& of, const ipi_timing_result& r) {
    return of.empty() ? 0 : static_cast<double>(of.median) * 1e3 / static_cast<double>(r.tsc_khz);
  };
  double most = 1e-3;  // without samples, too
  for (const ipi_rung_results& r : s.results) most = std::max(most, us((r.*fan).last, r.*fan));
  for (std::size_t i = 0; i < s.rungs.size(); ++i) {
    const ipi_timing_result& r = s.results[i].*fan;
    out.text(left - 10, y + 15, s.rungs[i].name, "text-anchor=\"end\" font-size=\"12\"");
    const double sender = us(r.sender, r) / most * bar_width, last = us(r.last, r) / most * bar_width;
    out.bar(left, y, sender, (row - 5) / 2, colour_of_send);
    out.bar(left, y + (row - 5) / 2, last, (row - 5) / 2, colour_of_receive);
    const auto time = [&](const cycle_summary& of) {
      return of.empty() ? std::string{"no samples"} : readable_ns(1e3 * us(of, r));
    };
    out.text(left + std::max(sender, last) + 8, y + 14, time(r.sender) + " / " + time(r.last), "font-size=\"11\"");
    out.text(width - 20, y + 14, exits(r), "text-anchor=\"end\" font-size=\"12\"");
    y += row;
  }
  return y + 36;
}

}  // namespace

std::string ipi_ladder_picture(const ipi_ladder_output& s) {
  svg out;
  double y = draw_unicast(out, s, 30);
  const std::uint64_t targets = targets_of(with_fan(s.rungs[0].config, ipi_fan::multicast));
  const std::string many = "To " + std::to_string(targets) +
                           " targets: until the sender goes on (blue), until the last is reached (orange); exits at "
                           "sender + each target";
  y = draw_many(out, s, y, many.c_str(), &ipi_rung_results::multicast);
  const std::string all = "To all " + std::to_string(s.rungs[0].config.vms[0].vcpus - 1) + " others, by shorthand";
  y = draw_many(out, s, y, all.c_str(), &ipi_rung_results::broadcast);
  return out.finish(width, y);
}

}  // namespace vmxsys::platform
