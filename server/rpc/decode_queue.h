// DecodeQueue: the thread that decodes images which requests draw over, and who waits for it.
#ifndef TIGHTFIT_SERVER_RPC_DECODE_QUEUE_H_
#define TIGHTFIT_SERVER_RPC_DECODE_QUEUE_H_

#include "server/base/status.h"
#include "server/rpc/encode_workers.h"

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <new>
#include <type_traits>

namespace tightfit {

// Thread-safe. One thread: an image and its resizing take up to a second of a processor, and up to
// 10 bytes a pixel meanwhile. It is none of those that encode, so that whoever sends many images
// delays senders of images alone.
class DecodeQueue {
 public:
  explicit DecodeQueue(int32_t max_waiting) : max_waiting_(max_waiting) {}

  // Tasks start in the order of Post; see EncodeWorkers. Errors: RESOURCE_EXHAUSTED `QUEUE_FULL`
  // with retry-after where `max_waiting` tasks run or wait.
  Status Post(std::function<void()> task);

 private:
  const int32_t max_waiting_;
  std::atomic<int32_t> waiting_{0};
  EncodeWorkers worker_{1};  // ends first
};

// What `work` gives, a Status or a Result, or the failure that it threw: a call whose task ends
// without a word would never end.
template <typename Work>
std::invoke_result_t<Work> ResultOrFailure(const Work& work) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kResourceExhausted, "OUT_OF_MEMORY",
                  "the host's memory does not suffice to decode an image");
  } catch (const std::exception& error) {
    return Internal("an image could not be decoded", error.what());
  }
}

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_DECODE_QUEUE_H_
