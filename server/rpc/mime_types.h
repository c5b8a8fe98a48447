// The MIME types of what a request can ask for.
#ifndef TIGHTFIT_SERVER_RPC_MIME_TYPES_H_
#define TIGHTFIT_SERVER_RPC_MIME_TYPES_H_

namespace tightfit {

inline constexpr char kPngMimeType[] = "image/png";
inline constexpr char kLatentsMimeType[] = "application/x-safetensors";

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_RPC_MIME_TYPES_H_
