#include "server/app/address_file.h"

#include "server/config/config.h"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace tightfit {

Status WriteAddressFile(const std::string& path, const std::string& listen,
                        const std::string& metrics_listen) {
  nlohmann::ordered_json addresses;
  addresses["listen"] = listen;
  if (!metrics_listen.empty()) addresses["metrics_listen"] = metrics_listen;
  const std::string text = addresses.dump() + "\n";

  const std::string unfinished = path + "." + std::to_string(getpid()) + ".tmp";
  const auto fail = [&] {
    const std::string why = std::strerror(errno);
    std::remove(unfinished.c_str());
    return BadConfiguration("address_file: cannot write " + path + ": " + why);
  };
  std::FILE* const file = std::fopen(unfinished.c_str(), "wb");
  if (file == nullptr) return fail();
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = std::fclose(file) == 0;
  if (!written || !closed || std::rename(unfinished.c_str(), path.c_str()) != 0) return fail();
  return OkStatus();
}

}  // namespace tightfit
