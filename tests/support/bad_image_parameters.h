// Every way to ask for images that cannot be had, one wrong field at a time.
#ifndef TIGHTFIT_TESTS_SUPPORT_BAD_IMAGE_PARAMETERS_H_
#define TIGHTFIT_TESTS_SUPPORT_BAD_IMAGE_PARAMETERS_H_

#include "tightfit/v1/image_generation.pb.h"

#include <functional>
#include <string>
#include <vector>

namespace tightfit {

struct BadImageParameters {
  std::string name;
  std::function<void(v1::ImageParameters&)> change;  // of parameters that are right
  std::string field;
  std::string limit;  // a part of the description that says what would be accepted
};

// Against a server with Limits as they are and the fake model: 64 x 64 px, 4 pixels per latent and
// 4 channels, clip skip up to 2, samplers euler and euler-a. At least 150 cases.
std::vector<BadImageParameters> AllBadImageParameters();

// A file of application/x-safetensors, made without the code under test.
std::string LatentsFile(const std::string& header, size_t data_bytes);
// What the fake model's default image needs.
std::string GoodLatentsFile();

}  // namespace tightfit

#endif  // TIGHTFIT_TESTS_SUPPORT_BAD_IMAGE_PARAMETERS_H_
