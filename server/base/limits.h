// Every limit on what a client may ask for, in one place. `rpc` checks them before anything is
// allocated, and `GetCapabilities` publishes them.
#ifndef TIGHTFIT_SERVER_BASE_LIMITS_H_
#define TIGHTFIT_SERVER_BASE_LIMITS_H_

#include <cstdint>

namespace tightfit {

struct Limits {
  int32_t min_side_px = 16;
  int32_t max_side_px = 2048;
  int64_t max_area_px = 4 * 1024 * 1024;
  int32_t max_image_count = 8;
  int32_t max_step_count = 150;
  float max_guidance_scale = 30.0f;
  int32_t max_prompt_bytes = 4096;
  // width x height x images x steps of one request: single limits do not compose.
  int64_t max_pixel_steps = int64_t{4} * 1024 * 1024 * 150;

  // Of an image that a request draws over, and of its mask: bytes as they are sent, and pixels once
  // they are decoded and made larger. Photos of 12 megapixels fit.
  int32_t max_input_image_bytes = 8 << 20;
  int64_t max_input_image_px = 16 * 1024 * 1024;

  int32_t max_queued_requests = 64;
  // Latents of the largest request fit: max_image_count of max_area_px, 16 bytes for 64 pixels. So
  // do an image of max_input_image_bytes and a mask of an eighth.
  int32_t max_receive_message_bytes = 9 << 20;
  // Of one message, counted before it is parsed: two bytes can become an object of a hundred.
  int32_t max_message_fields = 10'000;
  int32_t max_send_message_bytes = 64 << 20;
  // A unary reply that may pass this many bytes is refused early: default clients receive 4 MiB.
  // One image of 1024 x 1024 fits (3 MiB of incompressible pixels and its text).
  int64_t max_unary_reply_bytes = 4 << 20;
  int64_t grpc_memory_quota_bytes = 128 << 20;
  int32_t image_chunk_bytes = 64 << 10;
  // What may wait for a slow reader before image data of that stream holds back its worker.
  int64_t max_stream_backlog_bytes = 64 << 20;
  int32_t stalled_reader_seconds = 30;
  // Of all images that are asked for and that their clients have not taken, if none of them
  // could be compressed, and of those that they draw over: ten of the largest requests.
  int64_t max_undelivered_image_bytes = int64_t{1} << 30;

  // Connections at once, and those of one address; 0: by the descriptors that the process may have
  // (server/base/connection_limits.h).
  int32_t max_connections = 0;
  int32_t max_connections_per_address = 0;
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_LIMITS_H_
