// How a RunningServer ends: by a signal, by a lost device, by a call that hangs, by a silent port.
#include "server/app/device_binding.h"
#include "server/app/running_server.h"
#include "server/base/clock.h"
#include "server/base/device_loss.h"
#include "server/base/running_time.h"
#include "server/telemetry/logging.h"

#include <unistd.h>

#include <algorithm>
#include <exception>

namespace tightfit {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Event = ProcessEvents::Event;

// How long a cancelled request has to leave the call of its model that it is in.
constexpr milliseconds kCancelGrace{2000};
// How long the end of the last requests may take to reach their clients.
constexpr milliseconds kHandOver{3000};
constexpr milliseconds kLastMoment{100};
// How long NOT_SERVING can be seen before the process ends on a call that hangs.
constexpr milliseconds kHangNotice{1000};
constexpr std::chrono::hours kNoLimit{24 * 365};

}  // namespace

void EndNow(int code) {
  FlushLog(kLogHandOver);
  _exit(code);
}

void RunningServer::OnDeviceLost(const Status& loss) {
  executor_.Abandon(loss);
  events_->Post(Event::kDeviceLost);
  Log(LogLevel::kError, "the device is lost; the process must be started anew",
      {{"error", loss.ForLog()}});
}

ProcessEvents::Event RunningServer::NextEvent(milliseconds patience) {
  const Event event = events_->Wait(steady_clock::now() + patience);
  if (event == Event::kReload) credential_watch_->ReloadSoon();
  if (event != Event::kTimeout && event != Event::kReload) return event;
  if (WatchdogOf(config_, device_).count() > 0) {
    if (const auto call = progress_.FindOverdue()) EndOnHang(*call);
  }
  // While it stops, the port is closed.
  if (self_check_ != nullptr && !is_stopping_ && self_check_->IsOverdue()) EndOnSilence();
  return event;
}

void RunningServer::EndOnHang(const ProgressWatch::OverdueCall& call) {
  grpc_->StopServing();
  const double seconds = std::chrono::duration<double>(call.since_progress).count();
  Log(LogLevel::kError, "a call of a model hangs; the process must be started anew",
      {{"model", call.model},
       {"stage", DeviceCallName(call.what)},
       {"seconds", seconds},
       {"exit_code", int64_t{kExitDevice}}});
  executor_.Abandon(DeviceLost("a call of a model hangs"));
  EndAfterNotice();
}

void RunningServer::EndOnSilence() {
  const double seconds = std::chrono::duration<double>(config_.self_check).count();
  Log(LogLevel::kError, "the own port does not answer; the process must be started anew",
      {{"listen", grpc_->address()},
       {"seconds", seconds},
       {"error", self_check_->last_failure()},
       {"exit_code", int64_t{kExitDevice}}});
  // Not from this thread: what keeps the port silent may keep whoever touches it.
  try {
    std::thread([this] {
      grpc_->StopServing();
      executor_.Abandon(DeviceLost("the server does not answer"));
    }).detach();
  } catch (const std::exception&) {  // no thread left: nobody hears of it
  }
  EndAfterNotice();
}

void RunningServer::EndAfterNotice() {
  std::this_thread::sleep_for(kHangNotice);
  RemoveAddressFile();
  EndNow(kExitDevice);
}

int RunningServer::Stop() {
  is_stopping_ = true;
  // Of a lost device nothing is left to finish: what remains is to tell clients.
  const milliseconds timeout = device_lost_ ? kHandOver : config_.drain_timeout;
  // Whoever reads NOT_SERVING can rely on it.
  executor_.StopAccepting();
  grpc_->StopServing();
  Log(LogLevel::kInfo, "draining",
      {{"queued", int64_t{executor_.queued_count()}},
       {"running", int64_t{executor_.running_count()}},
       {"timeout_seconds", std::chrono::duration<double>(timeout).count()}});
  std::thread drainer([this] {
    try {
      Drain();
    } catch (const std::exception&) {  // no memory
      requests_were_cut_ = true;
    }
    events_->Post(Event::kDrained);
  });
  WaitUntilDrained(timeout);
  drainer.join();
  if (canceller_.joinable()) canceller_.join();
  if (device_lost_) return kExitDevice;
  return requests_were_cut_ ? kExitDrainTimeout : kExitDrained;
}

void RunningServer::Drain() {
  executor_.Drain(kNoLimit);
  // What remains is to hand finished images, or the reason why there are none, to clients.
  // All of it comes before gRPC's farewell, which a client answers when it has read what came
  // before: closing earlier would reset connections with bytes under way.
  RunningTime handing_over(&Clock::Real(), kLongestWatchGap);
  while (!in_flight_calls_.WaitForNone(steady_clock::now() + kWatchInterval) &&
         handing_over.Elapsed() < kHandOver) {
  }
  // gRPC's farewell may answer a call that just arrives with CANCELLED, which clients do not send
  // again; a closed connection is UNAVAILABLE.
  if (device_lost_) {
    std::this_thread::sleep_for(kLastMoment);
    return;
  }
  // Not longer: a watch on health never ends by itself.
  grpc_->Shutdown(
      std::max(kLastMoment, std::chrono::ceil<milliseconds>(kHandOver - handing_over.Elapsed())));
}

void RunningServer::WaitUntilDrained(milliseconds limit) {
  RunningTime running(&Clock::Real(), kLongestWatchGap);
  std::chrono::nanoseconds cancel_at = limit;
  for (;;) {
    const std::chrono::nanoseconds next_at =
        canceller_.joinable() ? cancel_at + kCancelGrace : cancel_at;
    const auto left = std::chrono::ceil<milliseconds>(next_at - running.Elapsed());
    switch (NextEvent(std::clamp(left, milliseconds(1), kWatchInterval))) {
      case Event::kDrained:
        return;
      case Event::kTerminate:
        if (canceller_.joinable()) break;
        Log(LogLevel::kWarning, "second signal: cancelling",
            {{"queued", int64_t{executor_.queued_count()}},
             {"running", int64_t{executor_.running_count()}}});
        cancel_at = std::min(cancel_at, running.Elapsed());
        break;
      case Event::kModelsLoaded:
        models_loaded_ = true;
        break;
      case Event::kDeviceLost:
        device_lost_ = true;
        break;
      case Event::kReload:
      case Event::kTimeout:
        break;
    }
    if (running.Elapsed() >= cancel_at) CancelAll();
    if (running.Elapsed() >= cancel_at + kCancelGrace) EndOnStuckModel();
  }
}

void RunningServer::EndOnStuckModel() {
  const int code = device_lost_ ? kExitDevice : kExitDrainTimeout;
  Log(LogLevel::kError, "a model does not come back; abandoning it",
      {{"running", int64_t{executor_.running_count()}}, {"exit_code", int64_t{code}}});
  RemoveAddressFile();
  EndNow(code);
}

void RunningServer::CancelAll() {
  if (canceller_.joinable()) return;
  try {
    canceller_ = std::thread([this] {
      try {
        if (!executor_.Drain(milliseconds(0))) requests_were_cut_ = true;
      } catch (const std::exception&) {  // no memory: the end of the process cuts them
        requests_were_cut_ = true;
      }
    });
  } catch (const std::exception&) {  // no thread left: the end of the process cuts them
    requests_were_cut_ = true;
  }
}

void RunningServer::RemoveAddressFile() const {
  if (address_file_ != nullptr) address_file_->Remove();
}

}  // namespace tightfit
