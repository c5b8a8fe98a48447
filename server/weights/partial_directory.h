// PartialDirectory: the hidden directory beside its final place that a model directory grows in,
// and that an interrupted run leaves for the next one. As the exporter's partial_directory.py.
#ifndef TIGHTFIT_SERVER_WEIGHTS_PARTIAL_DIRECTORY_H_
#define TIGHTFIT_SERVER_WEIGHTS_PARTIAL_DIRECTORY_H_

#include "server/base/status.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

// Not thread-safe. Errors of all: CANNOT_WRITE.
class PartialDirectory {
 public:
  // A file that is whole, by its name in the directory.
  struct Finished {
    int64_t bytes = 0;
    std::string record;  // what its maker wants to know of it again; printable
  };

  // `.NAME.KEY.partial` beside `out`, whose parents are made; `key`: differs where anything does
  // that the files are made from. What an earlier run of this key left is still there. Errors:
  // `out` exists and is no empty directory; another run is at work there.
  static Result<std::unique_ptr<PartialDirectory>> Open(const std::string& out,
                                                        const std::string& key);
  // Unless published, removes it, with the parents that were made, if they hold nothing else; but
  // after Keep() finished files stay.
  ~PartialDirectory();
  PartialDirectory(const PartialDirectory&) = delete;
  PartialDirectory& operator=(const PartialDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string PathOf(const std::string& file) const { return path_ + "/" + file; }
  std::string name() const { return std::filesystem::path(path_).filename().string(); }

  // What earlier runs and this one finished. Nobody has looked at the files since.
  const std::map<std::string, Finished>& finished() const { return finished_; }
  Status Finish(const std::string& file, Finished what);
  Status Forget(const std::string& file);
  int64_t finished_bytes() const;

  void Keep() { keep_ = true; }
  // Everything is on the disk and gets its name; what other runs to the same place left is removed.
  Status Publish();

 private:
  PartialDirectory(std::filesystem::path out, const std::string& key);
  Status Lock();
  void ReadFinished();
  Status WriteFinished();
  void RemoveUnfinished();
  void RemoveOthers();

  const std::filesystem::path out_;
  const std::string path_;
  std::vector<std::filesystem::path> made_parents_;  // the innermost first
  std::map<std::string, Finished> finished_;
  int lock_ = -1;
  bool keep_ = false;
  bool is_published_ = false;
};

// Bytes that may still be written where `path` is, or will be.
Result<int64_t> FreeDiskBytes(const std::string& path);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_WEIGHTS_PARTIAL_DIRECTORY_H_
