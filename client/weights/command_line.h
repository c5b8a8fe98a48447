// The command line of `tightfit-weights` as values.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_COMMAND_LINE_H_
#define TIGHTFIT_CLIENT_WEIGHTS_COMMAND_LINE_H_

#include "client/weights/weight_tensors.h"
#include "kernels/format.h"

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace tightfit::weights {

struct EncodeOptions {
  WeightFormat format = WeightFormat::kHf8;
  std::vector<int64_t> shape;
  std::string input;
  std::string output;
  int thread_count = 1;
  bool quiet = false;
};

enum class DecodedType { kFp16, kBf16, kFp32 };

struct DecodeOptions {
  std::string input;
  std::string output;
  DecodedType type = DecodedType::kFp16;
  bool quiet = false;
};

struct ReportOptions {
  std::string input;
  TensorFilter filter;
  std::vector<WeightFormat> formats;
  std::vector<int> bits;
  bool summary = false;  // no list of tensors
  bool json = false;
  int thread_count = 1;
  bool quiet = false;
};

struct FormatsOptions {
  bool json = false;
};

// The program has nothing more to do than to end: after --help, --version or a mistake, all
// printed.
struct ExitNow {
  int exit_code = 0;
};

using Command = std::variant<EncodeOptions, DecodeOptions, ReportOptions, FormatsOptions, ExitNow>;

Command ParseCommandLine(int argc, const char* const* argv);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_COMMAND_LINE_H_
