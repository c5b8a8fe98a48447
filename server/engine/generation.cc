#include "server/engine/generation.h"

namespace tightfit {

std::string_view StageName(Stage stage) {
  switch (stage) {
    case Stage::kModelLoad:
      return "model_load";
    case Stage::kTextEncode:
      return "text_encode";
    case Stage::kDenoise:
      return "denoise";
    case Stage::kVaeDecode:
      return "vae_decode";
    case Stage::kImageEncode:
      return "image_encode";
  }
  return "unknown";
}

}  // namespace tightfit
