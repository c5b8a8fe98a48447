// The levels of the normal floats, by the formula of FORMATS.md section 4, as the nearest fp32. A
// test computes them again.
#ifndef TIGHTFIT_KERNELS_NORMAL_FLOAT_LEVELS_H_
#define TIGHTFIT_KERNELS_NORMAL_FLOAT_LEVELS_H_

#include <array>
#include <span>

namespace tightfit {

inline constexpr std::array<float, 32> kNormalLevels32 = {
    -1.0f,         -0.824615538f, -0.71151191f,  -0.623707831f,  -0.550068438f, -0.485531092f,
    -0.427314937f, -0.373706609f, -0.323562771f, -0.2760728f,    -0.230632856f, -0.186773583f,
    -0.144115448f, -0.102339789f, -0.061168801f, -0.0203508921f, 0.0203508921f, 0.061168801f,
    0.102339789f,  0.144115448f,  0.186773583f,  0.230632856f,   0.2760728f,    0.323562771f,
    0.373706609f,  0.427314937f,  0.485531092f,  0.550068438f,   0.623707831f,  0.71151191f,
    0.824615538f,  1.0f};
inline constexpr std::array<float, 24> kNormalLevels24 = {
    -1.0f,         -0.786007345f, -0.654525757f, -0.553047538f, -0.467659086f,  -0.392276525f,
    -0.323607773f, -0.259625286f, -0.19895786f,  -0.140604436f, -0.0837814361f, -0.0278323665f,
    0.0278323665f, 0.0837814361f, 0.140604436f,  0.19895786f,   0.259625286f,   0.323607773f,
    0.392276525f,  0.467659086f,  0.553047538f,  0.654525757f,  0.786007345f,   1.0f};
inline constexpr std::array<float, 16> kNormalLevels16 = {
    -1.0f,         -0.71856606f,   -0.555663586f, -0.429327458f, -0.321220547f, -0.223538518f,
    -0.131966949f, -0.0436476022f, 0.0436476022f, 0.131966949f,  0.223538518f,  0.321220547f,
    0.429327458f,  0.555663586f,   0.71856606f,   1.0f};
inline constexpr std::array<float, 12> kNormalLevels12 = {
    -1.0f,         -0.65868628f, -0.46733734f, -0.316555738f, -0.184198275f, -0.0605323203f,
    0.0605323203f, 0.184198275f, 0.316555738f, 0.46733734f,   0.65868628f,   1.0f};
inline constexpr std::array<float, 7> kNormalLevels7 = {
    -1.0f, -0.505610406f, -0.233216092f, 0.0f, 0.233216092f, 0.505610406f, 1.0f};

// Ascending. `level_count`: that of a row of kFormats.
constexpr std::span<const float> NormalLevels(int level_count) {
  switch (level_count) {
    case 32:
      return kNormalLevels32;
    case 24:
      return kNormalLevels24;
    case 16:
      return kNormalLevels16;
    case 12:
      return kNormalLevels12;
    case 7:
      return kNormalLevels7;
    default:
      return {};
  }
}

}  // namespace tightfit

#endif  // TIGHTFIT_KERNELS_NORMAL_FLOAT_LEVELS_H_
