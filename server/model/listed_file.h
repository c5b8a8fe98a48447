// ListedFile: a file of a model directory as model.json lists it, and the check that it is that.
#ifndef TIGHTFIT_SERVER_MODEL_LISTED_FILE_H_
#define TIGHTFIT_SERVER_MODEL_LISTED_FILE_H_

#include "server/base/status.h"

#include <cstdint>
#include <functional>
#include <string>

namespace tightfit {

// A file of the directory, its name relative to it. Names hold no "..", no leading "/" .
struct ListedFile {
  std::string file;
  int64_t bytes = 0;
  std::string sha256;  // 64 lower-case hex digits
};

// Reads the whole of a listed file of at most `max_bytes` and checks size and SHA-256. `directory`
// is the path of the model directory. Errors: DATA_LOSS `FILE_MISSING`, `FILE_TRUNCATED` (any wrong
// size), `CHECKSUM_MISMATCH`.
Result<std::string> ReadListedFile(const std::string& directory, const ListedFile& file,
                                   int64_t max_bytes);

// The same checks for a file of any size, which is not kept. `progress`, which may be empty, hears
// the bytes of each piece; if it returns false the end is LoadStopped.
Status CheckListedFile(const std::string& directory, const ListedFile& file,
                       const std::function<bool(int64_t)>& progress);

// Whether a listed file is there and has the size that model.json says. Nothing of it is read.
// Errors: FILE_MISSING, FILE_TRUNCATED.
Status CheckListedSize(const std::string& directory, const ListedFile& file);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_LISTED_FILE_H_
