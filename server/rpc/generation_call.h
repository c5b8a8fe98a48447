// GenerationCall: what StreamImages and GenerateImages share. It stands between the executor, which
// calls it as a GenerationObserver, the encoding threads and a gRPC reactor, and never blocks any.
#ifndef TIGHTFIT_SERVER_RPC_GENERATION_CALL_H_
#define TIGHTFIT_SERVER_RPC_GENERATION_CALL_H_

#include "server/base/cancellation.h"
#include "server/base/clock.h"
#include "server/engine/generation.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/call_access.h"
#include "server/rpc/call_context.h"
#include "server/rpc/call_record.h"
#include "server/rpc/generation_messages.h"
#include "server/rpc/image_inputs.h"
#include "server/rpc/request_validator.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {

// When a client's deadline passes on `clock`; nullopt without one.
std::optional<Clock::time_point> DeadlineOn(const Clock& clock,
                                            std::chrono::system_clock::time_point deadline);

// Thread-safe. Ends only after the executor has let go of the request, whatever happens.
class GenerationCall : public GenerationObserver,
                       public std::enable_shared_from_this<GenerationCall> {
 public:
  void OnQueued(int32_t position) final;
  void OnStarted(const GenerationParameters& parameters) final;
  void OnProgress(const GenerationProgress& progress) final;
  void OnPromptTokens(const std::vector<PromptTokens>& prompts) final;
  void OnImage(Image image) final;
  void OnFinished(const Status& status, const GenerationTimings& timings) final;

 protected:
  ~GenerationCall() override;
  template <typename Request>
  GenerationCall(const CallContext* context, const Request& request,
                 std::chrono::system_clock::time_point deadline)
      : GenerationCall(context, MethodOf(*Request::descriptor()).name, request.parameters(),
                       deadline) {}

  // Checks who calls and what is asked, then queues the request, or ends the call with the reason.
  // Images to draw over are decoded on a thread of their own, so the end may come from there.
  // `request` lives until the reactor is done.
  template <typename Request>
  void AdmitAndSubmit(const grpc::CallbackServerContext& rpc, const Request& request) {
    const Status admitted =
        record_.Admit(CheckAccess(context_->access, rpc, MethodOf(*Request::descriptor()).path));
    if (!admitted.ok()) return Submit(admitted);
    const auto validate = [this, &request] {
      return ValidateRequest(request, context_->limits, *context_->registry);
    };
    const int64_t input_bytes = InputImageBytes(request.parameters());
    if (input_bytes == 0) return Submit(validate());
    SubmitDecoded(input_bytes, validate);
  }

  // Stops the work before the next call of the model; the call ends with `cause`.
  void Abandon(Status cause);
  // The same, because gRPC cancelled the call: the client is gone or out of time.
  void AbandonByClient();

  // Hooks, called with mutex_ held, in the order of the events. ReportEnd is the last; with OK it
  // comes after every image. A second ReportEnd tells that the call was abandoned before all of it
  // was sent, and changes nothing once Finish was called.
  virtual void ReportQueued(int32_t position) = 0;
  virtual void ReportStarted() = 0;
  virtual void ReportProgress(const GenerationProgress& progress) = 0;
  virtual void ReportImage(EncodedImage image) = 0;
  virtual void ReportEnd(const Status& status) = 0;
  // Forgets what has not been sent: the call was abandoned.
  virtual void DropUnsent() = 0;
  // False while so much waits to be sent that no further image should be encoded.
  virtual bool HasRoomForImage() const { return true; }
  // Called without the lock after hooks: sends what can be sent.
  virtual void Flush() = 0;

  // Encodes the next image if there is one and there is room for it. Without the lock.
  void EncodeNext();
  // For the final report: the engine's timings, the encoding's, and the time since the start.
  v1::Timings TimingsMessage() const;
  // Into the final report's list of prompts.
  void AddPromptTokens(google::protobuf::RepeatedPtrField<v1::PromptTokens>* messages) const;

  const CallContext& context() const { return *context_; }
  const AcceptedRequest& accepted() const { return accepted_; }
  CallRecord& record() { return record_; }

  mutable std::mutex mutex_;

 private:
  GenerationCall(const CallContext* context, const std::string& method,
                 const v1::ImageParameters& parameters,
                 std::chrono::system_clock::time_point deadline);

  void Submit(Result<AcceptedRequest> accepted);
  // Submits what `validate` gives on the thread that decodes images; `input_bytes` of the message
  // wait for it, and stay until the call ends.
  void SubmitDecoded(int64_t input_bytes, std::function<Result<AcceptedRequest>()> validate);
  // On a thread of the workers: encodes, tells of it, and goes on to the next image.
  void Encode(Image image);
  void TakeEncoded(Image image);
  void EndIfDone();
  // Sets aside what images take, those to draw over and those not delivered, until the call ends.
  Status TakeImageBytes(int64_t bytes);

  const CallContext* const context_;
  const std::shared_ptr<ByteBudget> budget_;  // a call may go a moment after the context
  const std::chrono::system_clock::time_point received_at_;
  const std::chrono::system_clock::time_point deadline_;
  CallRecord record_;
  const std::shared_ptr<Cancellation> cancellation_;
  int64_t image_bytes_ = 0;   // taken from the budget
  AcceptedRequest accepted_;  // set before the request is submitted, constant after

  // Guarded by mutex_.
  bool submitted_ = false;
  std::deque<Image> waiting_images_;
  bool encoding_ = false;
  std::optional<Status> failure_;     // ends the call instead of the engine's status
  std::optional<Status> engine_end_;  // set when the executor has let go
  bool ended_ = false;
  Clock::time_point started_at_;
  GenerationProgress last_progress_;
  GenerationTimings timings_;
  std::vector<PromptTokens> prompt_tokens_;
  std::chrono::nanoseconds encode_duration_{0};
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_GENERATION_CALL_H_
