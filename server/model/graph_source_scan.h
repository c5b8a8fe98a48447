// Checks of a TorchScript archive's texts and pickles, made before LibTorch reads any of them.
// Free of LibTorch.
#ifndef TIGHTFIT_SERVER_MODEL_GRAPH_SOURCE_SCAN_H_
#define TIGHTFIT_SERVER_MODEL_GRAPH_SOURCE_SCAN_H_

#include "server/base/status.h"

#include <string_view>

namespace tightfit {

// `source` is a code/*.py of the archive `file`. Every function called must be on the list of
// allowed operators, a module's forward or a conversion of the language; every method defined must
// be forward. So nothing runs while the archive is loaded (`__setstate__` would) and nothing later
// but the graph. Error: FORBIDDEN_OPERATOR naming the first offender.
Status ScanGraphSource(std::string_view file, std::string_view source);

// `pickle` is a *.pkl of the archive `file`. It must be a sequence of the plain opcodes that
// LibTorch writes, and name no global but modules of the archive, tensors and containers. Error:
// FORBIDDEN_OPERATOR naming the global; BAD_MODEL_DIRECTORY for an opcode out of place.
Status ScanPickle(std::string_view file, std::string_view pickle);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_GRAPH_SOURCE_SCAN_H_
