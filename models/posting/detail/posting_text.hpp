#pragma once
#include <string>

namespace vmxsys::models {

// Parts of a line, put together only where a log is read.
struct vector_text {
  unsigned value;
};
inline void append(std::string& to, const char* text) { to += text; }
inline void append(std::string& to, unsigned number) { to += std::to_string(number); }
inline void append(std::string& to, vector_text v) {
  constexpr const char* digits = "0123456789abcdef";
  to += {'0', 'x', digits[v.value >> 4 & 15], digits[v.value & 15]};
}
template <class... Parts>
std::string line_of(const Parts&... parts) {
  std::string line;
  (append(line, parts), ...);
  return line;
}

}  // namespace vmxsys::models
