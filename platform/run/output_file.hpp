#pragma once
#include <filesystem>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace vmxsys::platform {

/// A file or directory that cannot be read, made or written; exit status 3. what() names the path and the reason.
class file_error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Text on its way to an open descriptor, which stays its owner's. The operation at which a write fails throws
/// file_error with the name and the reason that the system gave (no space left, too large, a quota); what is written
/// afterwards is dropped.
class descriptor_stream final : public std::ostream {
 public:
  descriptor_stream(int descriptor, std::string name);
  descriptor_stream(const descriptor_stream&) = delete;
  descriptor_stream& operator=(const descriptor_stream&) = delete;
  /// Writes what is still here, and does not say if that fails: flush() before.
  ~descriptor_stream() override;

 private:
  class buffer;
  std::unique_ptr<buffer> buffer_;
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

  /// Throws file_error where a write fails, for instance because the disk is full.
  std::ostream& stream() noexcept { return *stream_; }
  const std::filesystem::path& path() const noexcept { return path_; }

  /// Flushes, closes and renames. Throws file_error.
  void commit();

 private:
  friend class output_files;
  void close();
  void publish();
  void withdraw() noexcept;

  std::filesystem::path path_, temporary_;
  int descriptor_ = -1;
  std::unique_ptr<descriptor_stream> stream_;
  bool pending_ = false;
  bool fresh_ = false;  // nothing had its name before it was published
};

/// The result files of one command: all of them appear, or none.
class output_files {
 public:
  /// One more, written through its stream, or with all of its text. Throws file_error as output_file does.
  std::ostream& add(std::filesystem::path path);
  void add(std::filesystem::path path, std::string_view text);
  /// Gives all of them their names once each is on the disk. Throws file_error; what had no such name before has none
  /// then.
  void commit();

 private:
  std::vector<std::unique_ptr<output_file>> files_;
};

/// Where a run puts its results (`--out DIR`). A directory that it had to make goes again if nothing is in it when this
/// object does.
class output_directory {
 public:
  /// Makes the directory, parents included, if it is missing, and tries a file in it. Throws file_error.
  explicit output_directory(std::filesystem::path path);

  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  class made_directories {
   public:
    made_directories() = default;
    made_directories(const made_directories&) = delete;
    made_directories& operator=(const made_directories&) = delete;
    ~made_directories();
    std::vector<std::filesystem::path> innermost_first;
  };

  std::filesystem::path path_;
  made_directories made_;
};

}  // namespace vmxsys::platform
