// The command line of `tightfit fidelity` as values.
#ifndef TIGHTFIT_CLIENT_FIDELITY_COMMAND_LINE_H_
#define TIGHTFIT_CLIENT_FIDELITY_COMMAND_LINE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace tightfit::fidelity {

struct FidelityOptions {
  std::string model;    // a model directory
  std::string against;  // the reference's model directory; empty: `model`
  std::vector<std::string> formats;
  std::vector<std::string> scopes;
  // Of all weights: MiB, or one of `formats` whose bytes in the scope "linear+conv" are meant.
  std::vector<std::string> budgets;
  std::string prompts;       // a file
  int32_t prompt_limit = 0;  // 0: all
  int32_t seed_count = 1;    // of each prompt
  std::string classes;       // a file; empty: no recognition
  std::vector<std::string> samplers;
  std::string compute_dtype = "fp32";
  std::optional<int32_t> width_px;
  std::optional<int32_t> height_px;
  std::optional<int32_t> step_count;
  std::optional<double> guidance_scale;
  int64_t seed = 1;
  std::string out = "fidelity";  // a folder
  bool with_floors = true;
  bool sensitivity = false;  // of single layers, instead of all that
  bool store = false;        // in the model directory
  int thread_count = 0;      // 0: all processors
  bool json = false;
  bool quiet = false;
};

struct ExitNow {
  int exit_code = 0;
};

// ExitNow after --help or a mistake, all printed.
std::variant<FidelityOptions, ExitNow> ParseCommandLine(int argc, const char* const* argv);

}  // namespace tightfit::fidelity

#endif  // TIGHTFIT_CLIENT_FIDELITY_COMMAND_LINE_H_
