#include "server/rpc/grpc_server.h"

#include "server/base/connection_limits.h"
#include "server/rpc/connection_acceptor.h"
#include "server/rpc/encode_workers.h"
#include "server/rpc/generation_call.h"
#include "server/rpc/health_call.h"
#include "server/rpc/image_generation_service.h"
#include "server/rpc/model_service.h"
#include "server/rpc/open_listen_address.h"
#include "server/rpc/reflection_service.h"
#include "server/rpc/server_credentials.h"
#include "server/rpc/server_service.h"
#include "server/rpc/stalled_readers.h"

#include <fcntl.h>
#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/resource_quota.h>

#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

constexpr std::chrono::milliseconds kStalledReaderInterval{250};

// Streams of one connection: more than the queue holds, so that a client sees QUEUE_FULL rather
// than waiting in its own library.
constexpr int kMaxConcurrentStreams = 128;
constexpr int kMaxMetadataBytes = 8 << 10;
constexpr int kHandshakeTimeoutMs = 10'000;
// A peer that vanished without closing (a cut cable) is noticed after the sum of both.
constexpr int kKeepaliveTimeMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 20'000;
// Clients are told to keep to 10 s (proto/tightfit/v1/image_generation.proto); what is sent in time
// may arrive closer together.
constexpr int kMinPingIntervalMs = 8'000;
constexpr int kMaxPingStrikes = 2;
constexpr int kMaxConnectionIdleMs = 5 * 60'000;
// Without a grace period: calls that run when a connection gets old are finished on it.
constexpr int kMaxConnectionAgeMs = 30 * 60'000;

RpcObserver* NoObserver() {
  static RpcObserver* const observer = new RpcObserver;
  return observer;
}

std::string ModelHealthName(const std::string& model) { return "model/" + model; }

// Sizes and times are bounded together: a message limit alone bounds nothing, because gRPC buffers
// a message before it looks at its size, and unpacks a compressed one before that.
void SetBounds(const Limits& limits, grpc::ServerBuilder& builder) {
  grpc::ResourceQuota quota("tightfit");
  quota.Resize(static_cast<size_t>(limits.grpc_memory_quota_bytes));
  builder.SetResourceQuota(quota);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder.SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder.SetMaxReceiveMessageSize(limits.max_receive_message_bytes);
  builder.SetMaxSendMessageSize(limits.max_send_message_bytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  // Clients that keep a connection open between two calls ping then too.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, kMaxPingStrikes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kMaxConnectionIdleMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kMaxConnectionAgeMs);
}

// Switches of the process, which gRPC reads when a server is built.
void PrepareProcess() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    // The libraries' own lines on stderr: anybody who can connect can cause them, and they would
    // break lines of a log in JSON. Whoever debugs gRPC sets its variable.
    if (std::getenv("GRPC_VERBOSITY") == nullptr) {
      gpr_set_log_function([](gpr_log_func_args*) {});
      google::protobuf::SetLogHandler(nullptr);
    }
  });
}

// gRPC adds reflection to every server of the process.
class NoReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const std::unique_ptr<grpc::ServerBuilderPlugin>& plugin) {
      return plugin->name() == "proto_server_reflection";
    });
  }
};

// What v1 of reflection lists. gRPC's v1alpha finds them by itself.
std::vector<std::string> ListedServices() {
  return {
      v1::ImageGenerationService::service_full_name(), v1::ModelService::service_full_name(),
      v1::ServerService::service_full_name(),          "grpc.health.v1.Health",
      "grpc.reflection.v1.ServerReflection",           "grpc.reflection.v1alpha.ServerReflection"};
}

using grpc::experimental::ExternalConnectionAcceptor;

std::unique_ptr<ExternalConnectionAcceptor> AddAcceptor(
    grpc::ServerBuilder& builder, std::shared_ptr<grpc::ServerCredentials> credentials) {
  return builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      std::move(credentials));
}

