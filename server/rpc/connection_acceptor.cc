#include "server/rpc/connection_acceptor.h"

#include "server/rpc/grpc_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr int kCountsIntervalMs = 1000;
constexpr std::chrono::milliseconds kBackOff{20};
// Taken from one socket before the next one has its turn.
constexpr int kBatch = 64;

Status NotConnected(const char* what) {
  return Status(StatusCode::kUnavailable, "NOT_CONNECTED", "the own port could not be reached")
      .WithDetail(std::string(what) + ": " + std::strerror(errno));
}

// The machine's own trouble, but for the descriptors of this process.
Status NotBegun(const char* what) {
  if (errno == EMFILE) return NotConnected(what);
  return Status(StatusCode::kUnavailable, std::string(kNotAsked), "the own port was not asked")
      .WithDetail(std::string(what) + ": " + std::strerror(errno));
}

// Where a client of this machine reaches `listener`.
socklen_t LocalTarget(int listener, sockaddr_storage* target) {
  socklen_t size = sizeof(*target);
  if (::getsockname(listener, reinterpret_cast<sockaddr*>(target), &size) != 0) return 0;
  auto& ip = reinterpret_cast<sockaddr_in&>(*target);
  if (target->ss_family == AF_INET && ip.sin_addr.s_addr == htonl(INADDR_ANY)) {
    ip.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  const auto& ip6 = reinterpret_cast<const sockaddr_in6&>(*target);
  if (target->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&ip6.sin6_addr)) {
    // It takes IPv4 too, which also machines have on which no interface has an IPv6 address.
    const in_port_t port = ip6.sin6_port;
    *target = {};
    ip.sin_family = AF_INET;
    ip.sin_port = port;
    ip.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    size = sizeof(ip);
  }
  return size;
}

// Binds to a name of its own at the address that it will call, and gives this name.
Result<std::string> BindNextTo(const sockaddr_storage& target, socklen_t size, int socket) {
  sockaddr_storage name = target;
  if (target.ss_family == AF_UNIX) {
    size = sizeof(sa_family_t);  // the system chooses it
  } else {
    reinterpret_cast<sockaddr_in&>(name).sin_port = 0;  // at the same place in both families
  }
  if (::bind(socket, reinterpret_cast<const sockaddr*>(&name), size) != 0) {
    return NotBegun("bind");
  }
  size = sizeof(name);
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
    return NotBegun("getsockname");
  }
  return PeerAddressOf(name, size).socket;
}

Status Connect(int socket, const sockaddr_storage& target, socklen_t size,
               std::chrono::steady_clock::time_point deadline) {
  const auto* const address = reinterpret_cast<const sockaddr*>(&target);
  for (;;) {
    if (::connect(socket, address, size) == 0) return OkStatus();
    if (errno != EAGAIN && errno != EINTR) break;  // EAGAIN: a Unix socket's backlog is full
    if (std::chrono::steady_clock::now() >= deadline) return NotConnected("connect");
    std::this_thread::sleep_for(kBackOff);
  }
  if (errno != EINPROGRESS) return NotConnected("connect");
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  pollfd polled = {socket, POLLOUT, 0};
  int error = ETIMEDOUT;
  if (::poll(&polled, 1, std::max(static_cast<int>(left.count()), 0)) == 1) {
    socklen_t error_size = sizeof(error);
    ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &error_size);
  }
  errno = error;
  return error == 0 ? OkStatus() : NotConnected("connect");
}

}  // namespace

