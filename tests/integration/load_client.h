// Many calls at a time, from callbacks instead of a thread each.
#ifndef TIGHTFIT_TESTS_INTEGRATION_LOAD_CLIENT_H_
#define TIGHTFIT_TESTS_INTEGRATION_LOAD_CLIENT_H_

#include "tightfit/v1/image_generation.grpc.pb.h"

#include <grpcpp/channel.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace tightfit {

struct LoadResult {
  int64_t sent = 0;
  int64_t ok = 0;
  int64_t refused = 0;                  // RESOURCE_EXHAUSTED with a time to retry after
  std::map<std::string, int64_t> lost;  // every other end, by its text
  std::chrono::nanoseconds elapsed{0};  // from the first call to the last end
  // Of calls that ended OK, from the moment they were due, in order.
  std::vector<std::chrono::microseconds> latencies;
  std::chrono::microseconds Percentile(double share) const;
};

// Sends GenerateImages `per_second` times a second for `duration`, whether answers come or not, in
// turns over `channels`, and waits for every end.
LoadResult SendOpenLoop(const std::vector<std::shared_ptr<grpc::Channel>>& channels,
                        const v1::ImageParameters& parameters, double per_second,
                        std::chrono::milliseconds duration);

// Sends so many at a time, the next when one has ended.
LoadResult SendClosedLoop(const std::vector<std::shared_ptr<grpc::Channel>>& channels,
                          const v1::ImageParameters& parameters, int at_a_time,
                          std::chrono::milliseconds duration);

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_INTEGRATION_LOAD_CLIENT_H_
