// What the command's exit codes mean. They are part of its interface.
#ifndef TIGHTFIT_CLIENT_CLI_EXIT_CODE_H_
#define TIGHTFIT_CLIENT_CLI_EXIT_CODE_H_

namespace tightfit::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;         // refused by the server, or failed
inline constexpr int kExitUsage = 2;          // the command line cannot be honoured
inline constexpr int kExitCannotConnect = 3;  // no server answered
inline constexpr int kExitSignalBase = 128;   // plus the signal's number: Ctrl-C is 130

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_EXIT_CODE_H_
