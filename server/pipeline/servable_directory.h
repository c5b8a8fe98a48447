// What a model directory says of its model, without loading it.
#ifndef TIGHTFIT_SERVER_PIPELINE_SERVABLE_DIRECTORY_H_
#define TIGHTFIT_SERVER_PIPELINE_SERVABLE_DIRECTORY_H_

#include "server/base/component_formats.h"
#include "server/base/status.h"
#include "server/engine/diffusion_model.h"
#include "server/model/model_directory.h"
#include "server/pipeline/compute_dtype.h"
#include "server/weights/component.h"

#include <string>

namespace tightfit {

// A directory that can be served as `spec` says.
struct ServableDirectory {
  ModelDirectory directory;
  ComponentFormats formats;
  FormatsByModule unet_formats;  // of a UNet whose layers have formats of their own
  ComputeDtypes dtypes;
  at::Device device;
};

// Reads model.json and checks it against `spec`; without the VAE's encoder if `spec` takes another
// VAE from a file that has none. Errors: ReadModelDirectory's, CheckFamily's,
// those of the samplers, ResolveComputeDtype's; INVALID_ARGUMENT for a vae_tile_px that is no
// multiple of a latent. `device` is one that OpenDevice has named.
Result<ServableDirectory> OpenServableDirectory(const ModelSpec& spec, const std::string& device);

// How a component of the model is to be held. The VAE's dtype may be another one than the model's.
ComponentOptions ComponentOptionsOf(const ModelSpec& spec, const ServableDirectory& servable,
                                    const std::string& component);

// Whether every file that a load reads is there, as long as model.json says, and a `vae` of the
// configuration has this model's tensors; what is in them the load checks. Errors: OpenWeights',
// FILE_MISSING, FILE_TRUNCATED.
Status CheckFilesAreThere(const ModelSpec& spec, const ServableDirectory& servable);

// Everything but the components and what only loading measures. Weight bytes are an upper bound
// from the headers of the weight files. Errors: CheckPacking's, and of files that cannot be read.
Result<ModelDescription> DescribeModel(const ModelSpec& spec, const ServableDirectory& servable);

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_PIPELINE_SERVABLE_DIRECTORY_H_
