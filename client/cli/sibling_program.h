// Commands that are programs of their own, since they link what `tightfit` should not.
#ifndef TIGHTFIT_CLIENT_CLI_SIBLING_PROGRAM_H_
#define TIGHTFIT_CLIENT_CLI_SIBLING_PROGRAM_H_

namespace tightfit::cli {

// Becomes the program `name` beside this one; `argv[0]` is the command's name. Returns only where
// that is impossible: an exit code, all printed.
int RunSiblingProgram(const char* name, char** argv);

}  // namespace tightfit::cli

#endif  // TIGHTFIT_CLIENT_CLI_SIBLING_PROGRAM_H_
