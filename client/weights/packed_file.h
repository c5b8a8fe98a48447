// Files of one packed tensor: a header (kernels/FORMATS.md section 7) and the packed bytes.
#ifndef TIGHTFIT_CLIENT_WEIGHTS_PACKED_FILE_H_
#define TIGHTFIT_CLIENT_WEIGHTS_PACKED_FILE_H_

#include "client/weights/output_file.h"
#include "kernels/packed_header.h"
#include "server/base/status.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace tightfit::weights {

static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ >= kPartAlignmentBytes,
              "a vector's bytes begin where a packed tensor may begin");

struct PackedTensor {
  PackedHeader header;
  std::vector<uint8_t> bytes;  // header.layout.total_bytes
};

// Errors: CANNOT_READ; BAD_PACKED_FILE, saying what is wrong with the header; CHECKSUM_MISMATCH
// where the packed bytes are not those that were written. Allocates nothing before the header has
// passed, and no more than the file has.
Result<PackedTensor> ReadPackedFile(const std::string& path);

// `shape` has layout.rows rows and layout.columns columns, `packed` layout.total_bytes.
Status WritePackedTensor(std::span<const int64_t> shape, const PackedLayout& layout,
                         std::span<const uint8_t> packed, OutputFile& file);

}  // namespace tightfit::weights

#endif  // TIGHTFIT_CLIENT_WEIGHTS_PACKED_FILE_H_
