#include "server/pipeline/denoiser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A network that answers with its first input, and notes what it was given.
class DenoiserTest : public ::testing::Test {
 protected:
  Denoiser Make(std::vector<std::string> inputs, at::ScalarType dtype = at::kFloat) {
    Network network{
        .run = [this](std::vector<c10::IValue> given) -> Result<std::vector<at::Tensor>> {
          given_.clear();
          for (const c10::IValue& value : given) given_.push_back(value.toTensor());
          return std::vector<at::Tensor>{answer_.defined() ? answer_ : given_.front()};
        }};
    network.dtype = dtype;
    return {std::move(network), std::move(inputs), 2};
  }

  Conditioning Conditions() const {
    Conditioning conditioning;
    conditioning.inputs = {{"encoder_hidden_states", at::full({2, 3, 4}, 7.0)},
                           {"time_ids", at::full({2, 6}, 9.0)}};
    return conditioning;
  }

  const at::Tensor sample_ = at::full({2, 4, 8, 8}, 0.5);
  std::vector<at::Tensor> given_;
  at::Tensor answer_;
};

TEST_F(DenoiserTest, GivesInputsInTheOrderOfTheirNames) {
  const Denoiser denoiser = Make({"sample", "time_ids", "encoder_hidden_states", "timestep"});
  ASSERT_TRUE(denoiser.Predict(sample_, 501.0f, Conditions()).ok());
  ASSERT_EQ(given_.size(), 4u);
  EXPECT_THAT(given_[1].sizes(), ElementsAre(2, 6));
  EXPECT_THAT(given_[2].sizes(), ElementsAre(2, 3, 4));
  EXPECT_THAT(given_[3].sizes(), ElementsAre(2));
  EXPECT_EQ(given_[3][1].item<float>(), 501.0f);
}

TEST_F(DenoiserTest, CastsTheSampleAloneAndAnswersInFp32) {
  const Denoiser denoiser = Make({"sample", "timestep"}, at::kBFloat16);
  const auto prediction = denoiser.Predict(sample_, 1.0f, Conditions());
  ASSERT_TRUE(prediction.ok());
  EXPECT_EQ(given_[0].scalar_type(), at::kBFloat16);
  EXPECT_EQ(given_[1].scalar_type(), at::kFloat);
  EXPECT_EQ(prediction->scalar_type(), at::kFloat);
}

TEST_F(DenoiserTest, RefusesAnInputThatIsNoCondition) {
  const auto prediction = Make({"sample", "class_labels"}).Predict(sample_, 1.0f, Conditions());
  ASSERT_FALSE(prediction.ok());
  EXPECT_THAT(prediction.status().message(), HasSubstr("class_labels"));
}

TEST_F(DenoiserTest, RefusesAnAnswerOfAnotherShape) {
  answer_ = at::zeros({2, 4, 8, 9});
  EXPECT_FALSE(Make({"sample", "timestep"}).Predict(sample_, 1.0f, Conditions()).ok());
}

}  // namespace
}  // namespace tightfit
