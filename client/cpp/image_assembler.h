// Puts the chunks of a stream's images together and holds the server to its word: chunks in order,
// without gaps, as many bytes as announced.
#ifndef TIGHTFIT_CLIENT_CPP_IMAGE_ASSEMBLER_H_
#define TIGHTFIT_CLIENT_CPP_IMAGE_ASSEMBLER_H_

#include "client/cpp/generation_types.h"
#include "server/base/status.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace tightfit::client {

struct ImageChunk {
  int32_t image_index = 0;
  int64_t offset_bytes = 0;
  std::string content;
  bool last = false;
  int64_t total_bytes = 0;
  std::string mime_type;
};

// Not thread-safe. All failures are DATA_LOSS.
class ImageAssembler {
 public:
  // No encoded image of the contract's largest size comes near it; bounds what a server can make
  // us hold.
  static constexpr int64_t kMaxImageBytes = int64_t{256} << 20;

  // Image i has seed first_seed + i; i is below image_count.
  ImageAssembler(int64_t first_seed, int32_t image_count)
      : first_seed_(first_seed), image_count_(image_count) {}

  // The image that this chunk completes, if it does.
  Result<std::optional<Image>> Add(ImageChunk chunk);

  // OK when every image came whole.
  Status CheckComplete() const;

 private:
  struct Partial {
    int64_t total_bytes = 0;
    std::string mime_type;
    std::string content;
  };

  const int64_t first_seed_;
  const int32_t image_count_;
  std::map<int32_t, Partial> partial_;
  std::set<int32_t> complete_;
};

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_IMAGE_ASSEMBLER_H_
