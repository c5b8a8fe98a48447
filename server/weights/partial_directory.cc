#include "server/weights/partial_directory.h"

#include "server/weights/new_file.h"

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

namespace tightfit {
namespace {

namespace fs = std::filesystem;

constexpr char kFinishedName[] = "finished.json";
constexpr char kPartialSuffix[] = ".partial";

fs::path FolderBeside(const fs::path& out, const std::string& key) {
  return out.parent_path() / ("." + out.filename().string() + "." + key + kPartialSuffix);
}

// A descriptor that holds the lock; -1 with errno where another process does.
int LockedFolder(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return -1;
  if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  const int error = errno;
  close(descriptor);
  errno = error;
  return -1;
}

bool IsSameFolder(int descriptor, const std::string& path) {
  struct stat open = {};
  struct stat there = {};
  return fstat(descriptor, &open) == 0 && stat(path.c_str(), &there) == 0 &&
         open.st_dev == there.st_dev && open.st_ino == there.st_ino;
}

}  // namespace

PartialDirectory::PartialDirectory(fs::path out, const std::string& key)
    : out_(std::move(out)), path_(FolderBeside(out_, key).string()) {}

Result<std::unique_ptr<PartialDirectory>> PartialDirectory::Open(const std::string& out,
                                                                 const std::string& key) {
  std::error_code error;
  fs::path place = fs::absolute(out, error).lexically_normal();
  if (place.filename().empty()) place = place.parent_path();  // "out/"
  if (fs::exists(fs::symlink_status(place, error)) &&
      !(fs::is_directory(fs::symlink_status(place, error)) && fs::is_empty(place, error))) {
    return CannotWriteFile(out, "it exists; give another name, or remove it");
  }
  std::unique_ptr<PartialDirectory> partial(new PartialDirectory(place, key));
  for (fs::path folder = place.parent_path(); !fs::exists(folder, error);
       folder = folder.parent_path()) {
    partial->made_parents_.push_back(folder);
  }
  fs::create_directories(place.parent_path(), error);
  if (error) return CannotWriteFile(out, error.message());
  TF_RETURN_IF_ERROR(partial->Lock());
  partial->ReadFinished();
  return partial;
}

Status PartialDirectory::Lock() {
  constexpr int kTries = 10;
  for (int i = 0; i < kTries; ++i) {
    if (mkdir(path_.c_str(), 0777) != 0 && errno != EEXIST) {
      return CannotWriteFile(out_.string(), std::strerror(errno));
    }
    lock_ = LockedFolder(path_);
    if (lock_ < 0 && errno == EWOULDBLOCK) {
      return CannotWriteFile(out_.string(), "another run is at work in " + name());
    }
    // Between the two calls the run that held it may have removed it.
    if (lock_ >= 0 && IsSameFolder(lock_, path_)) return OkStatus();
    if (lock_ >= 0) close(std::exchange(lock_, -1));
  }
  return CannotWriteFile(path_, std::strerror(ENOENT));
}

PartialDirectory::~PartialDirectory() {
  std::error_code ignored;
  if (lock_ >= 0 && !is_published_) {
    if (keep_) {
      RemoveUnfinished();
    } else {
      fs::remove_all(path_, ignored);
    }
  }
  if (lock_ >= 0) close(lock_);
  for (const fs::path& folder : made_parents_) {
    if (rmdir(folder.c_str()) != 0) break;  // it holds something
  }
}

int64_t PartialDirectory::finished_bytes() const {
  int64_t bytes = 0;
  for (const auto& [file, finished] : finished_) bytes += finished.bytes;
  return bytes;
}

Status PartialDirectory::Finish(const std::string& file, Finished what) {
  finished_[file] = std::move(what);
  return WriteFinished();
}

Status PartialDirectory::Forget(const std::string& file) {
  finished_.erase(file);
  return WriteFinished();
}

// What cannot be read means that nothing is finished.
void PartialDirectory::ReadFinished() {
  std::ifstream file(PathOf(kFinishedName), std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_object()) {
    for (const auto& [name, entry] : json.items()) {
      if (!entry.is_object() || !entry.contains("bytes") || !entry.contains("record")) continue;
      if (!entry["bytes"].is_number_integer() || !entry["record"].is_string()) continue;
      if (name.find('/') != std::string::npos) continue;
      finished_[name] = {entry["bytes"].get<int64_t>(), entry["record"].get<std::string>()};
    }
  }
  RemoveUnfinished();
}

Status PartialDirectory::WriteFinished() {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [file, finished] : finished_) {
    json[file] = {{"bytes", finished.bytes}, {"record", finished.record}};
  }
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  TF_ASSIGN_OR_RETURN(const auto file, NewFile::Create(PathOf(kFinishedName)));
  TF_RETURN_IF_ERROR(file->WriteAt(0, text.data(), std::ssize(text)));
  return file->Commit();
}

void PartialDirectory::RemoveUnfinished() {
  std::error_code ignored;
  std::vector<fs::path> unfinished;
  for (const auto& entry : fs::directory_iterator(path_, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name != kFinishedName && !finished_.contains(name)) unfinished.push_back(entry.path());
  }
  for (const fs::path& path : unfinished) fs::remove_all(path, ignored);
}

Status PartialDirectory::Publish() {
  std::error_code error;
  fs::remove(PathOf(kFinishedName), error);
  for (const auto& entry : fs::recursive_directory_iterator(path_, error)) {
    if (entry.is_directory(error)) TF_RETURN_IF_ERROR(SyncDirectory(entry.path().string()));
  }
  TF_RETURN_IF_ERROR(SyncDirectory(path_));
  // Replaces an empty directory too.
  if (std::rename(path_.c_str(), out_.c_str()) != 0) {
    return CannotWriteFile(out_.string(), std::strerror(errno));
  }
  is_published_ = true;
  TF_RETURN_IF_ERROR(SyncDirectory(out_.parent_path().string()));
  RemoveOthers();
  return OkStatus();
}

void PartialDirectory::RemoveOthers() {
  std::error_code ignored;
  const std::string begin = "." + out_.filename().string() + ".";
  std::vector<fs::path> others;
  for (const auto& entry : fs::directory_iterator(out_.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(begin) && name.ends_with(kPartialSuffix)) others.push_back(entry.path());
  }
  for (const fs::path& other : others) {
    const int lock = LockedFolder(other.string());
    if (lock < 0) continue;  // at work
    fs::remove_all(other, ignored);
    close(lock);
  }
}

Result<int64_t> FreeDiskBytes(const std::string& path) {
  std::error_code error;
  fs::path folder = fs::absolute(path, error).lexically_normal();
  while (!fs::exists(folder, error) && folder != folder.parent_path())
    folder = folder.parent_path();
  struct statvfs file_system = {};
  if (statvfs(folder.c_str(), &file_system) != 0) {
    return CannotWriteFile(path, std::strerror(errno));
  }
  return static_cast<int64_t>(file_system.f_bavail) * static_cast<int64_t>(file_system.f_frsize);
}

}  // namespace tightfit
