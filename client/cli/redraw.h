// `tightfit generate --from-png FILE`: the request that an image was drawn with, and what flags
// change in it.
#ifndef TIGHTFIT_CLIENT_CLI_REDRAW_H_
#define TIGHTFIT_CLIENT_CLI_REDRAW_H_

#include "client/cli/command_line.h"
#include "client/cli/server_session.h"
#include "client/cpp/parameters_text.h"
#include "server/base/status.h"

#include <string>
#include <vector>

namespace tightfit::cli {

// What the image at `path` says of its drawing. Throws CLI::ValidationError, one line, where it
// cannot be read.
client::DrawnImage ReadDrawnImage(const std::string& path);

// `request` with everything that `flags` give in its place; the prompt stays.
client::ImageRequest WithFlags(client::ImageRequest request, const client::ImageRequest& flags);

// Throws CLI::ValidationError where `options->drawn` was drawn over an image, or in a mask, and
// `options->request` has none. What another program drew goes on without, and is noted. `flags`:
// the request that they give by themselves.
void RequireInitImage(const client::ImageRequest& flags, GenerateOptions* options);

// What to send: the request of `options`, with the model of the server's that the image names,
// and what is to be said of the image. Errors: the call's, NOT_FOUND where there is no such
// model.
struct PreparedRequest {
  client::ImageRequest request;
  std::vector<std::string> notes;
};
Result<PreparedRequest> Prepare(const GenerateOptions& options, ServerSession& session);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_REDRAW_H_
