#include "server/engine/sampler_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::vector<std::string> kSamplers = {"euler",
                                            "euler-karras",
                                            "euler-exponential",
                                            "euler-a",
                                            "heun",
                                            "ddim",
                                            "dpmpp-2m",
                                            "dpmpp-2m-karras",
                                            "dpmpp-2m-sde-karras",
                                            "dpmpp-sde",
                                            "dpmpp-sde-karras",
                                            "dpmpp-2s-a",
                                            "dpmpp-2s-a-karras",
                                            "dpmpp-3m-sde",
                                            "dpmpp-3m-sde-karras",
                                            "kdpm2",
                                            "kdpm2-karras",
                                            "kdpm2-a",
                                            "kdpm2-a-karras",
                                            "deis",
                                            "deis-karras",
                                            "unipc",
                                            "pndm",
                                            "ddpm",
                                            "lcm"};

std::string Resolved(std::string_view name) {
  const auto resolved = ResolveSamplerName(name, kSamplers);
  return resolved.ok() ? *resolved : std::string(resolved.status().message());
}

TEST(SamplerNamesTest, AreThoseOfOtherToolsToo) {
  const std::vector<std::pair<const char*, const char*>> names = {
      // A1111, Forge, SD.Next.
      {"Euler", "euler"},
      {"Euler a", "euler-a"},
      {"Euler Karras", "euler-karras"},
      {"Euler Exponential", "euler-exponential"},
      {"Heun", "heun"},
      {"DDIM", "ddim"},
      {"DPM++ 2M", "dpmpp-2m"},
      {"DPM++ 2M Karras", "dpmpp-2m-karras"},
      {"dpm++ 2m karras", "dpmpp-2m-karras"},
      {"DPM++ 2M SDE Karras", "dpmpp-2m-sde-karras"},
      {"DPM++ SDE", "dpmpp-sde"},
      {"DPM++ SDE Karras", "dpmpp-sde-karras"},
      {"DPM++ 2S a", "dpmpp-2s-a"},
      {"DPM++ 2S a Karras", "dpmpp-2s-a-karras"},
      {"DPM++ 3M SDE", "dpmpp-3m-sde"},
      {"DPM++ 3M SDE Karras", "dpmpp-3m-sde-karras"},
      {"DPM2", "kdpm2"},
      {"DPM2 Karras", "kdpm2-karras"},
      {"DPM2 a", "kdpm2-a"},
      {"DPM2 a Karras", "kdpm2-a-karras"},
      {"DEIS", "deis"},
      {"DEIS Karras", "deis-karras"},
      {"PLMS", "pndm"},
      {"PNDM", "pndm"},
      {"DDPM", "ddpm"},
      {"UniPC", "unipc"},
      {"LCM", "lcm"},
      {"DPM++ 2M Automatic", "dpmpp-2m-karras"},
      {"DPM++ SDE Automatic", "dpmpp-sde-karras"},
      {"Euler Automatic", "euler"},
      {"DPM2 a Automatic", "kdpm2-a-karras"},
      // ComfyUI, k-diffusion, Stable Diffusion APIs.
      {"euler_ancestral", "euler-a"},
      {"dpmpp_2m", "dpmpp-2m"},
      {"dpmpp_2m_karras", "dpmpp-2m-karras"},
      {"dpmpp_2s_ancestral", "dpmpp-2s-a"},
      {"dpmpp_2s_ancestral_karras", "dpmpp-2s-a-karras"},
      {"dpmpp_sde", "dpmpp-sde"},
      {"dpmpp_sde_gpu", "dpmpp-sde"},
      {"dpmpp_2m_sde_karras", "dpmpp-2m-sde-karras"},
      {"dpmpp_2m_sde_gpu_karras", "dpmpp-2m-sde-karras"},
      {"dpmpp_3m_sde", "dpmpp-3m-sde"},
      {"dpmpp_3m_sde_gpu", "dpmpp-3m-sde"},
      {"dpmpp_3m_sde_gpu_karras", "dpmpp-3m-sde-karras"},
      {"k_dpmpp_3m_sde", "dpmpp-3m-sde"},
      {"dpm_2", "kdpm2"},
      {"dpm_2_ancestral", "kdpm2-a"},
      {"dpm_2_ancestral_karras", "kdpm2-a-karras"},
      {"K_DPM_2_ANCESTRAL", "kdpm2-a"},
      {"k_dpm_2_a", "kdpm2-a"},
      {"sample_dpm_2", "kdpm2"},
      {"dpm2-ancestral", "kdpm2-a"},
      {"plms", "pndm"},
      {"uni_pc", "unipc"},
      {"uni_pc_bh2", "unipc"},
      {"euler_normal", "euler"},
      {"k_euler", "euler"},
      {"k_euler_ancestral", "euler-a"},
      {"K_DPMPP_2S_ANCESTRAL", "dpmpp-2s-a"},
      {"sample_dpmpp_2m", "dpmpp-2m"},
      {"sample_dpmpp_sde", "dpmpp-sde"},
      {"dpm++2m", "dpmpp-2m"},
      {"dpm++2s_a", "dpmpp-2s-a"},
      // InvokeAI.
      {"euler_k", "euler-karras"},
      {"dpmpp_2m_k", "dpmpp-2m-karras"},
      {"dpmpp_2m_sde_k", "dpmpp-2m-sde-karras"},
      {"dpmpp_sde_k", "dpmpp-sde-karras"},
      {"kdpm_2", "kdpm2"},
      {"kdpm_2_k", "kdpm2-karras"},
      {"kdpm_2_a_k", "kdpm2-a-karras"},
      {"deis_k", "deis-karras"},
      // diffusers.
      {"EulerDiscreteScheduler", "euler"},
      {"EulerAncestralDiscreteScheduler", "euler-a"},
      {"HeunDiscreteScheduler", "heun"},
      {"DDIMScheduler", "ddim"},
      {"DPMSolverMultistepScheduler", "dpmpp-2m"},
      {"DPMSolverSDEScheduler", "dpmpp-sde"},
      {"KDPM2DiscreteScheduler", "kdpm2"},
      {"KDPM2AncestralDiscreteScheduler", "kdpm2-a"},
      {"DEISMultistepScheduler", "deis"},
      {"PNDMScheduler", "pndm"},
      {"DDPMScheduler", "ddpm"},
      {"UniPCMultistepScheduler", "unipc"},
      {"LCMScheduler", "lcm"},
  };
  for (const auto& [name, expected] : names) EXPECT_EQ(Resolved(name), expected) << name;
  for (const std::string& name : kSamplers) EXPECT_EQ(Resolved(name), name);
}

