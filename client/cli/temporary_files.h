// The temporary files that this process is writing, for the moment when it must end at once.
#ifndef TIGHTFIT_CLIENT_CLI_TEMPORARY_FILES_H_
#define TIGHTFIT_CLIENT_CLI_TEMPORARY_FILES_H_

#include <string>

namespace tightfit::cli {

// Thread-safe, all three.

// The file is there; it is removed if the process ends before ForgetTemporary.
void TrackTemporary(const std::string& path);
// The file has its final name, or is gone.
void ForgetTemporary(const std::string& path);
// Right before _exit.
void RemoveTemporaryFiles();

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_TEMPORARY_FILES_H_
