#include <vmxsys/platform/observe/report/report.hpp>
#include <vmxsys/platform/observe/report/svg.hpp>

#include "detail/study_detectors.hpp"

// The picture of the study: a table of shaded cells, and two curves.
namespace vmxsys::platform {

namespace {

constexpr double width = 1080;
constexpr double left = 270;
constexpr double row = 26;

/// White to full colour; grey where there is nothing to be a share of.
std::string shade(const std::optional<double>& share, bool good) {
  if (!share) return "#eee";
  const auto mix = [&](int to) { return 255 - static_cast<int>((255 - to) * *share); };
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", mix(good ? 0x4a : 0xc8), mix(good ? 0x8f : 0x55),
                mix(good ? 0x52 : 0x3d));
  return text;
}

double draw_table(svg& out, const detectors_output& s, double y) {
  const double cell = (width - left - 20) / static_cast<double>(s.cases.size());
  out.text(20, y, "Who sees that a wait is in vain: recall (left, green) and false alarms (right, red)",
           "font-size=\"15\" font-weight=\"bold\"");
  y += 30;
  for (std::size_t c = 0; c < s.cases.size(); ++c)
    out.text(left + (static_cast<double>(c) + 0.5) * cell, y, s.cases[c].name,
             "text-anchor=\"middle\" font-size=\"12\" font-weight=\"bold\"");
  y += 10;
  for (std::size_t d = 0; d < s.results.front().detection.detectors.size(); ++d) {
    out.text(20, y + 17, s.results.front().detection.detectors[d].name, "font-size=\"12\"");
    for (std::size_t c = 0; c < s.cases.size(); ++c) {
      const detector_row& r = s.results[c].detection.detectors[d];
      const double x = left + static_cast<double>(c) * cell, half = (cell - 8) / 2;
      const std::uint64_t negative = r.false_positives + r.true_negatives;
      std::optional<double> alarms;
      if (negative != 0) alarms = static_cast<double>(r.false_positives) / static_cast<double>(negative);
      out.bar(x, y, half, row - 3, shade(r.recall, true).c_str());
      out.bar(x + half, y, half, row - 3, shade(alarms, false).c_str());
      out.text(x + half / 2, y + 16, optional_percent(r.recall), "text-anchor=\"middle\" font-size=\"11\"");
      out.text(x + half * 1.5, y + 16, optional_percent(alarms), "text-anchor=\"middle\" font-size=\"11\"");
    }
    y += row;
  }
  return y + 40;
}

void draw_curve(svg& out, const std::vector<sweep_point>& points, const std::string& title, const std::string& axis,
                double x0, double y, double mark) {
  constexpr double w = 430, h = 170;
  out.text(x0, y, title, "font-size=\"13\" font-weight=\"bold\"");
  y += 14;
  const double low = points.front().x, high = points.back().x;
  const auto at_x = [&](double x) { return x0 + 40 + (x - low) / (high - low) * (w - 60); };
  const auto at_y = [&](double share) { return y + h - share * (h - 12); };
  for (const double share : {0.0, 0.5, 1.0}) {
    out.line(x0 + 40, at_y(share), x0 + w - 20, at_y(share), "#ddd");
    out.text(x0 + 34, at_y(share) + 4, percent(share), "text-anchor=\"end\" font-size=\"11\" fill=\"#555\"");
  }
  out.line(at_x(mark), at_y(0), at_x(mark), at_y(1), "#b5483a");
  for (std::size_t i = 0; i + 1 < points.size(); ++i)
    out.line(at_x(points[i].x), at_y(points[i].recall.value_or(0)), at_x(points[i + 1].x),
             at_y(points[i + 1].recall.value_or(0)), "#3a6ea8");
  for (const sweep_point& p : points) out.bar(at_x(p.x) - 2.5, at_y(p.recall.value_or(0)) - 2.5, 5, 5, "#3a6ea8");
  for (const double x : {low, mark, high})
    out.text(at_x(x), y + h + 16, std::to_string(static_cast<int>(x)),
             "text-anchor=\"middle\" font-size=\"11\" fill=\"#555\"");
  out.text(x0 + w / 2, y + h + 34, axis, "text-anchor=\"middle\" font-size=\"12\" fill=\"#555\"");
}

}  // namespace

std::string detectors_picture(const detectors_output& s) {
  svg out;
  double y = draw_table(out, s, 30);
  const std::string gap = std::to_string(vmx::default_ple_gap);
  if (s.gaps.size() > 1)
    draw_curve(out, s.gaps, "Recall of pause_loop_exiting, PAUSE of 140 cycles",
               "PLE_Gap in cycles (" + gap + ": KVM's default)", 20, y, vmx::default_ple_gap);
  if (s.clocks.size() > 1)
    draw_curve(out, s.clocks, "The same at PLE_Gap " + gap, "core clock in percent of the TSC's", 540, y,
               s.clocks.front().x);
  return out.finish(width, y + 240);
}

}  // namespace vmxsys::platform
