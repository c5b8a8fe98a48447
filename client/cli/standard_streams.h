// stdout and stderr, which may be closed, full or a pipe that nobody reads.
#ifndef TIGHTFIT_CLIENT_CLI_STANDARD_STREAMS_H_
#define TIGHTFIT_CLIENT_CLI_STANDARD_STREAMS_H_

#include <string_view>

namespace tightfit::cli {

// First thing in main: gives closed streams a descriptor that cannot be used, so that no file of
// ours is opened in their place.
void GuardStandardStreams();

// Never throw and never end the process. What cannot be written to stderr is lost; a failure of
// stdout is kept for EndOfOutput. Flushed at once.
void WriteError(std::string_view text);
// False where this or an earlier text is missing.
bool WriteOutput(std::string_view text);

// Last thing in main: `exit_code`, or that of a failure with one line on stderr if something that
// went to stdout, by whatever way, could not be written.
int EndOfOutput(int exit_code);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_STANDARD_STREAMS_H_