ConnectionAcceptor::ConnectionAcceptor(ListeningSockets sockets, AcceptorOptions options)
    : options_(std::move(options)),
      sockets_(std::move(sockets)),
      own_target_size_(LocalTarget(sockets_.sockets.front().get(), &own_target_)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      table_(options_.limits),
      thread_([this] { Run(); }) {}

ConnectionAcceptor::~ConnectionAcceptor() { Stop(); }

void ConnectionAcceptor::Stop() {
  const std::lock_guard lock(stop_mutex_);
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  while (::write(stop_.get(), &one, sizeof(one)) < 0 && errno == EINTR) {
  }
  thread_.join();
  sockets_.Close();
}

void ConnectionAcceptor::Run() {
  std::vector<pollfd> polled = {{stop_.get(), POLLIN, 0}};
  for (const FileDescriptor& socket : sockets_.sockets) {
    polled.push_back({socket.get(), POLLIN, 0});
  }
  auto next_counts = std::chrono::steady_clock::now();
  bool has_room = true;
  for (;;) {
    // Without room only the end is waited for: the sockets would be ready all the time.
    const nfds_t count = has_room ? polled.size() : 1;
    ::poll(polled.data(), count, has_room ? kCountsIntervalMs : static_cast<int>(kBackOff.count()));
    if ((polled[0].revents & POLLIN) != 0) return;
    has_room = true;
    try {
      for (size_t i = 1; i < polled.size(); ++i) {
        if (!AcceptAll(polled[i].fd)) has_room = false;
      }
      if (const auto now = std::chrono::steady_clock::now(); now >= next_counts) {
        next_counts = now + std::chrono::milliseconds(kCountsIntervalMs);
        counts_.open = table_.Look();
        options_.on_counts(counts_);
      }
    } catch (const std::exception&) {  // no memory: what was being taken is closed
      has_room = false;
    }
  }
}

bool ConnectionAcceptor::AcceptAll(int listener) {
  const int64_t refused_before = counts_.refused();
  bool has_room = true;
  for (int i = 0; i < kBatch; ++i) {
    FileDescriptor connection;
    PeerAddress peer;
    const ConnectionSource::Outcome outcome = source_.Accept(listener, &connection, &peer);
    if (outcome == ConnectionSource::Outcome::kNothing) break;
    if (outcome == ConnectionSource::Outcome::kBackOff) {
      has_room = false;
      break;
    }
    if (outcome == ConnectionSource::Outcome::kRefused) {
      ++counts_.refused_for_descriptors;
      continue;
    }
    Take(std::move(connection), peer);
  }
  if (counts_.refused() != refused_before) {
    // Without a look, which whoever is refused could cause again and again.
    counts_.open = table_.count();
    options_.on_counts(counts_);
  }
  return has_room;
}

void ConnectionAcceptor::Take(FileDescriptor connection, const PeerAddress& peer) {
  if (TakeOwn(peer.socket)) return options_.serve_own(std::move(connection));
  switch (table_.Judge(peer.host)) {
    case ConnectionTable::Verdict::kOverLimit:
      ++counts_.refused_for_limit;
      return;
    case ConnectionTable::Verdict::kOverAddressLimit:
      ++counts_.refused_for_address_limit;
      return;
    case ConnectionTable::Verdict::kAdmit:
      break;
  }
  if (options_.unacknowledged.count() > 0 && !peer.host.empty()) {
    const auto limit_ms = static_cast<unsigned>(options_.unacknowledged.count());
    ::setsockopt(connection.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof(limit_ms));
  }
  table_.Add(connection.get(), peer.host);
  options_.serve(std::move(connection));
}

bool ConnectionAcceptor::TakeOwn(const std::string& socket) {
  const std::lock_guard lock(own_mutex_);
  return own_sockets_.erase(socket) > 0;
}

Result<OwnConnection> ConnectionAcceptor::ConnectOwn(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  FileDescriptor socket(
      ::socket(own_target_.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket.is_open()) return NotBegun("socket");
  TF_ASSIGN_OR_RETURN(std::string name, BindNextTo(own_target_, own_target_size_, socket.get()));
  {
    const std::lock_guard lock(own_mutex_);
    own_sockets_.insert(name);
  }
  OwnConnection connection(this, std::move(socket), std::move(name));
  TF_RETURN_IF_ERROR(Connect(connection.socket(), own_target_, own_target_size_, deadline));
  return connection;
}

OwnConnection::~OwnConnection() {
  if (socket_.is_open()) acceptor_->TakeOwn(name_);
}

}  // namespace tightfit
