// The flags that say what is drawn over, and in which part of it.
#ifndef TIGHTFIT_CLIENT_CLI_INIT_IMAGE_FLAGS_H_
#define TIGHTFIT_CLIENT_CLI_INIT_IMAGE_FLAGS_H_

#include "client/cpp/generation_types.h"

#include <CLI/CLI.hpp>

#include <optional>
#include <string>

namespace tightfit::cli {

class InitImageFlags {
 public:
  // Numbers go into `request`, which outlives the parsing.
  void AddTo(CLI::App* command, client::ImageRequest* request);

  // All else; reads the files. Throws CLI::ValidationError.
  void ApplyTo(client::ImageRequest* request) const;

 private:
  std::optional<std::string> init_image_;
  std::optional<std::string> mask_;
  bool no_keep_unmasked_ = false;
  std::optional<std::string> inpaint_area_;
  std::optional<std::string> outpaint_;
};

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_INIT_IMAGE_FLAGS_H_
