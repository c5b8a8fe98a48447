// ProfileCache: what requests were measured to take (RequestCosts), kept in files so that the next
// start of a server does not measure it again. A file that is damaged, of another release or of
// another machine is as good as none: then it is measured.
#ifndef TIGHTFIT_SERVER_PIPELINE_PROFILE_CACHE_H_
#define TIGHTFIT_SERVER_PIPELINE_PROFILE_CACHE_H_

#include "server/engine/memory_profile.h"

#include <optional>
#include <string>
#include <string_view>

namespace tightfit {

// The JSON text of costs, and back; nullopt for any other text, and for numbers that are no
// measurement: negative, beyond 2^60, or lines that run backwards.
std::string CostsText(const std::string& key, const RequestCosts& costs);
std::optional<RequestCosts> CostsOfText(const std::string& key, std::string_view text);

// Files are replaced whole, so several servers may share a directory. For one thread.
class ProfileCache {
 public:
  // `directory`: made when something is first kept; "": nothing is kept.
  explicit ProfileCache(std::string directory) : directory_(std::move(directory)) {}

  // `key`: everything that the costs depend on, as text.
  std::optional<RequestCosts> Find(const std::string& key) const;
  // Keeps nothing if the directory cannot be written.
  void Keep(const std::string& key, const RequestCosts& costs) const;

 private:
  std::string PathOf(const std::string& key) const;

  const std::string directory_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_PROFILE_CACHE_H_
