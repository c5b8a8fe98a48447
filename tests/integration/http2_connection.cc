#include "tests/integration/http2_connection.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace tightfit {
namespace {

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr size_t kFrameHeaderBytes = 9;
constexpr size_t kMaxFrameBytes = 16384;
constexpr std::chrono::milliseconds kSendPatience{5000};

std::string BigEndian(uint32_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    text.push_back(static_cast<char>(value >> shift));
  }
  return text;
}

uint32_t FromBigEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

// A length of HPACK with a prefix of seven bits.
std::string HpackText(std::string_view text) {
  std::string coded;
  size_t length = text.size();
  if (length < 127) {
    coded.push_back(static_cast<char>(length));
  } else {
    coded.push_back(127);
    for (length -= 127; length >= 128; length >>= 7) {
      coded.push_back(static_cast<char>((length & 127) | 128));
    }
    coded.push_back(static_cast<char>(length));
  }
  return coded.append(text);
}

}  // namespace

std::unique_ptr<Http2Connection> Http2Connection::Connect(const std::string& address) {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  if (socket < 0 || ::connect(socket, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) {
    ::close(socket);
    return nullptr;
  }
  ::fcntl(socket, F_SETFL, O_NONBLOCK);
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return std::unique_ptr<Http2Connection>(new Http2Connection(socket));
}

Http2Connection::~Http2Connection() { ::close(socket_); }

void Http2Connection::Open() {
  SendRaw(kPreface);
  SendFrame(FrameType::kSettings, 0, 0, "");
}

bool Http2Connection::OpenAndWait() {
  Open();
  for (int i = 0; i < 100 && open_ && !has_settings_; ++i) Receive(std::chrono::milliseconds(50));
  return open_ && has_settings_;
}

bool Http2Connection::WaitFor(short events, std::chrono::milliseconds patience) const {
  pollfd entry = {.fd = socket_, .events = events, .revents = 0};
  return ::poll(&entry, 1, static_cast<int>(patience.count())) > 0;
}

bool Http2Connection::SendRaw(std::string_view bytes) {
  while (open_ && !bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno != EAGAIN && errno != EINTR) {
      open_ = false;
    } else if (!WaitFor(POLLOUT, kSendPatience)) {
      return false;
    }
  }
  return open_;
}

bool Http2Connection::SendFrame(FrameType type, uint8_t flags, uint32_t stream,
                                std::string_view payload) {
  std::string frame = BigEndian(static_cast<uint32_t>(payload.size()), 3);
  frame.push_back(static_cast<char>(type));
  frame.push_back(static_cast<char>(flags));
  return SendRaw(frame.append(BigEndian(stream, 4)).append(payload));
}

bool Http2Connection::SendCall(
    uint32_t stream, const std::string& path,
    const std::vector<std::pair<std::string, std::string>>& more_headers) {
  std::vector<std::pair<std::string, std::string>> headers = {
      {":method", "POST"},         {":scheme", "http"}, {":path", path},
      {":authority", "localhost"}, {"te", "trailers"},  {"content-type", "application/grpc"},
  };
  headers.insert(headers.end(), more_headers.begin(), more_headers.end());
  std::string block;
  for (const auto& [name, value] : headers) {
    block.push_back('\0');  // a literal that is not indexed, with a new name
    block += HpackText(name) + HpackText(value);
  }
  return SendFrame(FrameType::kHeaders, kEndHeaders, stream, block);
}

bool Http2Connection::SendData(uint32_t stream, std::string_view bytes) {
  const auto give_up_at = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (open_ && !has_ended(stream)) {
    const int64_t window = std::min(connection_window_, initial_window_ + window_changes_[stream]);
    if (window <= 0) {
      if (std::chrono::steady_clock::now() > give_up_at) return false;
      Receive(std::chrono::milliseconds(20));
      continue;
    }
    const size_t size = std::min({bytes.size(), static_cast<size_t>(window), kMaxFrameBytes});
    const bool last = size == bytes.size();
    if (!SendFrame(FrameType::kData, last ? kEndStream : 0, stream, bytes.substr(0, size))) break;
    connection_window_ -= static_cast<int64_t>(size);
    window_changes_[stream] -= static_cast<int64_t>(size);
    bytes.remove_prefix(size);
    if (last) return true;
    Receive(std::chrono::milliseconds(0));
  }
  return false;
}

void Http2Connection::Receive(std::chrono::milliseconds patience) {
  if (!open_ || !WaitFor(POLLIN, patience)) return;
  char buffer[65536];
  while (true) {
    const ssize_t got = ::recv(socket_, buffer, sizeof(buffer), 0);
    if (got > 0) {
      received_.append(buffer, static_cast<size_t>(got));
      TakeFrames();
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      open_ = false;
      return;
    } else if (errno == EAGAIN) {
      return;
    }
  }
}

void Http2Connection::TakeFrames() {
  size_t at = 0;
  while (received_.size() - at >= kFrameHeaderBytes) {
    const std::string_view header = std::string_view(received_).substr(at, kFrameHeaderBytes);
    const size_t size = FromBigEndian(header.substr(0, 3));
    if (received_.size() - at - kFrameHeaderBytes < size) break;
    TakeFrame(static_cast<FrameType>(header[3]), static_cast<uint8_t>(header[4]),
              FromBigEndian(header.substr(5)) & 0x7FFFFFFF,
              std::string_view(received_).substr(at + kFrameHeaderBytes, size));
    at += kFrameHeaderBytes + size;
  }
  received_.erase(0, at);
}

void Http2Connection::TakeFrame(FrameType type, uint8_t flags, uint32_t stream,
                                std::string_view payload) {
  switch (type) {
    case FrameType::kSettings:
      if ((flags & kAck) != 0) break;
      has_settings_ = true;
      for (; payload.size() >= 6; payload.remove_prefix(6)) {
        constexpr uint32_t kInitialWindowSize = 4;
        if (FromBigEndian(payload.substr(0, 2)) == kInitialWindowSize) {
          initial_window_ = FromBigEndian(payload.substr(2, 4));
        }
      }
      SendFrame(FrameType::kSettings, kAck, 0, "");
      break;
    case FrameType::kPing:
      if ((flags & kAck) == 0) SendFrame(FrameType::kPing, kAck, 0, payload);
      break;
    case FrameType::kWindowUpdate:
      (stream == 0 ? connection_window_ : window_changes_[stream]) += FromBigEndian(payload);
      break;
    case FrameType::kGoAway:
      goaway_ = true;
      break;
    case FrameType::kRstStream:
      ended_[stream] = true;
      break;
    case FrameType::kData:
      received_data_bytes_ += static_cast<int64_t>(payload.size());
      if ((flags & kEndStream) != 0) ended_[stream] = true;
      break;
    case FrameType::kHeaders:
      if ((flags & kEndStream) != 0) ended_[stream] = true;
      break;
    default:
      break;
  }
}

bool Http2Connection::has_ended(uint32_t stream) const { return ended_.contains(stream); }

bool Http2Connection::WaitForEnd(uint32_t stream, std::chrono::milliseconds patience) {
  const auto give_up_at = std::chrono::steady_clock::now() + patience;
  while (open_ && !has_ended(stream)) {
    if (std::chrono::steady_clock::now() > give_up_at) return false;
    Receive(std::chrono::milliseconds(20));
  }
  return true;
}

std::string GrpcMessage(std::string_view bytes, bool compressed) {
  std::string message(1, compressed ? '\1' : '\0');
  return message.append(BigEndian(static_cast<uint32_t>(bytes.size()), 4)).append(bytes);
}

}  // namespace tightfit
