#pragma once
#include <algorithm>
#include <cstdio>
#include <string>

namespace vmxsys::platform {

/// A picture in the making: shapes in the order in which they are drawn.
class svg {
 public:
  void text(double x, double y, const std::string& words, const char* extra = "") {
    print("<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, extra);
    body_ += words + "</text>\n";
  }
  void bar(double x, double y, double w, double h, const char* colour) {
    print("<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, std::max(w, 0.4), h,
          colour);
  }
  void line(double x1, double y1, double x2, double y2, const char* colour = "#bbb") {
    print("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1, y1, x2, y2, colour);
  }
  std::string finish(double width, double height) const {
    char head[300];
    std::snprintf(head, sizeof head,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" "
                  "font-size=\"13\">\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
                  width, height);
    return head + body_ + "</svg>\n";
  }

 private:
  template <class... A>
  void print(const char* format, A... values) {
    char buffer[256];
    std::snprintf(buffer, sizeof buffer, format, values...);
    body_ += buffer;
  }
  std::string body_;
};

}  // namespace vmxsys::platform
