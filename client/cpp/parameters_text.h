// From the text that tightfit, A1111 or Forge writes into its images to the request that draws
// the same image again.
#ifndef TIGHTFIT_CLIENT_CPP_PARAMETERS_TEXT_H_
#define TIGHTFIT_CLIENT_CPP_PARAMETERS_TEXT_H_

#include "client/cpp/generation_types.h"
#include "server/base/status.h"

#include <string>
#include <string_view>
#include <vector>

namespace tightfit::client {

struct Model;

// What an image says of its drawing.
struct DrawnImage {
  ImageRequest request;
  bool is_by_tightfit = false;  // then nothing was guessed
  // Of the model, empty where the text does not tell: 10 hex digits, and how it was packed.
  std::string model_hash;
  std::string format;
  std::string scope;
  std::string compute_dtype;
  // One line for each thing that the image was drawn with and that is not done here.
  std::vector<std::string> notes;
};

// Reads `text` (UTF-8). What others write is taken as they mean it: names of samplers and
// schedules, the count of clip skip, spacings that follow from them. Initial latents, and images to
// draw over, with their masks, are no part of an image: where denoising_start is above 0, or there
// is a strength or mask_blur_px, they must be added. Errors: INVALID_ARGUMENT, one line, for a text
// of another form or a value that is none.
Result<DrawnImage> RequestFromParametersText(std::string_view text);

// Sets `image.request.model` to the one of `models` that the image names, or that has its hash.
// A model that differs in hash or packing is noted; where there is neither name nor hash, the only
// model is taken, and noted. Errors: NOT_FOUND that says which model it was.
Status ChooseModel(const std::vector<Model>& models, DrawnImage* image);

}  // namespace tightfit::client

#endif  // TIGHTFIT_CLIENT_CPP_PARAMETERS_TEXT_H_
