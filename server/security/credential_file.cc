#include "server/security/credential_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace tightfit {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

}  // namespace

Result<CredentialFile> ReadCredentialFile(const std::string& path) {
  const auto refuse = [&path](const std::string& why) {
    return InvalidArgument(path + ": " + why);
  };
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (file == nullptr) return refuse(std::strerror(errno));
  struct stat about;
  if (fstat(fileno(file.get()), &about) != 0) return refuse(std::strerror(errno));
  CredentialFile read;
  read.readable_by_others = (about.st_mode & S_IROTH) != 0;
  read.writable_by_others = (about.st_mode & S_IWOTH) != 0;
  read.text.resize(kMaxFileBytes + 1);
  errno = 0;
  read.text.resize(std::fread(read.text.data(), 1, read.text.size(), file.get()));
  if (std::ferror(file.get()) != 0) return refuse(std::strerror(errno));
  if (read.text.size() > kMaxFileBytes) return refuse("is larger than 1 MiB");
  return read;
}

}  // namespace tightfit
