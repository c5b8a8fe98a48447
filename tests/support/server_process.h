// ServerProcess: a tightfit server as a process of its own, on free ports, with a model directory.
#ifndef TIGHTFIT_TESTS_SUPPORT_SERVER_PROCESS_H_
#define TIGHTFIT_TESTS_SUPPORT_SERVER_PROCESS_H_

#include "tests/support/child_process.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

// A new directory, removed at the end.
class ScratchDirectory {
 public:
  ScratchDirectory();
  ~ScratchDirectory();

  std::string Path(const std::string& name) const { return (path_ / name).string(); }
  // Writes a file and returns its path.
  std::string Write(const std::string& name, const std::string& text) const;
  // Makes a directory with a model.json and returns its path.
  std::string MakeModel(const std::string& name) const;
  void Remove(const std::string& name) const;
  bool Has(const std::string& name) const;

 private:
  std::filesystem::path path_;
};

// Looks every few milliseconds until `condition` holds; false when it does not within `limit`.
bool WaitUntil(const std::function<bool()>& condition,
               std::chrono::milliseconds limit = std::chrono::seconds(20));

class ServerProcess {
 public:
  // Starts `program` with --listen and --metrics-listen on free ports of 127.0.0.1, an address file
  // in `scratch`, and `flags` behind them.
  static std::unique_ptr<ServerProcess> Start(
      const std::string& program, const ScratchDirectory& scratch, std::vector<std::string> flags,
      const std::map<std::string, std::string>& environment = {});

  // Waits for the address file. False when the server ends before or takes longer than 60 s.
  bool WaitForAddresses();
  const std::string& listen() const { return listen_; }
  const std::string& metrics_listen() const { return metrics_listen_; }
  const std::string& address_file() const { return address_file_; }

  ChildProcess& process() { return *process_; }

 private:
  std::string address_file_;
  std::string listen_;
  std::string metrics_listen_;
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_SERVER_PROCESS_H_
