// CredentialWatch: certificates and tokens are read again at SIGHUP, and when their files change.
#ifndef TIGHTFIT_SERVER_APP_CREDENTIAL_WATCH_H_
#define TIGHTFIT_SERVER_APP_CREDENTIAL_WATCH_H_

#include "server/config/config.h"
#include "server/security/access_control.h"
#include "server/security/tls_files.h"
#include "server/security/watched_files.h"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace tightfit {

struct CredentialWatchOptions {
  AccessControl access;                          // given new tokens
  std::function<void(TlsIdentity)> replace_tls;  // empty: the server has no TLS
  std::chrono::milliseconds look_interval{2000};
  // "tls" or "tokens", and what came of reading them again. On the watch's thread.
  std::function<void(const char* what, const Status& status)> on_reload;
};

// Owns a thread, because a file system may keep whoever reads waiting. What cannot be used, or is
// expired, changes nothing: the server goes on with what it has.
class CredentialWatch {
 public:
  CredentialWatch(const ServerConfig& config, CredentialWatchOptions options);
  ~CredentialWatch();
  CredentialWatch(const CredentialWatch&) = delete;
  CredentialWatch& operator=(const CredentialWatch&) = delete;

  // Reads all files soon, whether they changed or not. From any thread.
  void ReloadSoon();

 private:
  void Run();
  void Look(WatchedFiles& files, const char* what, bool now);
  Status ReadTls();
  Status ReadTokens();

  const TlsPaths tls_paths_;
  const std::string tokens_path_;
  const CredentialWatchOptions options_;
  std::optional<WatchedFiles> tls_;
  std::optional<WatchedFiles> tokens_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  bool reload_now_ = false;
  std::thread thread_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_APP_CREDENTIAL_WATCH_H_
