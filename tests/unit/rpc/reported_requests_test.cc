// Requests that users of other tools reported trouble with: what becomes of each.
#include "tests/unit/rpc/rpc_fixture.h"

#include <functional>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

using Parameters = v1::ImageParameters;

struct Reported {
  const char* name;
  std::function<void(Parameters&)> change;
  std::vector<const char*> warnings;  // "REASON text"
  // Empty where it is drawn.
  const char* refused_field = "";
  const char* refusal = "";
};

std::function<void(Parameters&)> Prompt(const std::string& prompt) {
  return [prompt](Parameters& p) { p.set_prompt(prompt); };
}

std::vector<Reported> AllReported() {
  std::string long_prompt;
  for (int i = 0; i < 37; ++i) long_prompt += "red, ";
  return {
      {"a few-step model without a spacing of its own",
       [](Parameters& p) {
         p.set_timestep_spacing("trailing");
         p.set_step_count(1);
         p.set_guidance_scale(0.0f);
       },
       {}},
      {"a tag of a LoRA",
       Prompt("red apple <lora:add_detail:0.8>"),
       {"LORA_IGNORED <lora:add_detail:0.8>"}},
      {"prompt editing",
       Prompt("[red apple:green pear:0.5]"),
       {"MARKUP_READ_AS_TEXT [red apple:green pear:0.5]"}},
      {"composition", Prompt("red apple AND green pear"), {"MARKUP_READ_AS_TEXT AND"}},
      {"an embedding of ComfyUI",
       Prompt("red apple, embedding:badhands"),
       {"EMBEDDING_READ_AS_TEXT embedding:badhands"}},
      {"a weight behind brackets",
       Prompt("(red apple)1.3"),
       {"MARKUP_READ_AS_TEXT (red apple)1.3"}},
      {"plus signs", Prompt("red apple++"), {"MARKUP_READ_AS_TEXT apple++"}},
      {"a phrase across the end of a chunk", Prompt(long_prompt + "orange hair"), {}},
      {"a sampler by its shown name", [](Parameters& p) { p.set_sampler("Euler a"); }, {}},
      {"a sampler that the model lacks",
       [](Parameters& p) { p.set_sampler("DPM++ SDE"); },
       {},
       "sampler",
       "must be one of euler, euler-a"},
      {"a schedule that is not served",
       [](Parameters& p) { p.set_sampler("Euler SGM Uniform"); },
       {},
       "sampler",
       "euler is not served with the schedule sgm-uniform"},
      {"a seed of -1", [](Parameters& p) { p.set_seed(-1); }, {}, "seed", "0 to"},
      {"two steps without guidance",
       [](Parameters& p) {
         p.set_step_count(2);
         p.set_guidance_scale(0.0f);
         p.set_negative_prompt("night");
       },
       {}},
      {"guidance of 1", [](Parameters& p) { p.set_guidance_scale(1.0f); }, {}},
      {"escaped brackets", Prompt("\\(red\\) apple \\[a:b:1\\]"), {}},
      {"nested brackets", Prompt("((red) (apple:0.5):1.5)"), {}},
      {"brackets that are never closed", Prompt("(red apple"), {}},
      {"a negative weight", Prompt("red (apple:-0.8)"), {}},
      {"a side of 72", [](Parameters& p) { p.set_width_px(72); }, {}},
      {"a side of 66", [](Parameters& p) { p.set_width_px(66); }, {}, "width_px", "multiple of 4"},
      {"line ends of Windows", Prompt("red apple\r\nwith a leaf"), {}},
      {"line ends of an old Mac", Prompt("red apple\rwith a leaf"), {}},
      {"a bell is none", Prompt("red apple\a"), {}, "prompt", "control characters"},
  };
}

class ReportedRequestsTest : public RpcFixture {};

TEST_F(ReportedRequestsTest, AreDrawnOrToldOrRefusedByName) {
  StartServer();
  for (const Reported& reported : AllReported()) {
    SCOPED_TRACE(reported.name);
    v1::StreamImagesRequest request;
    request.mutable_parameters()->set_step_count(1);
    reported.change(*request.mutable_parameters());
    const StreamResult result = Stream(request);
    if (reported.refused_field[0] != '\0') {
      EXPECT_EQ(result.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
      EXPECT_THAT(DetailsOf(result.status).ViolationOf(reported.refused_field),
                  HasSubstr(reported.refusal));
      continue;
    }
    EXPECT_TRUE(result.status.ok()) << result.status.error_message();
    std::vector<std::string> warnings;
    for (const v1::StreamImagesResponse& event : result.events) {
      for (const v1::Warning& warning : event.started().warnings()) {
        warnings.push_back(warning.reason() + " " + warning.text());
      }
    }
    EXPECT_THAT(warnings, ElementsAreArray(reported.warnings));
  }
}

}  // namespace
}  // namespace tightfit
