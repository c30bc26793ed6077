#include "output_file.hpp"

#include <array>
#include <cerrno>
#include <streambuf>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace vmxsys::platform {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void fail(const std::string& name, const std::string& reason) {
  throw file_error{"cannot write " + name + ": " + reason};
}
[[noreturn]] void fail(const fs::path& path, const std::string& reason) { fail(path.string(), reason); }

std::string reason_of(int error) { return std::generic_category().message(error); }

}  // namespace

// -- descriptor_stream ------------------------------------------------------------------------------------------------

class descriptor_stream::buffer final : public std::streambuf {
 public:
  buffer(int descriptor, std::string name) : descriptor_{descriptor}, name_{std::move(name)} { empty(); }

 private:
  int_type overflow(int_type c) override {
    write_out();
    if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
    return traits_type::not_eof(c);
  }
  int sync() override {
    write_out();
    return 0;
  }

  void empty() { setp(text_.data(), text_.data() + text_.size()); }
  void write_out() {
    const char* at = pbase();
    const char* const end = pptr();
    empty();
    while (at != end && !failed_) {
      const ssize_t n = ::write(descriptor_, at, static_cast<std::size_t>(end - at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        failed_ = true;
        platform::fail(name_, reason_of(n < 0 ? errno : EIO));
      }
      at += n;
    }
  }

  int descriptor_;
  std::string name_;
  bool failed_ = false;
  std::array<char, 65536> text_;
};

descriptor_stream::descriptor_stream(int descriptor, std::string name)
    : std::ostream{nullptr}, buffer_{std::make_unique<buffer>(descriptor, std::move(name))} {
  rdbuf(buffer_.get());
  exceptions(std::ios::badbit);  // so that what the buffer throws comes through
}

descriptor_stream::~descriptor_stream() {
  try {
    buffer_->pubsync();
  } catch (const file_error&) {
  }
}

// -- output_file ------------------------------------------------------------------------------------------------------

output_file::output_file(fs::path path) : path_{std::move(path)} {
  std::error_code error;
  if (path_.filename().empty()) fail(path_, "a file name is needed");
  const fs::file_status status = fs::status(path_, error);
  if (fs::exists(status) && !fs::is_regular_file(status)) fail(path_, "it exists and is not a regular file");
  // A name that no other process has, made in one step: two runs into one directory do not meet.
  std::string name = path_.string() + ".part-XXXXXX";
  descriptor_ = ::mkstemp(name.data());
  if (descriptor_ < 0) fail(path_, reason_of(errno));
  temporary_ = name;
  pending_ = true;
  // mkstemp makes a private file; a result has the ordinary permissions.
  const ::mode_t mask = ::umask(0);
  ::umask(mask);
  fs::permissions(temporary_, static_cast<fs::perms>(0666 & ~mask), error);
  stream_ = std::make_unique<descriptor_stream>(descriptor_, path_.string());
}

output_file::output_file(output_file&& other) noexcept
    : path_{std::move(other.path_)},
      temporary_{std::move(other.temporary_)},
      descriptor_{std::exchange(other.descriptor_, -1)},
      stream_{std::move(other.stream_)},
      pending_{std::exchange(other.pending_, false)},
      fresh_{other.fresh_} {}

output_file::~output_file() {
  stream_.reset();
  if (descriptor_ >= 0) ::close(descriptor_);
  std::error_code error;
  if (pending_) fs::remove(temporary_, error);
}

void output_file::close() {
  if (descriptor_ < 0) return;
  stream_->flush();
  if (::close(std::exchange(descriptor_, -1)) != 0 && errno != EINTR) fail(path_, reason_of(errno));
}

void output_file::publish() {
  std::error_code error;
  fresh_ = !fs::exists(path_, error);
  fs::rename(temporary_, path_, error);
  if (error) fail(path_, error.message());
  pending_ = false;
}

void output_file::withdraw() noexcept {
  std::error_code error;
  if (!pending_ && fresh_) fs::remove(path_, error);
}

void output_file::commit() {
  if (!pending_) return;
  close();
  publish();
}

// -- output_files -----------------------------------------------------------------------------------------------------

std::ostream& output_files::add(fs::path path) {
  files_.push_back(std::make_unique<output_file>(std::move(path)));
  return files_.back()->stream();
}

void output_files::add(fs::path path, std::string_view text) { add(std::move(path)) << text; }

void output_files::commit() {
  for (auto& f : files_) f->close();
  try {
    for (auto& f : files_) f->publish();
  } catch (const file_error&) {
    for (auto& f : files_) f->withdraw();
    throw;
  }
  files_.clear();
}

// -- output_directory -------------------------------------------------------------------------------------------------

output_directory::made_directories::~made_directories() {
  for (const fs::path& d : innermost_first) ::rmdir(d.c_str());  // not if there is something in it
}

output_directory::output_directory(fs::path path) : path_{std::move(path)} {
  std::error_code error;
  for (fs::path p = path_; !p.empty() && !fs::exists(p, error); p = p.parent_path()) made_.innermost_first.push_back(p);
  fs::create_directories(path_, error);
  if (!fs::is_directory(path_)) fail(path_, error ? error.message() : "it exists and is no directory");
  const output_file probe{path_ / "probe"};  // removed again
}

}  // namespace vmxsys::platform
