// The weight file of a component, opened and held against what the model directory says of it. Free
// of LibTorch.
#ifndef TIGHTFIT_SERVER_MODEL_WEIGHT_FILES_H_
#define TIGHTFIT_SERVER_MODEL_WEIGHT_FILES_H_

#include "server/base/status.h"
#include "server/model/model_directory.h"
#include "server/model/safetensors.h"

#include <memory>
#include <string>

namespace tightfit {

// Opens `listed`, and if `other_path` is not empty that file in its place, which must hold every
// tensor of `listed` in its shape. Errors: SafetensorsFile::Open's; FILE_TRUNCATED if `listed` has
// another size than model.json says; BAD_MODEL_DIRECTORY naming the tensor.
Result<std::unique_ptr<SafetensorsFile>> OpenWeights(const ModelDirectory& directory,
                                                     const ListedFile& listed,
                                                     const std::string& other_path);

// Whether a listed file is there and has the size that model.json says. Nothing of it is read.
// Errors: FILE_MISSING, FILE_TRUNCATED.
Status CheckListedSize(const ModelDirectory& directory, const ListedFile& file);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_MODEL_WEIGHT_FILES_H_