// gRPC closes it from here on.
void HandOver(ExternalConnectionAcceptor* acceptor, FileDescriptor connection) {
  ExternalConnectionAcceptor::NewConnectionParameters parameters;
  parameters.fd = connection.Release();
  acceptor->HandleNewConnection(&parameters);
}

}  // namespace

// Health names that follow the registry. Listeners of the registry cannot be taken back, so this is
// shared with them and forgets the server when it goes.
class ServingHealth {
 public:
  explicit ServingHealth(grpc::HealthCheckServiceInterface* service) : service_(service) {}

  void Set(const std::string& name, bool serving) {
    const std::lock_guard lock(mutex_);
    if (service_ != nullptr) service_->SetServingStatus(name, serving);
  }
  void Stop() {
    const std::lock_guard lock(mutex_);
    if (service_ != nullptr) service_->Shutdown();
  }
  void Detach() {
    const std::lock_guard lock(mutex_);
    service_ = nullptr;
  }

 private:
  std::mutex mutex_;
  grpc::HealthCheckServiceInterface* service_;
};

class GrpcServer::Impl {
 public:
  Impl(const GrpcServerOptions& options, const GrpcServerDependencies& dependencies,
       ServerInfo info)
      : workers_(options.encode_threads),
        decode_queue_(options.limits.max_queued_requests),
        stalled_readers_(dependencies.clock,
                         std::chrono::seconds(options.limits.stalled_reader_seconds),
                         kStalledReaderInterval),
        context_{dependencies.executor,
                 dependencies.registry,
                 dependencies.clock,
                 dependencies.observer != nullptr ? dependencies.observer : NoObserver(),
                 options.limits,
                 &workers_,
                 &decode_queue_,
                 &stalled_readers_,
                 options.access},
        image_generation_(&context_),
        model_(&context_),
        server_service_(&context_, std::move(info)),
        reflection_(ListedServices(), options.limits.max_message_fields) {}

  ~Impl() { Shutdown(std::chrono::milliseconds(0)); }

