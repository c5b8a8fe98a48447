// ComponentFormats: which format each component of a model is packed in, as configurations and
// command lines write it.
//
//   e2m5r                                        the UNet's; the rest stays unpacked
//   unet=e2m5r,text_encoder_2=q8,vae=hf12:linear  each its own, after a colon with its own scope
#ifndef TIGHTFIT_SERVER_BASE_COMPONENT_FORMATS_H_
#define TIGHTFIT_SERVER_BASE_COMPONENT_FORMATS_H_

#include "server/base/status.h"

#include <map>
#include <string>
#include <string_view>

namespace tightfit {

inline constexpr char kUnpackedFormat[] = "fp16";
inline constexpr char kDefaultFormat[] = "e2m5r";
// What configurations say unless they say something else: what a packed checkpoint is packed in,
// kDefaultFormat for the UNet of any other.
inline constexpr char kAutoFormat[] = "auto";
// What descriptions say of a component whose layers have formats of their own.
inline constexpr char kMixedFormat[] = "mixed";
inline constexpr char kDefaultScope[] = "linear+conv";

struct ComponentFormat {
  std::string format = kUnpackedFormat;  // a name of kernels/format.h, or kUnpackedFormat
  std::string scope = kDefaultScope;     // "attention", "linear", "linear+conv"

  friend bool operator==(const ComponentFormat&, const ComponentFormat&) = default;
};

// By component; those that are not named stay unpacked.
using ComponentFormats = std::map<std::string, ComponentFormat>;

// Parts are separated by commas or semicolons. `unet_scope`: of the UNet where it has none of its
// own. Names of formats and scopes are not looked at. Errors: INVALID_ARGUMENT for an unknown
// component, one that is named twice, or a part without a value.
Result<ComponentFormats> ParseComponentFormats(std::string_view text, std::string_view unet_scope);

// The shortest text that gives `formats` again, the scope of the UNet aside: "e2m5r" of the UNet
// alone, else "unet=e2m5r,text_encoder_2=q8".
std::string ComponentFormatsText(const ComponentFormats& formats);

// How `component` is packed: unpacked where it is not named.
ComponentFormat FormatOf(const ComponentFormats& formats, const std::string& component);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_COMPONENT_FORMATS_H_