TEST(SamplerNamesTest, OfSchedulesThatAreNotServedAreRefusedByThem) {
  EXPECT_THAT(Resolved("Euler SGM Uniform"),
              HasSubstr("euler is not served with the schedule sgm-uniform"));
  EXPECT_THAT(Resolved("Euler SGM Uniform"), HasSubstr("timestep_spacing \"trailing\""));
  EXPECT_THAT(Resolved("dpmpp_2m_exponential"), HasSubstr("schedule exponential"));
  EXPECT_THAT(Resolved("DPM++ 2M Align Your Steps"), HasSubstr("schedule align-your-steps"));
  EXPECT_THAT(Resolved("Euler a Karras"),
              HasSubstr("euler-a is not served with the schedule karras"));
  EXPECT_THAT(Resolved("UniPC Karras"), HasSubstr("unipc is not served with"));
  EXPECT_THAT(Resolved("DPM++ 3M SDE Exponential"),
              HasSubstr("dpmpp-3m-sde is not served with the schedule exponential"));
  EXPECT_THAT(Resolved("PLMS Karras"), HasSubstr("pndm is not served with the schedule karras"));
}

TEST(SamplerNamesTest, OfSamplersThatNoModelHasAreRefusedByThem) {
  for (const auto& [name, base] : std::vector<std::pair<const char*, const char*>>{
           {"DPM++ 2M SDE", "dpmpp-2m-sde is served as dpmpp-2m-sde-karras alone"},
           {"DPM++ 2M SDE Exponential", "dpmpp-2m-sde is served as dpmpp-2m-sde-karras alone"},
           {"DPM++ 2M SDE Heun Karras", "it has no dpmpp-2m-sde-heun"},
           {"DPM fast", "it has no dpm-fast"},
           {"LMS", "it has no lms"},
           {"DPMSolverSinglestepScheduler", "it has no dpmsolversinglestep"},
           {"FlowMatchEulerDiscreteScheduler", "it has no flowmatcheulerdiscrete"}}) {
    EXPECT_THAT(Resolved(name), HasSubstr(base)) << name;
    EXPECT_THAT(Resolved(name), HasSubstr("must be one of euler, euler-karras")) << name;
  }
}

TEST(SamplerNamesTest, UnknownAreRefusedWithTheListAndTheNearest) {
  EXPECT_THAT(Resolved("DPM++ 2M Karas"), HasSubstr("did you mean \"dpmpp-2m-karras\"?"));
  EXPECT_THAT(Resolved("eulr"), HasSubstr("did you mean \"euler\"?"));
  for (const char* name : {"", "plasma", " ", "-", "++", "scheduler", "k-", "euler ", "euler\n"}) {
    EXPECT_THAT(Resolved(name), HasSubstr("must be one of euler, ")) << name;
  }
  EXPECT_THAT(Resolved(std::string(1 << 20, 'e')), Not(HasSubstr("eeee")));
}

TEST(SamplerNamesTest, OfSamplersThatThisModelLacksAreRefused) {
  const auto resolved = ResolveSamplerName("DPM++ 2M Karras", {"euler", "euler-a"});
  EXPECT_EQ(resolved.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(resolved.status().message(), HasSubstr("must be one of euler, euler-a"));
}

}  // namespace
}  // namespace tightfit