  Status Listen(ListenAddress listen, const std::optional<TlsIdentity>& tls) {
    PrepareProcess();
    TF_ASSIGN_OR_RETURN(const ConnectionLimits connection_limits,
                        ResolveConnectionLimits({context_.limits.max_connections,
                                                 context_.limits.max_connections_per_address},
                                                RaiseDescriptorLimit()));
    TF_ASSIGN_OR_RETURN(ListeningSockets sockets, OpenListenAddress(listen));
    if (!listen.is_unix()) listen.port = static_cast<uint16_t>(sockets.port);
    address_ = listen.ToString();
    if (tls.has_value()) tls_ = std::make_shared<CurrentTlsIdentity>(*tls);
    grpc::ServerBuilder builder;
    SetBounds(context_.limits, builder);
    clients_ = AddAcceptor(builder, MakeServerCredentials(tls_));
    // The own calls: this process has no certificate that its clients' CA has signed.
    own_ = AddAcceptor(builder, grpc::InsecureServerCredentials());
    if (context_.access.has_tokens()) {
      builder.SetOption(std::make_unique<NoReflection>());
    } else {
      builder.RegisterService(&reflection_);
    }
    builder.RegisterService(&image_generation_);
    builder.RegisterService(&model_);
    builder.RegisterService(&server_service_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return Internal("gRPC could not be started");
    StartHealth();
    acceptor_ = std::make_unique<ConnectionAcceptor>(
        std::move(sockets),
        AcceptorOptions{
            .limits = connection_limits,
            .unacknowledged = std::chrono::milliseconds(kKeepaliveTimeoutMs),
            .serve = [this](FileDescriptor fd) { HandOver(clients_.get(), std::move(fd)); },
            .serve_own = [this](FileDescriptor fd) { HandOver(own_.get(), std::move(fd)); },
            .on_counts =
                [this](const ConnectionCounts& counts) {
                  context_.observer->OnConnections(counts);
                }});
    return OkStatus();
  }

  void ReplaceTls(TlsIdentity identity) { tls_->Replace(std::move(identity)); }

  Status AskOwnPort(std::chrono::milliseconds patience) {
    TF_ASSIGN_OR_RETURN(const OwnConnection own, acceptor_->ConnectOwn(patience));
    FileDescriptor connection(::fcntl(own.socket(), F_DUPFD_CLOEXEC, 0));
    if (!connection.is_open()) return {StatusCode::kUnavailable, "NO_ANSWER", "no descriptor left"};
    return CallHealth(std::move(connection), patience);
  }

  void SetReady(bool ready) {
    health_->Set("", ready);
    health_->Set(v1::ImageGenerationService::service_full_name(), ready);
  }

  void SetServing(std::string_view service, bool serving) {
    health_->Set(std::string(service), serving);
  }

  void StopServing() { health_->Stop(); }

  void Shutdown(std::chrono::milliseconds limit) {
    if (server_ == nullptr) return;
    const std::lock_guard lock(shutdown_mutex_);
    if (shut_down_) return;
    shut_down_ = true;
    health_->Detach();
    // gRPC would leave what it is given from here on open.
    acceptor_->Stop();
    server_->Shutdown(std::chrono::system_clock::now() + limit);
    server_->Wait();
  }

  const std::string& address() const { return address_; }

 private:
  void StartHealth() {
    health_ = std::make_shared<ServingHealth>(server_->GetHealthCheckService());
    SetReady(false);
    health_->Set(v1::ModelService::service_full_name(), true);
    health_->Set(v1::ServerService::service_full_name(), true);
    const auto follow = [health =
                             std::weak_ptr<ServingHealth>(health_)](const ModelSnapshot& snapshot) {
      const std::shared_ptr<ServingHealth> alive = health.lock();
      if (alive == nullptr) return;
      alive->Set(ModelHealthName(snapshot.spec.name), CheckServable(snapshot).ok());
    };
    context_.registry->OnChange(follow);
    // A change between OnChange and here is told twice, the same.
    for (const ModelSnapshot& snapshot : context_.registry->List()) follow(snapshot);
  }

  // Those that call go first: the acceptor, then the server and every call that uses the others.
  EncodeWorkers workers_;
  DecodeQueue decode_queue_;
  StalledReaders stalled_readers_;
  const CallContext context_;
  ImageGenerationServiceImpl image_generation_;
  ModelServiceImpl model_;
  ServerServiceImpl server_service_;
  ReflectionService reflection_;
  std::shared_ptr<ServingHealth> health_;
  std::mutex shutdown_mutex_;
  bool shut_down_ = false;
  std::string address_;
  std::shared_ptr<CurrentTlsIdentity> tls_;  // nullptr: plain text
  std::unique_ptr<ExternalConnectionAcceptor> clients_;
  std::unique_ptr<ExternalConnectionAcceptor> own_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
};

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                      const GrpcServerDependencies& dependencies,
                                                      ServerInfo info) {
  TF_ASSIGN_OR_RETURN(const ListenAddress listen, ParseListenAddress(options.listen));
  auto impl = std::make_unique<Impl>(options, dependencies, std::move(info));
  TF_RETURN_IF_ERROR(impl->Listen(listen, options.tls));
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GrpcServer::~GrpcServer() = default;

std::string GrpcServer::address() const { return impl_->address(); }
void GrpcServer::SetReady(bool ready) { impl_->SetReady(ready); }
void GrpcServer::SetServing(std::string_view service, bool serving) {
  impl_->SetServing(service, serving);
}
void GrpcServer::ReplaceTls(TlsIdentity identity) { impl_->ReplaceTls(std::move(identity)); }
Status GrpcServer::AskOwnPort(std::chrono::milliseconds patience) {
  return impl_->AskOwnPort(patience);
}
void GrpcServer::StopServing() { impl_->StopServing(); }
void GrpcServer::Shutdown(std::chrono::milliseconds limit) { impl_->Shutdown(limit); }

}  // namespace tightfit
