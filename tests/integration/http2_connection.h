// Http2Connection: HTTP/2 by hand, to send what no client library would. RFC 9113; RFC 7541 for
// the headers, which are sent as literals.
#ifndef TIGHTFIT_TESTS_INTEGRATION_HTTP2_CONNECTION_H_
#define TIGHTFIT_TESTS_INTEGRATION_HTTP2_CONNECTION_H_

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {

enum class FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

inline constexpr uint8_t kEndStream = 0x1;
inline constexpr uint8_t kAck = 0x1;
inline constexpr uint8_t kEndHeaders = 0x4;

// Sends and receives on one thread. Where the peer has closed the connection, sending fails
// silently: is_open() tells.
class Http2Connection {
 public:
  // To "127.0.0.1:PORT"; nullptr where nobody listens. Nothing is sent.
  static std::unique_ptr<Http2Connection> Connect(const std::string& address);
  ~Http2Connection();

  // What a connection begins with: the preface and empty settings.
  void Open();
  // Opens it and waits for the peer's settings.
  bool OpenAndWait();

  // False when the peer takes nothing within five seconds, or has gone.
  bool SendRaw(std::string_view bytes);
  bool SendFrame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload);
  // The headers of a gRPC call of `path`.
  bool SendCall(uint32_t stream, const std::string& path,
                const std::vector<std::pair<std::string, std::string>>& more_headers = {});
  // As many DATA frames as `bytes` need, as the peer opens its windows. The last one ends the
  // stream. False when the peer ends the stream or the connection before.
  bool SendData(uint32_t stream, std::string_view bytes);

  // Reads what has come, and waits at most `patience` for more. Answers settings and pings.
  void Receive(std::chrono::milliseconds patience);
  // Waits until the peer ends `stream`, or the connection; false after `patience`.
  bool WaitForEnd(uint32_t stream, std::chrono::milliseconds patience);

  bool is_open() const { return open_; }
  bool has_goaway() const { return goaway_; }
  bool has_ended(uint32_t stream) const;
  // Bytes of DATA that came.
  int64_t received_data_bytes() const { return received_data_bytes_; }

 private:
  explicit Http2Connection(int socket) : socket_(socket) {}
  // Waits until the socket is ready for `events` of poll().
  bool WaitFor(short events, std::chrono::milliseconds patience) const;
  // Takes every whole frame from what came.
  void TakeFrames();
  void TakeFrame(FrameType type, uint8_t flags, uint32_t stream, std::string_view payload);

  const int socket_;
  bool open_ = true;
  bool goaway_ = false;
  bool has_settings_ = false;
  std::string received_;
  int64_t received_data_bytes_ = 0;
  int64_t connection_window_ = 65535;
  int64_t initial_window_ = 65535;
  std::map<uint32_t, int64_t> window_changes_;  // of streams, beyond initial_window_
  std::map<uint32_t, bool> ended_;
};

// One gRPC message: a flag, its length, its bytes.
std::string GrpcMessage(std::string_view bytes, bool compressed = false);

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_INTEGRATION_HTTP2_CONNECTION_H_
