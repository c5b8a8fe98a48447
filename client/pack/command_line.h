// The command line of `tightfit pack` as values.
#ifndef TIGHTFIT_CLIENT_PACK_COMMAND_LINE_H_
#define TIGHTFIT_CLIENT_PACK_COMMAND_LINE_H_

#include "server/base/component_formats.h"

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace tightfit::pack {

// What all of them have.
struct SharedOptions {
  std::string model;  // a model directory
  int thread_count = 1;
  bool json = false;
  bool quiet = false;
};

struct PackOptions {
  SharedOptions shared;
  std::string out;
  ComponentFormats formats;
  std::optional<double> budget_mib;
  std::optional<double> min_psnr_db;
  std::vector<std::string> exclude;
};

struct UnpackOptions {
  SharedOptions shared;
  std::string out;
};

struct VerifyOptions {
  SharedOptions shared;
};

struct CutOptions {
  SharedOptions shared;
  std::string out;
  int64_t shard_bytes = 0;
};

struct JoinOptions {
  SharedOptions shared;  // `model` is the directory that was cut
  std::string out;
};

// The program has nothing more to do than to end: after --help, --version or a mistake, all
// printed.
struct ExitNow {
  int exit_code = 0;
};

using Command =
    std::variant<PackOptions, UnpackOptions, VerifyOptions, CutOptions, JoinOptions, ExitNow>;

Command ParseCommandLine(int argc, const char* const* argv);

}  // namespace tightfit::pack

#endif  // TIGHTFIT_CLIENT_PACK_COMMAND_LINE_H_
