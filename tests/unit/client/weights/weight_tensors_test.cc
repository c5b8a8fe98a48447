#include "client/weights/weight_tensors.h"

#include "client/weights/input_file.h"
#include "tests/unit/client/weights/sample_weights.h"
#include "tests/unit/model/safetensors_writer.h"
#include "tests/unit/model/temporary_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tightfit::weights::testing {
namespace {

using Names = std::vector<std::string>;

StoredTensor Named(std::string name, std::vector<int64_t> shape) {
  StoredTensor tensor{.name = std::move(name), .shape = std::move(shape), .element_count = 1};
  for (const int64_t dimension : tensor.shape) tensor.element_count *= dimension;
  return tensor;
}

const std::vector<StoredTensor>& Tensors() {
  static const std::vector<StoredTensor> tensors = {
      Named("down.0.attn1.to_q.weight", {4, 4}),
      Named("down.0.attn1.to_q.bias", {4}),
      Named("conv_in.weight", {4, 2, 3, 3}),
      Named("add_embedding.linear_1.weight", {4, 4}),
      Named("text_model.embeddings.token_embedding.weight", {100, 4}),
      Named("scale", {}),
      Named("conv3d.weight", {2, 2, 2, 2, 2}),
      Named("empty.weight", {0, 4}),
  };
  return tensors;
}

Names Chosen(const TensorFilter& filter) {
  Names names;
  for (const StoredTensor& tensor : ChooseTensors(Tensors(), filter).tensors) {
    names.push_back(tensor.name);
  }
  return names;
}

TEST(ChooseTensorsTest, TakesMatricesAndConvolutionsAndCountsTheRest) {
  EXPECT_EQ(Chosen({}),
            (Names{"down.0.attn1.to_q.weight", "conv_in.weight", "add_embedding.linear_1.weight"}));
  const TensorChoice choice = ChooseTensors(Tensors(), {});
  EXPECT_EQ(choice.vector_count, 2);
  EXPECT_EQ(choice.embedding_count, 1);
  EXPECT_EQ(choice.other_count, 2);
}

TEST(ChooseTensorsTest, GoesByScopeAndName) {
  EXPECT_EQ(Chosen({.scope = "linear"}),
            (Names{"down.0.attn1.to_q.weight", "add_embedding.linear_1.weight"}));
  EXPECT_EQ(Chosen({.scope = "attention"}), (Names{"down.0.attn1.to_q.weight"}));
  EXPECT_EQ(Chosen({.name_pattern = "*conv*"}), (Names{"conv_in.weight"}));
  EXPECT_EQ(Chosen({.name_pattern = "conv"}), Names());
}

TEST(LoadTensorTest, PutsTheChannelsOfAConvolutionLast) {
  // [K 2, C 3, R 1, S 2]: the weight at k, c, s is 100 k + 10 c + s, as an fp16 pattern.
  std::vector<uint16_t> stored;
  for (uint16_t k = 0; k < 2; ++k) {
    for (uint16_t c = 0; c < 3; ++c) {
      for (uint16_t s = 0; s < 2; ++s) stored.push_back(100 * k + 10 * c + s);
    }
  }
  SafetensorsWriter writer;
  writer.Add("first", "F16", {1}, "xx");
  writer.Add("conv", "F16", {2, 3, 1, 2}, BytesOf(stored));
  const TemporaryDirectory directory;
  const auto file = OpenSafetensors(directory.Write("weights", writer.Bytes()));
  ASSERT_TRUE(file.ok());
  const auto loaded = LoadTensor(**file, (*file)->tensors()[1]);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->rows, 2);
  EXPECT_EQ(loaded->columns, 6);
  EXPECT_EQ(loaded->fp16, (std::vector<uint16_t>{0, 10, 20, 1, 11, 21,  //
                                                 100, 110, 120, 101, 111, 121}));
}

TEST(LoadTensorTest, RoundsFp32PieceByPiece) {
  const int64_t count = (1 << 20) + 5;  // more than a piece
  std::vector<float> stored(static_cast<size_t>(count), 1.0f);
  stored.back() = 0.1f;
  SafetensorsWriter writer;
  writer.Add("large", "F32", {1, count}, BytesOf(stored));
  const TemporaryDirectory directory;
  const auto file = OpenSafetensors(directory.Write("weights", writer.Bytes()));
  ASSERT_TRUE(file.ok());
  const auto loaded = LoadTensor(**file, (*file)->tensors()[0]);
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->fp16.front(), 0x3C00);
  EXPECT_EQ(loaded->fp16.back(), 0x2E66);  // the fp16 nearest to 0.1
}

TEST(OpenSafetensorsTest, SaysWhatIsWrongWithWhichFile) {
  const TemporaryDirectory directory;
  const std::string path = directory.Write("weights", SafetensorsBytes("{", ""));
  EXPECT_EQ(OpenSafetensors(path).status().reason(), "BAD_SAFETENSORS");
  EXPECT_EQ(OpenSafetensors(path).status().message().rfind(path, 0), 0u);
  EXPECT_EQ(OpenSafetensors(path + "x").status().reason(), "CANNOT_READ");
  EXPECT_EQ(OpenSafetensors(directory.Write("cut", "abc")).status().reason(), "FILE_TRUNCATED");
}

}  // namespace
}  // namespace tightfit::weights::testing
