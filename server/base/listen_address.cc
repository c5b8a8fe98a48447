#include "server/base/listen_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <charconv>

namespace tightfit {
namespace {

constexpr std::string_view kUnixPrefix = "unix:";

bool IsIpv6(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

bool IsIpv4(const std::string& host) {
  in_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

bool IsHostName(std::string_view host) {
  if (host.empty() || host.size() > 253 || host.front() == '-' || host.front() == '.') return false;
  const bool characters_allowed = std::all_of(host.begin(), host.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '.';
  });
  // A name made of digits and dots alone is a mistyped IPv4 address.
  const bool has_letter =
      std::any_of(host.begin(), host.end(), [](unsigned char c) { return std::isalpha(c); });
  return characters_allowed && has_letter;
}

Status Refused(std::string_view text, std::string_view why) {
  return {StatusCode::kInvalidArgument, "BAD_ADDRESS",
          "\"" + std::string(text) + "\" " + std::string(why)};
}

Result<ListenAddress> ParseUnixAddress(std::string_view text) {
  ListenAddress address;
  address.unix_path = text.substr(kUnixPrefix.size());
  if (address.unix_path.empty()) return Refused(text, "has no path after unix:");
  if (address.unix_path.size() >= sizeof(sockaddr_un::sun_path)) {
    return Refused(text, "has a path longer than the 107 bytes that a socket may have");
  }
  return address;
}

}  // namespace

bool ListenAddress::is_local() const {
  return is_unix() || host == "localhost" || host == "::1" ||
         (host.starts_with("127.") && IsIpv4(host));
}

std::string ListenAddress::ToString() const {
  if (is_unix()) return std::string(kUnixPrefix) + unix_path;
  const bool bracketed = host.find(':') != std::string::npos;
  return (bracketed ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<ListenAddress> ParseListenAddress(std::string_view text) {
  if (text.starts_with(kUnixPrefix)) return ParseUnixAddress(text);
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) {
    return Refused(text, "has no port; write host:port, as in 127.0.0.1:50051");
  }
  ListenAddress address;
  address.host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (address.host.starts_with('[') && address.host.ends_with(']')) {
    address.host = address.host.substr(1, address.host.size() - 2);
    if (!IsIpv6(address.host)) return Refused(text, "has no IPv6 address in its brackets");
  } else if (address.host.find(':') != std::string::npos) {
    return Refused(text, "needs brackets around its IPv6 address, as in [::1]:50051");
  } else if (!IsIpv4(address.host) && !IsHostName(address.host)) {
    return Refused(text, "has no valid host; write an address such as 127.0.0.1 or a host name");
  }
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), number);
  if (error != std::errc() || end != port.data() + port.size() || number > 65535) {
    return Refused(text, "has no valid port; ports are 0 (the system picks one) to 65535");
  }
  address.port = static_cast<uint16_t>(number);
  return address;
}

}  // namespace tightfit
