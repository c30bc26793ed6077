#include "detector_scores.hpp"

#include <algorithm>

#include <vmxsys/vmx/spin_detectors/catalogue.hpp>

namespace vmxsys::platform {

detector_scores::detector_scores(const simulation& of) : of_{of} {
  for (const observer_config& o : of.config().machine.observers) {
    score s;
    const auto detector = of.names().spin_detectors.select(o.detector);
    s.row.name = detector.name();
    for (const setting& given : o.detector.options) s.row.name += ' ' + given.name + '=' + given.value.to_string();
    s.row.gap = o.gap;
    s.row.window = o.window;
    s.row.state_bits = detector.make()->state_bits();
    scores_.push_back(std::move(s));
  }
}

void detector_scores::on_detection(const cpu::spin_detected_fact& f, cycles at) {
  if (f.episode == 0 || f.detector >= scores_.size()) return;
  std::vector<answers>& all = open_[f.episode];
  if (all.empty()) all.resize(scores_.size());
  answers& a = all[f.detector];
  ++a.count;
  if (f.futile == 0) {
    if (a.in_vain == cycles::never()) ++a.early;
  } else if (a.in_vain == cycles::never()) {
    a.in_vain = at;
  }
}

void detector_scores::on_spin(const cpu::spin_fact& f) {
  if (f.non_root == 0 || scores_.empty()) return;
  const auto said = open_.extract(f.episode);
  if (f.began < from_) return;
  const bool futile = f.futile_since != cycles::never();
  ++waits_;
  futile_waits_ += futile;
  for (std::size_t i = 0; i < scores_.size(); ++i) {
    detector_row& row = scores_[i].row;
    const answers a = said.empty() ? answers{} : said.mapped()[i];
    row.answers += a.count;
    if (futile) {
      ++(a.count != 0 ? row.true_positives : row.false_negatives);
      row.early += a.early != 0;
      if (a.in_vain != cycles::never()) scores_[i].latencies.push_back((a.in_vain - f.futile_since).count());
    } else {
      ++(a.count != 0 ? row.false_positives : row.true_negatives);
    }
  }
}

std::vector<detector_row> detector_scores::rows() const {
  std::vector<detector_row> rows;
  for (const score& s : scores_) {
    detector_row row = s.row;
    const std::uint64_t said = row.true_positives + row.false_positives;
    const std::uint64_t futile = row.true_positives + row.false_negatives;
    if (said != 0) row.precision = static_cast<double>(row.true_positives) / static_cast<double>(said);
    if (futile != 0) row.recall = static_cast<double>(row.true_positives) / static_cast<double>(futile);
    if (!s.latencies.empty()) {
      std::vector<std::uint64_t> sorted = s.latencies;
      std::sort(sorted.begin(), sorted.end());
      const auto ns = [&](std::size_t at) { return to_nanoseconds(cycles{sorted[at]}, of_.preset().tsc_khz); };
      row.latency_median_ns = ns((sorted.size() - 1) / 2);
      row.latency_p90_ns = ns((sorted.size() - 1) * 9 / 10);
      row.latency_max_ns = ns(sorted.size() - 1);
      row.answered_in_vain = sorted.size();
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace vmxsys::platform
