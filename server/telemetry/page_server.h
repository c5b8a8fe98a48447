// PageServer: answers GET over HTTP/1.1 to a few clients, none of which can keep another waiting.
#ifndef TIGHTFIT_SERVER_TELEMETRY_PAGE_SERVER_H_
#define TIGHTFIT_SERVER_TELEMETRY_PAGE_SERVER_H_

#include "server/base/connection_source.h"
#include "server/base/file_descriptor.h"
#include "server/base/listening_sockets.h"

#include <chrono>
#include <functional>
#include <list>
#include <string>
#include <thread>

namespace tightfit {

struct Page {
  int status = 200;
  std::string content_type;
  std::string content;
};

// Owns one thread, which reads and writes whatever is ready. A connection carries one request and
// has a few seconds for it. Where all places are taken, the connection goes that has been silent
// for the longest time.
class PageServer {
 public:
  // `page` gives what a path shows, "/metrics"; on the server's thread.
  PageServer(ListeningSockets sockets, std::function<Page(const std::string& path)> page);
  // Stops accepting, finishes answers that are being read, and joins.
  ~PageServer();
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;

 private:
  using Time = std::chrono::steady_clock::time_point;
  enum class State { kReading, kWriting, kEnding };
  struct Client {
    FileDescriptor socket;
    State state = State::kReading;
    Time deadline;
    std::string request;
    std::string answer;
    size_t sent_bytes = 0;
  };

  void Run();
  // One round: waits for what is ready, and serves it. False when it is time to end.
  bool Serve();
  void AcceptAll();
  // The next thing that `client` allows. False when its connection is to be closed.
  bool Advance(Client& client);
  bool Read(Client& client);
  bool Write(Client& client);
  void Answer(Client& client);

  const std::function<Page(const std::string&)> page_;
  const FileDescriptor stop_;  // an eventfd
  // Of the thread alone.
  ListeningSockets sockets_;
  ConnectionSource source_;
  std::list<Client> clients_;  // the oldest first
  bool has_room_ = true;       // for one more descriptor
  std::thread thread_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_TELEMETRY_PAGE_SERVER_H_
