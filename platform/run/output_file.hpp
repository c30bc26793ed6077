#pragma once
#include <filesystem>
#include <fstream>
#include <iosfwd>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace vmxsys::platform {

/// A file or directory that cannot be read, made or written; exit status 3. what() names the path and the reason.
class file_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A result file that is either whole or not there. Opening it proves that it can be written; what is written goes to
/// a temporary name beside it, and commit() renames. Without commit() (an exception, an interrupted run) nothing is
/// left behind and an older file of the name stays as it was.
class output_file {
 public:
  /// Throws file_error when the directory is missing or not writable, or `path` is not a regular file.
  explicit output_file(std::filesystem::path path);
  output_file(output_file&&) noexcept;
  output_file& operator=(output_file&&) = delete;
  ~output_file();

  std::ostream& stream() noexcept { return stream_; }
  const std::filesystem::path& path() const noexcept { return path_; }

  /// Flushes, closes and renames. Throws file_error, for instance when the disk is full.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  std::ofstream stream_;
  bool pending_ = false;
};

/// Where a run puts its results (`--out DIR`).
class output_directory {
 public:
  /// Makes the directory, parents included, if it is missing, and tries a file in it. Throws file_error.
  explicit output_directory(std::filesystem::path path);

  const std::filesystem::path& path() const noexcept { return path_; }
  output_file open(std::string_view name) const { return output_file{path_ / std::filesystem::path{name}}; }
  /// Writes a whole small file at once.
  void write(std::string_view name, std::string_view text) const;

 private:
  std::filesystem::path path_;
};

}  // namespace vmxsys::platform
