#include "server/app/credential_watch.h"

#include "server/security/credential_file.h"

#include <exception>
#include <utility>
#include <vector>

namespace tightfit {

CredentialWatch::CredentialWatch(const ServerConfig& config, CredentialWatchOptions options)
    : tls_paths_{config.tls_certificate, config.tls_private_key, config.tls_client_ca},
      tokens_path_(config.tokens_file),
      options_(std::move(options)) {
  if (options_.replace_tls) {
    std::vector<std::string> paths = {tls_paths_.certificate, tls_paths_.private_key};
    if (!tls_paths_.client_ca.empty()) paths.push_back(tls_paths_.client_ca);
    tls_.emplace(std::move(paths), [this] { return ReadTls(); });
  }
  if (options_.access.has_tokens()) {
    tokens_.emplace(std::vector<std::string>{tokens_path_}, [this] { return ReadTokens(); });
  }
  if (tls_.has_value() || tokens_.has_value()) thread_ = std::thread([this] { Run(); });
}

CredentialWatch::~CredentialWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void CredentialWatch::ReloadSoon() {
  {
    const std::lock_guard lock(mutex_);
    reload_now_ = true;
  }
  wake_.notify_all();
}

void CredentialWatch::Run() {
  for (;;) {
    bool now = false;
    {
      std::unique_lock lock(mutex_);
      wake_.wait_for(lock, options_.look_interval, [this] { return stopping_ || reload_now_; });
      if (stopping_) return;
      now = std::exchange(reload_now_, false);
    }
    try {
      if (tls_.has_value()) Look(*tls_, "tls", now);
      if (tokens_.has_value()) Look(*tokens_, "tokens", now);
    } catch (const std::exception&) {  // no memory: what was not read is read at the next look
    }
  }
}

void CredentialWatch::Look(WatchedFiles& files, const char* what, bool now) {
  const std::optional<Status> status = now ? files.ReadNow() : files.Look();
  if (status.has_value()) options_.on_reload(what, *status);
}

Status CredentialWatch::ReadTls() {
  TF_ASSIGN_OR_RETURN(TlsFiles files, ReadTlsFiles(tls_paths_));
  if (files.is_out_of_date) {
    return InvalidArgument(tls_paths_.certificate +
                           ": its certificate is expired, or not valid yet");
  }
  options_.replace_tls(std::move(files.identity));
  return OkStatus();
}

Status CredentialWatch::ReadTokens() {
  TF_ASSIGN_OR_RETURN(const CredentialFile file, ReadCredentialFile(tokens_path_));
  Result<AccessTokens> tokens = AccessTokens::Parse(file.text);
  if (!tokens.ok()) return InvalidArgument(tokens_path_ + ": " + tokens.status().message());
  options_.access.Replace(std::move(tokens).value());
  return OkStatus();
}

}  // namespace tightfit
