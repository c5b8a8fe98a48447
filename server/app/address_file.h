// AddressFile: tells whoever started the server which addresses it chose.
#ifndef TIGHTFIT_SERVER_APP_ADDRESS_FILE_H_
#define TIGHTFIT_SERVER_APP_ADDRESS_FILE_H_

#include "server/base/file_descriptor.h"
#include "server/base/status.h"

#include <memory>
#include <string>
#include <utility>

namespace tightfit {

// A file that is this process's as long as the object lives: it is locked, which ends with the
// process however that ends. Not thread-safe.
class AddressFile {
 public:
  // Writes {"listen":"...","metrics_listen":"..."} to `path` in one step: a reader sees the whole
  // file or none. The last is left out where it is empty. Takes the place of a file that a dead
  // server has left. Errors name the path and what is wrong: the system's reason, another server
  // that runs, anything but a regular file.
  static Result<std::unique_ptr<AddressFile>> Write(const std::string& path,
                                                    const std::string& listen,
                                                    const std::string& metrics_listen);

  // Removes the file unless something else has its name by now.
  void Remove() const;

 private:
  AddressFile(std::string path, FileDescriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}

  const std::string path_;
  const FileDescriptor file_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_ADDRESS_FILE_H_
