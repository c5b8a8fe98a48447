// StreamImagesCall: the reactor of StreamImages. One write is in flight; what waits behind it is
// kept in order, progress merged, images cut into chunks only when they are written.
#ifndef TIGHTFIT_SERVER_RPC_STREAM_IMAGES_CALL_H_
#define TIGHTFIT_SERVER_RPC_STREAM_IMAGES_CALL_H_

#include "server/rpc/generation_call.h"
#include "server/rpc/stalled_readers.h"

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>
#include <tightfit/v1/image_generation.pb.h>

#include <deque>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

namespace tightfit {

// Owns itself from Start until gRPC's OnDone; the executor and encoding threads may hold it longer.
class StreamImagesCall final : public GenerationCall,
                               public WatchedStream,
                               public grpc::ServerWriteReactor<v1::StreamImagesResponse> {
 public:
  // `call_context` outlives the call; `rpc` and `request` live until OnDone, as gRPC promises.
  static grpc::ServerWriteReactor<v1::StreamImagesResponse>* Start(
      const CallContext* call_context, grpc::CallbackServerContext* rpc,
      const v1::StreamImagesRequest* request);

  StreamImagesCall(const CallContext* call_context, grpc::CallbackServerContext* rpc,
                   const v1::StreamImagesRequest& request);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void CancelIfStalled(Clock::time_point now, std::chrono::nanoseconds limit) override;

 private:
  // An image of which `offset_bytes` have been written.
  struct UnsentImage {
    EncodedImage image;
    int64_t offset_bytes = 0;
  };
  using Event = std::variant<v1::StreamImagesResponse, UnsentImage>;

  void ReportQueued(int32_t position) override;
  void ReportStarted() override;
  void ReportProgress(const GenerationProgress& progress) override;
  void ReportImage(EncodedImage image) override;
  void ReportEnd(const Status& status) override;
  void DropUnsent() override;
  bool HasRoomForImage() const override;
  void Flush() override;

  // Moves the next message into writing_. False when there is none. REQUIRES: mutex_ held.
  bool TakeNextMessage();

  grpc::CallbackServerContext* const rpc_;
  std::shared_ptr<StreamImagesCall> self_;

  // Guarded by mutex_.
  std::deque<Event> events_;
  int32_t waiting_progress_count_ = 0;
  int64_t backlog_bytes_ = 0;  // of images in events_
  std::vector<v1::ImageMetadata> sent_images_;
  std::optional<Status> end_;
  bool completed_written_ = false;
  bool write_in_flight_ = false;
  bool cancelling_ = false;  // TryCancel runs: the context must stay
  bool finish_called_ = false;
  Clock::time_point write_started_at_;

  // Belongs to whoever set write_in_flight_, until OnWriteDone.
  v1::StreamImagesResponse writing_;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_STREAM_IMAGES_CALL_H_
