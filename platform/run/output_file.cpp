#include "output_file.hpp"

#include <cerrno>
#include <cstring>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace vmxsys::platform {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const fs::path& path, const std::string& reason) {
  throw file_error{"cannot write " + path.string() + ": " + reason};
}

std::string reason_of(int error) { return std::generic_category().message(error); }

}  // namespace

output_file::output_file(fs::path path) : path_{std::move(path)} {
  std::error_code error;
  if (path_.filename().empty()) fail(path_, "a file name is needed");
  const fs::file_status status = fs::status(path_, error);
  if (fs::exists(status) && !fs::is_regular_file(status)) fail(path_, "it exists and is not a regular file");
  // A name nobody else has, made in one step: two runs into one directory do not meet.
  const std::string pattern = path_.string() + ".part-XXXXXX";
  std::vector<char> name{pattern.begin(), pattern.end()};
  name.push_back('\0');
  const int descriptor = ::mkstemp(name.data());
  if (descriptor < 0) fail(path_, reason_of(errno));
  ::close(descriptor);
  temporary_ = name.data();
  pending_ = true;
  // mkstemp makes a private file; a result has the ordinary permissions.
  const ::mode_t mask = ::umask(0);
  ::umask(mask);
  fs::permissions(temporary_, static_cast<fs::perms>(0666 & ~mask), error);
  errno = 0;
  stream_.open(temporary_, std::ios::binary | std::ios::trunc);
  if (!stream_) {
    const std::string reason = reason_of(errno ? errno : EIO);
    fs::remove(temporary_, error);
    fail(path_, reason);
  }
}

output_file::output_file(output_file&& other) noexcept
    : path_{std::move(other.path_)},
      temporary_{std::move(other.temporary_)},
      stream_{std::move(other.stream_)},
      pending_{std::exchange(other.pending_, false)} {}

output_file::~output_file() {
  if (!pending_) return;
  stream_.close();
  std::error_code error;
  fs::remove(temporary_, error);
}

void output_file::commit() {
  if (!pending_) return;
  // A write that failed earlier is tried once more: the reason is no longer known.
  const bool failed = !stream_;
  stream_.clear();
  errno = 0;
  stream_.close();
  if (failed || !stream_) fail(path_, reason_of(errno ? errno : EIO));
  std::error_code error;
  fs::rename(temporary_, path_, error);
  if (error) fail(path_, error.message());
  pending_ = false;
}

output_directory::output_directory(fs::path path) : path_{std::move(path)} {
  std::error_code error;
  fs::create_directories(path_, error);
  if (!fs::is_directory(path_)) fail(path_, error ? error.message() : "it exists and is no directory");
  const output_file probe{path_ / "probe"};  // removed again
}

void output_directory::write(std::string_view name, std::string_view text) const {
  output_file file = open(name);
  file.stream() << text;
  file.commit();
}

}  // namespace vmxsys::platform
