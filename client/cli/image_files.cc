#include "client/cli/image_files.h"

#include "client/cli/output_target.h"
#include "client/cli/standard_streams.h"
#include "client/cli/temporary_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace tightfit::cli {
namespace {

namespace fs = std::filesystem;

void Remove(const fs::path& temporary) {
  unlink(temporary.c_str());
  ForgetTemporary(temporary);
}

// Writes all of `content` to a new file in `folder` and names it in `path`. The caller renames it,
// and calls Remove in any case.
Status WriteTemporary(const fs::path& folder, const std::string& content, fs::path* path) {
  std::string name = (folder / ".tightfit-XXXXXX").string();
  const int file = mkostemp(name.data(), O_CLOEXEC);
  if (file < 0) return CannotWrite(folder.empty() ? "." : folder, std::strerror(errno));
  TrackTemporary(name);
  *path = name;
  const char* next = content.data();
  size_t left = content.size();
  while (left > 0) {
    const ssize_t written = write(file, next, left);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) break;
    next += written;
    left -= static_cast<size_t>(written);
  }
  int error = left > 0 ? errno : 0;
  // mkostemp makes files private; an image gets what the user's umask allows.
  const mode_t mask = umask(0);
  umask(mask);
  if (error == 0 && fchmod(file, 0666 & ~mask) != 0) error = errno;
  if (close(file) != 0 && error == 0) error = errno;
  if (error == 0) return OkStatus();
  Remove(name);
  return CannotWrite(name, std::strerror(error));
}

// Renames unless `to` exists; EEXIST then.
int RenameNew(const fs::path& from, const fs::path& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  // File systems without RENAME_NOREPLACE: a hard link also refuses an existing name.
  if (link(from.c_str(), to.c_str()) != 0) return errno;
  unlink(from.c_str());
  return 0;
}

// Puts `content` in the place of the file `path`, or into what else has that name.
Status Replace(const fs::path& path, const std::string& content) {
  TF_ASSIGN_OR_RETURN(const OutputTarget target, ResolveOutput(path));
  if (target.is_stream) return WriteIntoStream(target.path, content);
  fs::path temporary;
  TF_RETURN_IF_ERROR(WriteTemporary(target.path.parent_path(), content, &temporary));
  const int error = rename(temporary.c_str(), target.path.c_str()) == 0 ? 0 : errno;
  Remove(temporary);
  if (error == 0) return OkStatus();
  return CannotWrite(path, std::strerror(error));
}

// Writes to the first of these names that nothing has: STEM.png, STEM-2.png, ...
Result<std::string> WriteNew(const fs::path& folder, const std::string& stem,
                             const std::string& content) {
  fs::path temporary;
  TF_RETURN_IF_ERROR(WriteTemporary(folder, content, &temporary));
  fs::path path;
  int error = EEXIST;
  for (int number = 1; error == EEXIST; ++number) {
    path = folder / fmt::format("{}{}.png", stem, number == 1 ? "" : fmt::format("-{}", number));
    error = RenameNew(temporary, path);
  }
  Remove(temporary);
  if (error == 0) return path.string();
  return CannotWrite(path, std::strerror(error));
}

bool IsOfAnotherFormat(const fs::path& path) {
  for (const char* other : {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif", ".tiff"}) {
    if (path.extension() == other) return true;
  }
  return false;
}

}  // namespace

Result<ImageFiles> ImageFiles::Create(const std::optional<std::string>& output) {
  ImageFiles files;
  fs::path checked = ".";
  if (output == "-") {
    files.is_stdout_ = true;
    return files;
  }
  if (output.has_value()) {
    std::error_code ignored;
    const fs::path path(*output);
    if (path.empty()) return InvalidArgument("the output has no name");
    if (fs::is_directory(path, ignored)) {
      files.folder_ = path;
      checked = path;
    } else if (output->ends_with('/')) {
      files.folder_ = path;
      checked = path;
      std::error_code error;
      fs::create_directory(path.parent_path(), error);
      if (error) return CannotWrite(path, std::strerror(error.value()));
    } else {
      if (IsOfAnotherFormat(path)) {
        return InvalidArgument(fmt::format("{}: images are PNG; name it .png", *output));
      }
      files.folder_ = path.parent_path();
      files.file_ = path.filename();
      TF_ASSIGN_OR_RETURN(const OutputTarget target, ResolveOutput(path));
      if (target.is_stream) {
        files.stream_ = target.path;
        files.is_stdout_ = target.is_stdout;
        if (access(target.path.c_str(), W_OK) == 0) return files;
        return CannotWrite(path, std::strerror(errno));
      }
      const fs::path folder = target.path.parent_path();
      if (!folder.empty()) checked = folder;
    }
  }
  if (access(checked.c_str(), W_OK | X_OK) != 0) {
    return CannotWrite(checked, std::strerror(errno));
  }
  return files;
}

Result<std::string> ImageFiles::Write(const client::Image& image, int32_t image_count) const {
  if (is_stdout_) {
    if (WriteOutput(image.content)) return std::string("-");
    return CannotWrite("stdout", "it does not take it");
  }
  if (!stream_.empty()) {
    TF_RETURN_IF_ERROR(WriteIntoStream(stream_, image.content));
    return (folder_ / file_).string();
  }
  if (file_.empty()) {
    return WriteNew(folder_, fmt::format("tightfit-{}", image.seed), image.content);
  }
  fs::path path = folder_ / file_;
  if (image_count > 1) {
    path.replace_filename(
        fmt::format("{}-{}{}", file_.stem().string(), image.index + 1, file_.extension().string()));
  }
  TF_RETURN_IF_ERROR(Replace(path, image.content));
  return path.string();
}

}  // namespace tightfit::cli
