#include "tests/support/server_process.h"

#include <nlohmann/json.hpp>
#include <stdlib.h>

#include <fstream>
#include <thread>
#include <utility>

namespace tightfit {

ScratchDirectory::ScratchDirectory() {
  std::string name = std::filesystem::temp_directory_path() / "tightfit_server_XXXXXX";
  path_ = mkdtemp(name.data());
}

ScratchDirectory::~ScratchDirectory() { std::filesystem::remove_all(path_); }

std::string ScratchDirectory::Write(const std::string& name, const std::string& text) const {
  std::ofstream(path_ / name) << text;
  return Path(name);
}

std::string ScratchDirectory::MakeModel(const std::string& name) const {
  std::filesystem::create_directory(path_ / name);
  Write(name + "/model.json", "{}");
  return Path(name);
}

void ScratchDirectory::Remove(const std::string& name) const {
  std::filesystem::remove_all(path_ / name);
}

bool ScratchDirectory::Has(const std::string& name) const {
  return std::filesystem::exists(path_ / name);
}

bool WaitUntil(const std::function<bool()>& condition, std::chrono::milliseconds limit) {
  const auto give_up_at = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= give_up_at) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  return true;
}

std::unique_ptr<ServerProcess> ServerProcess::Start(
    const std::string& program, const ScratchDirectory& scratch, std::vector<std::string> flags,
    const std::map<std::string, std::string>& environment) {
  auto server = std::make_unique<ServerProcess>();
  server->address_file_ = scratch.Path("addresses.json");
  std::vector<std::string> arguments = {program, "--listen=127.0.0.1:0",
                                        "--metrics-listen=127.0.0.1:0",
                                        "--address-file=" + server->address_file_};
  arguments.insert(arguments.end(), std::make_move_iterator(flags.begin()),
                   std::make_move_iterator(flags.end()));
  server->process_ = ChildProcess::Start(arguments, environment);
  return server->process_ == nullptr ? nullptr : std::move(server);
}

bool ServerProcess::WaitForAddresses() {
  const auto written_or_ended = [this] {
    return std::filesystem::exists(address_file_) || process_->has_exited();
  };
  if (!WaitUntil(written_or_ended, std::chrono::seconds(60))) return false;
  std::ifstream file(address_file_);
  const nlohmann::json addresses = nlohmann::json::parse(file, nullptr, false);
  if (!addresses.is_object()) return false;
  listen_ = addresses.value("listen", "");
  metrics_listen_ = addresses.value("metrics_listen", "");
  return !listen_.empty();
}

}  // namespace tightfit
