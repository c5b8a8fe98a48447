// The JSON documents of --json. Their keys are described in JSON.md and stay.
#ifndef TIGHTFIT_CLIENT_PACK_PACK_JSON_H_
#define TIGHTFIT_CLIENT_PACK_PACK_JSON_H_

#include "server/weights/cut_directory.h"
#include "server/weights/directory_check.h"
#include "server/weights/packed_directory.h"

#include <string>

namespace tightfit::pack {

// Indented, each with a newline at the end. Bytes that are not UTF-8 are replaced.
std::string PackDocument(const std::string& model, const std::string& out,
                         const DirectoryPackingReport& report, double seconds);
std::string UnpackDocument(const std::string& model, const std::string& out,
                           const DirectoryUnpackingReport& report, double seconds);
std::string VerifyDocument(const std::string& model, const DirectoryCheckReport& report,
                           double seconds);

std::string CutDocument(const std::string& model, const std::string& out, const ShardList& list,
                        double seconds);
std::string JoinDocument(const std::string& model, const std::string& out,
                         const DirectoryJoinReport& report, double seconds);

}  // namespace tightfit::pack

#endif  // TIGHTFIT_CLIENT_PACK_PACK_JSON_H_
