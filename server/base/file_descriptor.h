// FileDescriptor: owns one.
#ifndef TIGHTFIT_SERVER_BASE_FILE_DESCRIPTOR_H_
#define TIGHTFIT_SERVER_BASE_FILE_DESCRIPTOR_H_

#include <unistd.h>

#include <utility>

namespace tightfit {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.Release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    Reset(other.Release());
    return *this;
  }
  ~FileDescriptor() { Reset(); }

  bool is_open() const { return fd_ >= 0; }
  // -1 where there is none.
  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_FILE_DESCRIPTOR_H_
