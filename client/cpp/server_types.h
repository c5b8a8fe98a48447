// What a server tells about itself and its models. The fields are those of
// proto/tightfit/v1/model.proto and server.proto.
#ifndef TIGHTFIT_CLIENT_CPP_SERVER_TYPES_H_
#define TIGHTFIT_CLIENT_CPP_SERVER_TYPES_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tightfit::client {

using TimePoint = std::chrono::system_clock::time_point;

struct PurposeBytes {
  std::string purpose;  // "weights", "activations", "scratch"
  int64_t current_bytes = 0;
  int64_t peak_bytes = 0;
};

struct ModuleLeft {
  std::string module;
  std::string reason;
};

// The weight of a Linear or Conv2d and how it is held.
struct Layer {
  std::string module;
  std::string format;  // where it is not packed its dtype
  int64_t parameter_count = 0;
  int64_t weight_bytes = 0;
};

struct Component {
  std::string name;
  std::string format;
  int64_t parameter_count = 0;
  int64_t fp16_bytes = 0;
  int64_t weight_bytes = 0;
  int64_t packed_bytes = 0;
  int64_t packed_parameter_count = 0;
  int32_t packed_module_count = 0;
  int32_t holder_count = 0;              // models on the device that use these weights
  std::vector<ModuleLeft> modules_left;  // filled by GetModel only
  std::vector<Layer> layers;             // filled by GetModel only
  std::vector<PurposeBytes> memory;
};

enum class ModelState { kUnspecified, kUnloaded, kLoading, kResident, kEvicting, kFailed };
std::string_view ModelStateName(ModelState state);  // "resident"; "unknown" for kUnspecified

struct ModelDefaults {
  int32_t width_px = 0;
  int32_t height_px = 0;
  int32_t step_count = 0;
  float guidance_scale = 0.0f;
  std::string sampler;
  std::string timestep_spacing;
};

struct Model {
  std::string name;
  ModelState state = ModelState::kUnspecified;
  std::optional<TimePoint> state_time;
  std::string failure_reason;
  std::string failure_message;
  int64_t loaded_bytes = 0;  // while loading: read, of all
  int64_t total_bytes = 0;
  std::string format;
  std::string scope;
  // Set once resident:
  std::string compute_dtype;
  std::string device;
  std::string family;
  std::string hash;
  std::string license;
  std::optional<ModelDefaults> defaults;
  std::vector<std::string> samplers;
  int32_t pixels_per_latent = 0;
  int32_t max_clip_skip = 0;
  std::string state_reason;
  bool pinned = false;
  std::chrono::nanoseconds keep_alive{0};  // 0: until others need the room
  int32_t priority = 0;
  std::optional<TimePoint> last_used;
  int32_t running_request_count = 0;
  int64_t weight_bytes = 0;         // that its weights take, or would take at most
  int64_t shared_weight_bytes = 0;  // of them that other models on the device use too
  int64_t host_cached_bytes = 0;    // of an unloaded model: packed in host memory
  int32_t vae_tile_px = 0;
  bool takes_init_image = false;  // false: it has no VAE encoder
  std::vector<Component> components;
  std::optional<std::chrono::nanoseconds> load_duration;
};

// What UpdateModel changes; what is absent stays.
struct ModelUpdate {
  std::optional<bool> pinned;
  std::optional<std::chrono::nanoseconds> keep_alive;
  std::optional<int32_t> priority;
};

struct Device {
  std::string name;
  std::string description;
  int64_t total_bytes = 0;
  int64_t used_bytes = 0;
  int64_t attributed_bytes = 0;
  int64_t unattributed_bytes = 0;
  int64_t limit_bytes = 0;
  int64_t reserved_bytes = 0;
  int64_t host_cache_bytes = 0;
};

struct ServerInfo {
  std::string version;
  std::string build_commit;
  std::string libtorch_version;
  std::optional<TimePoint> start_time;
  Device device;
  int32_t queued_request_count = 0;
  int32_t running_request_count = 0;
};

struct WeightFormat {
  std::string name;
  double bits_per_weight = 0.0;
  double max_value = 0.0;
};

struct Capabilities {
  int32_t min_side_px = 0;
  int32_t max_side_px = 0;
  int64_t max_area_px = 0;
  int32_t max_image_count = 0;
  int32_t max_step_count = 0;
  float max_guidance_scale = 0.0f;
  int32_t max_prompt_bytes = 0;
  int64_t max_pixel_steps = 0;
  int64_t max_unary_reply_bytes = 0;
  int32_t max_queued_requests = 0;
  std::vector<std::string> samplers;
  std::vector<std::string> mime_types;
  std::vector<WeightFormat> formats;
  std::vector<std::string> scopes;
  int32_t max_input_image_bytes = 0;
  int64_t max_input_image_px = 0;
};

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_SERVER_TYPES_H_
