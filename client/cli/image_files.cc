#include "client/cli/image_files.h"

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

Status CannotWrite(const fs::path& path, int error) {
  return {StatusCode::kFailedPrecondition, "CANNOT_WRITE",
          fmt::format("cannot write {}: {}", path.string(), std::strerror(error))};
}

// Writes all of `content` to a new file in `folder` and names it in `path`.
Status WriteTemporary(const fs::path& folder, const std::string& content, fs::path* path) {
  std::string name = (folder / ".tightfit-XXXXXX").string();
  const int file = mkostemp(name.data(), O_CLOEXEC);
  if (file < 0) return CannotWrite(folder.empty() ? "." : folder, errno);
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
  // mkostemp makes files private; a picture gets what the user's umask allows.
  const mode_t mask = umask(0);
  umask(mask);
  if (error == 0 && fchmod(file, 0666 & ~mask) != 0) error = errno;
  if (close(file) != 0 && error == 0) error = errno;
  if (error == 0) return OkStatus();
  unlink(name.c_str());
  return CannotWrite(name, error);
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

}  // namespace

Result<ImageFiles> ImageFiles::Create(const std::optional<std::string>& output) {
  fs::path folder;
  fs::path file;
  if (output.has_value()) {
    std::error_code ignored;
    const fs::path path(*output);
    if (fs::is_directory(path, ignored)) {
      folder = path;
    } else if (output->ends_with('/')) {
      folder = path;
      std::error_code error;
      fs::create_directory(path.parent_path(), error);
      if (error) return CannotWrite(path, error.value());
    } else if (path.empty()) {
      return InvalidArgument("the output has no name");
    } else {
      folder = path.parent_path();
      file = path.filename();
      const std::string extension = path.extension().string();
      for (const char* other : {".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".avif", ".tiff"}) {
        if (extension == other) {
          return InvalidArgument(fmt::format("{}: pictures are PNG; name it .png", *output));
        }
      }
    }
  }
  const fs::path checked = folder.empty() ? fs::path(".") : folder;
  if (access(checked.c_str(), W_OK | X_OK) != 0) return CannotWrite(checked, errno);
  return ImageFiles(std::move(folder), std::move(file));
}

Result<std::string> ImageFiles::Write(const client::Image& image, int32_t image_count) const {
  fs::path temporary;
  TF_RETURN_IF_ERROR(WriteTemporary(folder_, image.content, &temporary));
  fs::path path;
  int error = EEXIST;
  if (file_.empty()) {
    for (int number = 1; error == EEXIST; ++number) {
      const std::string suffix = number == 1 ? "" : fmt::format("-{}", number);
      path = folder_ / fmt::format("tightfit-{}{}.png", image.seed, suffix);
      error = RenameNew(temporary, path);
    }
  } else {
    path = folder_ / file_;
    if (image_count > 1) {
      path.replace_filename(fmt::format("{}-{}{}", file_.stem().string(), image.index + 1,
                                        file_.extension().string()));
    }
    error = rename(temporary.c_str(), path.c_str()) == 0 ? 0 : errno;
  }
  if (error == 0) return path.string();
  unlink(temporary.c_str());
  return CannotWrite(path, error);
}

}  // namespace tightfit::cli
