#include "server/telemetry/page_server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr size_t kMaxClients = 32;
constexpr size_t kMaxRequestBytes = 8 << 10;
// Of a request to come, and of an answer to be taken.
constexpr milliseconds kPatience{5000};
// Of a client to close a connection whose answer it has: closing first could cut the answer off.
constexpr milliseconds kEndPatience{1000};
constexpr milliseconds kBackOff{20};

const char* Phrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "Bad Request";
  }
}

Page Plain(int status, std::string content) {
  return {status, "text/plain; charset=utf-8", std::move(content)};
}

struct Request {
  std::string_view method;
  std::string_view path;
};

// The first line of a request; nothing where it is not one.
Request ParseRequest(std::string_view text) {
  const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  const size_t first = line.find(' ');
  const size_t second = line.find(' ', first + 1);
  if (first == std::string_view::npos || second == std::string_view::npos) return {};
  if (!line.substr(second + 1).starts_with("HTTP/1.")) return {};
  const std::string_view target = line.substr(first + 1, second - first - 1);
  return {line.substr(0, first), target.substr(0, target.find('?'))};
}

bool IsWhole(std::string_view request) {
  return request.find("\r\n\r\n") != std::string_view::npos ||
         request.find("\n\n") != std::string_view::npos;
}

// Whether a call on a non-blocking socket only has to be made again.
bool IsForLater(ssize_t result) { return result < 0 && (errno == EAGAIN || errno == EINTR); }

}  // namespace

PageServer::PageServer(ListeningSockets sockets, std::function<Page(const std::string&)> page)
    : page_(std::move(page)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      sockets_(std::move(sockets)),
      thread_([this] { Run(); }) {}

PageServer::~PageServer() {
  const uint64_t one = 1;
  while (::write(stop_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
  thread_.join();
}

void PageServer::Run() {
  for (;;) {
    try {
      if (!Serve()) return;
    } catch (const std::exception&) {  // no memory: make some
      clients_.clear();
      has_room_ = false;
    }
  }
}

bool PageServer::Serve() {
  const bool is_stopping = sockets_.sockets.empty();
  std::vector<pollfd> polled;
  if (!is_stopping) polled.push_back({stop_.get(), POLLIN, 0});
  if (has_room_) {
    for (const FileDescriptor& socket : sockets_.sockets) {
      polled.push_back({socket.get(), POLLIN, 0});
    }
  }
  Time wake_at = steady_clock::now() + (has_room_ ? kPatience : kBackOff);
  for (const Client& client : clients_) {
    const short events = client.state == State::kWriting ? POLLOUT : POLLIN;
    polled.push_back({client.socket.get(), events, 0});
    wake_at = std::min(wake_at, client.deadline);
  }
  const auto left = std::chrono::ceil<milliseconds>(wake_at - steady_clock::now());
  ::poll(polled.data(), polled.size(), std::max(static_cast<int>(left.count()), 0));

  const Time now = steady_clock::now();
  std::erase_if(clients_,
                [&](Client& client) { return !Advance(client) || client.deadline <= now; });
  if (!is_stopping && (polled[0].revents & POLLIN) != 0) {
    sockets_.Close();
    std::erase_if(clients_, [](const Client& client) { return client.state != State::kWriting; });
  }
  if (sockets_.sockets.empty()) return !clients_.empty();
  has_room_ = true;
  AcceptAll();
  return true;
}

void PageServer::AcceptAll() {
  for (const FileDescriptor& listener : sockets_.sockets) {
    for (size_t i = 0; i < kMaxClients; ++i) {
      Client client;
      PeerAddress peer;
      const auto outcome = source_.Accept(listener.get(), &client.socket, &peer);
      if (outcome == ConnectionSource::Outcome::kNothing) break;
      if (outcome == ConnectionSource::Outcome::kBackOff) {
        has_room_ = false;
        return;
      }
      if (outcome == ConnectionSource::Outcome::kRefused) continue;
      if (clients_.size() >= kMaxClients) {
        const auto silent = std::ranges::find_if(
            clients_, [](const Client& each) { return each.state != State::kWriting; });
        if (silent == clients_.end()) continue;
        clients_.erase(silent);
      }
      client.deadline = steady_clock::now() + kPatience;
      clients_.push_back(std::move(client));
      // Most send their request at once: it is answered before anyone else can take the place.
      if (!Advance(clients_.back())) clients_.pop_back();
    }
  }
}

bool PageServer::Advance(Client& client) {
  return client.state == State::kWriting ? Write(client) : Read(client);
}

bool PageServer::Read(Client& client) {
  char bytes[4096];
  const ssize_t count = ::recv(client.socket.get(), bytes, sizeof(bytes), 0);
  if (IsForLater(count)) return true;
  if (count <= 0) return false;
  if (client.state == State::kEnding) return true;  // a body that nobody reads
  client.request.append(bytes, static_cast<size_t>(count));
  const bool too_long = client.request.size() > kMaxRequestBytes;
  if (!too_long && !IsWhole(client.request)) return true;
  Answer(client);
  client.state = State::kWriting;
  client.deadline = steady_clock::now() + kPatience;
  return Write(client);
}

void PageServer::Answer(Client& client) {
  const Request request = ParseRequest(client.request);
  const bool is_head = request.method == "HEAD";
  Page page;
  if (client.request.size() > kMaxRequestBytes) {
    page = Plain(431, "The request is too long\n");
  } else if (request.path.empty()) {
    page = Plain(400, "This is no request of HTTP/1.1\n");
  } else if (!is_head && request.method != "GET") {
    page = Plain(404, "Only GET is served\n");
  } else {
    page = page_(std::string(request.path));
  }
  client.answer = "HTTP/1.1 " + std::to_string(page.status) + " " + Phrase(page.status) +
                  "\r\nContent-Type: " + page.content_type +
                  "\r\nContent-Length: " + std::to_string(page.content.size()) +
                  "\r\nConnection: close\r\n\r\n";
  if (!is_head) client.answer += page.content;
}

bool PageServer::Write(Client& client) {
  while (client.sent_bytes < client.answer.size()) {
    const ssize_t count = ::send(client.socket.get(), client.answer.data() + client.sent_bytes,
                                 client.answer.size() - client.sent_bytes, MSG_NOSIGNAL);
    if (IsForLater(count)) return true;
    if (count <= 0) return false;
    client.sent_bytes += static_cast<size_t>(count);
  }
  ::shutdown(client.socket.get(), SHUT_WR);
  client.state = State::kEnding;
  client.answer = {};
  client.deadline = steady_clock::now() + kEndPatience;
  return true;
}

}  // namespace tightfit
