// The names that samplers have in A1111's lists of samplers and schedules: what is written into
// images, and what images of others are read by.
#ifndef TIGHTFIT_SERVER_BASE_SHOWN_SAMPLERS_H_
#define TIGHTFIT_SERVER_BASE_SHOWN_SAMPLERS_H_

#include <string_view>

namespace tightfit {

struct ShownSampler {
  std::string_view name;   // ours: "dpmpp-2m-karras"
  std::string_view shown;  // "DPM++ 2M"
  // "Karras", "Exponential"; "" for the levels of the training timesteps themselves.
  std::string_view schedule;
  // What A1111 takes for it under "Automatic"; "" for the training timesteps.
  std::string_view automatic_schedule = "";
  // A1111 gives it no choice of a schedule, and spaces its timesteps as "leading" does.
  bool is_by_timesteps = false;
};

inline constexpr ShownSampler kShownSamplers[] = {
    {"euler", "Euler", ""},
    {"euler-karras", "Euler", "Karras"},
    {"euler-exponential", "Euler", "Exponential"},
    {"euler-a", "Euler a", ""},
    {"heun", "Heun", ""},
    {"ddim", "DDIM", "", "", true},
    {"dpmpp-2m", "DPM++ 2M", "", "Karras"},
    {"dpmpp-2m-karras", "DPM++ 2M", "Karras", "Karras"},
    {"dpmpp-2m-sde-karras", "DPM++ 2M SDE", "Karras", "Exponential"},
    {"dpmpp-sde", "DPM++ SDE", "", "Karras"},
    {"dpmpp-sde-karras", "DPM++ SDE", "Karras", "Karras"},
    {"dpmpp-2s-a", "DPM++ 2S a", "", "Karras"},
    {"dpmpp-2s-a-karras", "DPM++ 2S a", "Karras", "Karras"},
    {"dpmpp-3m-sde", "DPM++ 3M SDE", "", "Exponential"},
    {"dpmpp-3m-sde-karras", "DPM++ 3M SDE", "Karras", "Exponential"},
    {"kdpm2", "DPM2", "", "Karras"},
    {"kdpm2-karras", "DPM2", "Karras", "Karras"},
    {"kdpm2-a", "DPM2 a", "", "Karras"},
    {"kdpm2-a-karras", "DPM2 a", "Karras", "Karras"},
    {"deis", "DEIS", ""},
    {"deis-karras", "DEIS", "Karras"},
    {"unipc", "UniPC", "", "", true},
    {"pndm", "PLMS", "", "", true},
    {"ddpm", "DDPM", ""},
    {"lcm", "LCM", ""},
};

}  // namespace tightfit

#endif  // TIGHTFIT_SERVER_BASE_SHOWN_SAMPLERS_H_
