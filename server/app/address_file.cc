#include "server/app/address_file.h"

#include "server/config/config.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace tightfit {
namespace {

Status CannotWrite(const std::string& path, const std::string& why) {
  return BadConfiguration("address_file: cannot write " + path + ": " + why);
}

// Whether the name is free, or what has it may be replaced.
Status CheckReplaceable(const std::string& path) {
  struct stat found = {};
  if (stat(path.c_str(), &found) != 0) return OkStatus();
  if (!S_ISREG(found.st_mode)) return CannotWrite(path, "it exists and is no regular file");
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  // Where nothing can be locked, as on some network file systems, nobody's file is known.
  if (file.get() < 0 || flock(file.get(), LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) {
    return OkStatus();
  }
  return CannotWrite(path, "it belongs to another server that runs");
}

bool WriteWhole(int file, const std::string& text) {
  // mkostemp makes files private; this one gets what the user's umask allows.
  const mode_t mask = umask(0);
  umask(mask);
  errno = EIO;  // of a short write
  return write(file, text.data(), text.size()) == std::ssize(text) &&
         fchmod(file, 0666 & ~mask) == 0;
}

}  // namespace

Result<std::unique_ptr<AddressFile>> AddressFile::Write(const std::string& given,
                                                        const std::string& listen,
                                                        const std::string& metrics_listen) {
  nlohmann::ordered_json addresses;
  addresses["listen"] = listen;
  if (!metrics_listen.empty()) addresses["metrics_listen"] = metrics_listen;

  TF_RETURN_IF_ERROR(CheckReplaceable(given));
  // What a link names is replaced, and not the link.
  std::error_code is_new;
  const std::filesystem::path existing = std::filesystem::canonical(given, is_new);
  const std::string path = is_new ? given : existing.string();
  std::string unfinished = path + ".XXXXXX";
  FileDescriptor file(mkostemp(unfinished.data(), O_CLOEXEC));
  if (file.get() < 0) return CannotWrite(given, std::strerror(errno));
  flock(file.get(), LOCK_EX | LOCK_NB);
  if (!WriteWhole(file.get(), addresses.dump() + "\n") ||
      std::rename(unfinished.c_str(), path.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    unlink(unfinished.c_str());
    return CannotWrite(given, why);
  }
  return std::unique_ptr<AddressFile>(new AddressFile(path, std::move(file)));
}

void AddressFile::Remove() const {
  struct stat own = {};
  struct stat named = {};
  if (fstat(file_.get(), &own) != 0 || stat(path_.c_str(), &named) != 0) return;
  if (own.st_ino == named.st_ino && own.st_dev == named.st_dev) unlink(path_.c_str());
}

}  // namespace tightfit
