// Fuzz target: PNG files and parameter texts from anywhere, as `tightfit generate --from-png` reads
// them.
#include "client/cpp/parameters_text.h"
#include "client/cpp/png_text.h"
#include "tests/fuzz/require.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace {

void RequireOneLine(const tightfit::Status& status) {
  tightfit::Require(!status.message().empty() && status.message().size() < 1000);
}

void Read(std::string_view text) {
  const auto image = tightfit::client::RequestFromParametersText(text);
  if (!image.ok()) return RequireOneLine(image.status());
  tightfit::Require(image->notes.size() <= 32);
  tightfit::Require(image->request.prompt.size() <= text.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto text = tightfit::client::ParametersTextOfPng(bytes);
  if (text.ok()) {
    tightfit::Require(text->size() <= 2 << 20);  // Latin-1 becomes up to twice as long
    Read(*text);
  } else {
    RequireOneLine(text.status());
  }
  Read(bytes);
  return 0;
}
