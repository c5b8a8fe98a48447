// The classes of weights/ on a whole SDXL pipeline as the exporter writes it, with random weights.
// TIGHTFIT_TINY_MODEL names its directory.
#include "server/memory/memory_accounts.h"
#include "server/model/safetensors.h"
#include "server/model/sha256.h"
#include "server/weights/component.h"
#include "server/weights/packed_checkpoint_writer.h"
#include "server/weights/weight_source.h"
#include "tests/unit/model/golden_tables.h"
#include "tests/unit/model/temporary_directory.h"
#include "tests/unit/weights/meta_operators.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

namespace tightfit {
namespace {

constexpr char kModel[] = "tiny";

class TinyModelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* const path = std::getenv("TIGHTFIT_TINY_MODEL");
    if (path == nullptr || !std::filesystem::exists(std::string(path) + "/model.json")) {
      GTEST_SKIP() << "TIGHTFIT_TINY_MODEL names no exported model; run it through ctest";
    }
    auto model = ReadModelDirectory(path);
    ASSERT_TRUE(model.ok()) << model.status().ForLog();
    model_ = *model;
  }

  static std::unique_ptr<Component> Load(const ModelDirectory& model, const std::string& component,
                                         const std::string& format,
                                         at::ScalarType dtype = at::kFloat,
                                         const std::string& scope = "linear+conv") {
    ComponentOptions options;
    options.owner = kModel;
    options.component = component;
    options.format = format;
    options.scope.name = scope;
    options.dtype = dtype;
    auto loaded = Component::Load(model, options, {});
    EXPECT_TRUE(loaded.ok()) << component << " " << format << ": " << loaded.status().ForLog();
    return loaded.ok() ? std::move(*loaded) : nullptr;
  }

  // Inputs of a component's graph; latents of a side that is no multiple of 4.
  std::vector<c10::IValue> Inputs(const std::string& component, at::ScalarType dtype) const {
    const at::Generator generator = at::detail::createCPUGenerator(3);
    const auto random = [&](std::vector<int64_t> shape) {
      return at::randn(shape, generator).to(dtype);
    };
    if (component == "unet") {
      return {random({2, model_.latent_channels, 10, 7}), at::full({2}, 701.0f),
              random({2, 77, model_.embedding_size}), random({2, model_.pooled_size}),
              at::full({2, 6}, 64.0f)};
    }
    if (component == "vae") return {random({1, model_.latent_channels, 5, 8})};
    at::Tensor ids = at::full({1, 77}, 49407, at::kLong);
    ids[0][0] = 49406;
    ids[0][1] = 320;
    return {ids};
  }

  // A copy of the model whose in-scope weights of the UNet are decode(encode(w)).
  ModelDirectory RoundTripped(const TemporaryDirectory& directory, const std::string& format,
                              const std::vector<std::string>& keys) const {
    ModelDirectory copy = model_;
    copy.path = directory.path();
    const ListedFile& graph = copy.components["unet"].graphs["fp32"];
    directory.Write(graph.file, ReadWholeFile(model_.PathOf(graph)));
    ListedFile& weights = copy.components["unet"].weights;
    std::string bytes = ReadWholeFile(model_.PathOf(weights));
    const auto file = SafetensorsFile::Open(model_.PathOf(weights), weights.file);
    EXPECT_TRUE(file.ok());
    const GoldenTables golden(*FormatByName(format));
    for (const StoredTensor& tensor : (*file)->tensors()) {
      if (std::find(keys.begin(), keys.end(), tensor.name) == keys.end()) continue;
      for (int64_t i = 0; i < tensor.element_count; ++i) {
        uint16_t pattern = 0;
        char* const at = bytes.data() + tensor.offset_bytes + 2 * i;
        std::memcpy(&pattern, at, sizeof(pattern));
        pattern = golden.RoundTrip(pattern);
        std::memcpy(at, &pattern, sizeof(pattern));
      }
    }
    directory.Write(weights.file, bytes);
    weights.sha256 = Sha256::HexDigestOf(bytes);
    return copy;
  }

  // Weights of 2 or 4 dimensions that belong to modules of the scope linear+conv: all in the UNet.
  std::vector<std::string> MatrixKeys() const {
    const ListedFile& weights = model_.components.at("unet").weights;
    const auto file = SafetensorsFile::Open(model_.PathOf(weights), weights.file);
    EXPECT_TRUE(file.ok());
    std::vector<std::string> keys;
    for (const StoredTensor& tensor : (*file)->tensors()) {
      if (tensor.shape.size() >= 2) keys.push_back(tensor.name);
    }
    return keys;
  }

  static double RelativeError(const at::Tensor& found, const at::Tensor& expected) {
    return ((found - expected).norm() / expected.norm()).item<double>();
  }

  ModelDirectory model_;
};

TEST_F(TinyModelTest, EveryComponentLoadsAndRunsPackedAndUnpackedInEachDtype) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::string component : {"unet", "text_encoder", "text_encoder_2", "vae"}) {
      std::vector<at::Tensor> unpacked;
      for (const std::string format : {"fp16", "hf8", "hf12"}) {
        const std::unique_ptr<Component> loaded = Load(model_, component, format, dtype);
        ASSERT_NE(loaded, nullptr);
        auto output = loaded->Run(Inputs(component, dtype));
        ASSERT_TRUE(output.ok()) << component << " " << format << " " << output.status().ForLog();
        if (format == "fp16") unpacked = *output;
        ASSERT_EQ((*output).size(), component.substr(0, 4) == "text" ? 2u : 1u);
        for (size_t i = 0; i < unpacked.size(); ++i) {
          const at::Tensor found = (*output)[i].to(at::kFloat);
          EXPECT_EQ(found.sizes(), unpacked[i].sizes());
          EXPECT_TRUE(at::isfinite(found).all().item<bool>()) << component << " " << format;
        }
        const ComponentDescription& description = loaded->description();
        EXPECT_EQ(description.parameter_count, model_.components[component].parameter_count);
        EXPECT_EQ(description.packed_module_count > 0, format != "fp16") << component;
        EXPECT_TRUE(description.unpacked_modules.empty());
      }
    }
  }
}

TEST_F(TinyModelTest, PackedUNetEqualsTheUNetWithDecodedWeights) {
  const std::vector<std::string> keys = MatrixKeys();
  const std::vector<c10::IValue> inputs = Inputs("unet", at::kFloat);
  const at::Tensor plain = Load(model_, "unet", "fp16")->Run(inputs).value()[0];
  for (const std::string format : {"hf8", "hf8x", "hf10", "hf12"}) {
    const std::unique_ptr<Component> packed = Load(model_, "unet", format);
    ASSERT_NE(packed, nullptr);
    EXPECT_EQ(packed->description().packed_module_count, static_cast<int32_t>(keys.size()));
    const at::Tensor found = packed->Run(inputs).value()[0];
    const TemporaryDirectory directory;
    const at::Tensor expected =
        Load(RoundTripped(directory, format, keys), "unet", "fp16")->Run(inputs).value()[0];
    EXPECT_LT(RelativeError(found, expected), 1e-5) << format;
    // Control: the same measure sees the difference to weights that were never packed.
    EXPECT_GT(RelativeError(found, plain), 1e-4) << format;
  }
}

TEST_F(TinyModelTest, ScopesPackMoreAndMoreModules) {
  const auto count = [&](const std::string& scope) {
    return Load(model_, "unet", "hf8", at::kFloat, scope)->description().packed_module_count;
  };
  const int32_t attention = count("attention");
  const int32_t linear = count("linear");
  const int32_t all = count("linear+conv");
  EXPECT_GT(attention, 0);
  EXPECT_GT(linear, attention);
  EXPECT_GT(all, linear);
  // attn1 and attn2 of a transformer block have four Linear each.
  EXPECT_EQ(attention % 8, 0);
}

TEST_F(TinyModelTest, HoldsThePackedBytesAndNothingOfTheFp16Copy) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  MemoryAccount* const weights = accounts.Get(kModel, "unet", MemoryPurpose::kWeights);
  MemoryAccount* const scratch = accounts.Get(kModel, "unet", MemoryPurpose::kScratch);
  const ListedFile& listed = model_.components.at("unet").weights;
  const auto file = SafetensorsFile::Open(model_.PathOf(listed), listed.file);
  ASSERT_TRUE(file.ok());
  int64_t largest = 0;
  for (const StoredTensor& tensor : (*file)->tensors()) {
    largest = std::max(largest, tensor.size_bytes);
  }
  const int64_t graph_bytes = model_.components.at("unet").graphs.at("fp32").bytes;
  for (const std::string format : {"hf8", "hf12"}) {
    weights->ResetPeak();
    scratch->ResetPeak();
    const std::unique_ptr<Component> packed = Load(model_, "unet", format);
    ASSERT_NE(packed, nullptr);
    const ComponentDescription& description = packed->description();
    EXPECT_EQ(weights->current_bytes(), description.weight_bytes) << format;
    EXPECT_LE(weights->peak_bytes(), description.weight_bytes + graph_bytes) << format;
    EXPECT_LE(scratch->peak_bytes(), 2 * largest) << format;
    EXPECT_EQ(scratch->current_bytes(), 0) << format;
    // Rows are padded to 16 bytes, which shows in so small a model.
    const int64_t code_bytes = description.packed_bytes;
    const double bits = 8.0 * static_cast<double>(code_bytes) /
                        static_cast<double>(description.packed_parameter_count);
    const double expected_bits = InfoOf(*FormatByName(format)).bits;
    EXPECT_GE(bits, expected_bits) << format;
    EXPECT_LE(bits, expected_bits * 1.005) << format;
  }
  EXPECT_EQ(weights->current_bytes(), 0) << "a destroyed component holds nothing";
}

// Of LibTorch's devices only "meta", whose tensors have shapes and no values, is not the CPU and is
// always there. Its operators refuse a tensor of another device, and there is no value to be read:
// on a GPU each such read would wait for all that is under way.
TEST_F(TinyModelTest, EveryGraphRunsWhollyOnItsDeviceAndReadsNothingBack) {
  RegisterWeightOperatorsOfMeta();
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::string component : {"unet", "text_encoder", "text_encoder_2", "vae"}) {
      ComponentOptions options;
      options.owner = kModel;
      options.component = component;
      options.dtype = dtype;
      options.device = at::kMeta;
      auto loaded = Component::Load(model_, options, {});
      ASSERT_TRUE(loaded.ok()) << component << " " << loaded.status().ForLog();
      std::vector<c10::IValue> inputs = Inputs(component, dtype);
      const auto on_cpu = Load(model_, component, "fp16", dtype)->Run(inputs);
      for (c10::IValue& input : inputs) input = input.toTensor().to(at::kMeta);
      const auto output = (*loaded)->Run(std::move(inputs));
      ASSERT_TRUE(output.ok()) << component << " " << output.status().ForLog();
      ASSERT_EQ(output->size(), on_cpu->size());
      for (size_t i = 0; i < output->size(); ++i) {
        EXPECT_TRUE((*output)[i].is_meta()) << component;
        EXPECT_EQ((*output)[i].sizes(), (*on_cpu)[i].sizes()) << component;
        EXPECT_EQ((*output)[i].scalar_type(), (*on_cpu)[i].scalar_type()) << component;
      }
    }
  }
}

// `model` with one component packed into `directory`, as tightfit pack does.
ModelDirectory PackedDirectory(const ModelDirectory& model, const std::string& component,
                               const std::string& format, const std::string& directory) {
  namespace fs = std::filesystem;
  ModelDirectory packed = model;
  packed.path = directory;
  for (const auto& [name, graph] : model.components.at(component).graphs) {
    fs::copy_file(model.PathOf(graph), packed.PathOf(graph), fs::copy_options::overwrite_existing);
  }
  ManifestComponent& entry = packed.components.at(component);
  const auto source = SafetensorsFile::Open(model.PathOf(entry.weights), entry.weights.file);
  EXPECT_TRUE(source.ok()) << source.status().ForLog();
  const WeightTable table((*source)->tensors(), entry.layers, {FormatByName(format), {}});
  const auto report = WritePackedCheckpoint(**source, entry.weights.sha256, table,
                                            packed.PathOf(entry.weights), InThreads(2), {});
  EXPECT_TRUE(report.ok()) << report.status().ForLog();
  entry.packed = PackedWeightFile{.index_sha256 = (*report).index_sha256,
                                  .original_sha256 = entry.weights.sha256,
                                  .format = (*report).format};
  entry.weights.bytes = (*report).bytes;
  entry.weights.sha256 = (*report).sha256;
  return packed;
}

TEST_F(TinyModelTest, APackedCheckpointIsHeldAndComputesAsWhatIsPackedAtItsLoad) {
  for (const std::string component : {"unet", "text_encoder_2", "vae"}) {
    for (const std::string format : {"e2m5r", "e2m5", "nf4.58", "fp16"}) {
      const TemporaryDirectory temporary;
      const ModelDirectory packed = PackedDirectory(model_, component, format, temporary.path());
      const std::vector<c10::IValue> inputs = Inputs(component, at::kFloat);
      const std::unique_ptr<Component> at_load = Load(model_, component, format);
      const at::Tensor expected = at_load->Run(inputs).value()[0];
      const ComponentDescription description = at_load->description();
      const std::unique_ptr<Component> from_checkpoint = Load(packed, component, "fp16");
      ASSERT_NE(from_checkpoint, nullptr) << component << " " << format;
      EXPECT_TRUE(at::equal(from_checkpoint->Run(inputs).value()[0], expected))
          << component << " " << format;
      const ComponentDescription& found = from_checkpoint->description();
      EXPECT_EQ(found.format, description.format);
      EXPECT_EQ(found.weight_bytes, description.weight_bytes);
      EXPECT_EQ(found.packed_bytes, description.packed_bytes);
      EXPECT_EQ(found.packed_parameter_count, description.packed_parameter_count);
      EXPECT_EQ(found.parameter_count, description.parameter_count);
    }
  }
}

TEST_F(TinyModelTest, APackedCheckpointIsPredictedToTheByte) {
  const TemporaryDirectory temporary;
  const ModelDirectory packed = PackedDirectory(model_, "unet", "e2m5", temporary.path());
  const auto source = WeightSource::Open(packed, packed.components.at("unet"), "");
  ASSERT_TRUE(source.ok()) << source.status().ForLog();
  const WeightEstimate estimate = (*source)->Table({}).Estimate(4, 1);
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  MemoryAccount* const weights = accounts.Get(kModel, "unet", MemoryPurpose::kWeights);
  MemoryAccount* const scratch = accounts.Get(kModel, "unet", MemoryPurpose::kScratch);
  weights->ResetPeak();
  scratch->ResetPeak();
  const int64_t before_bytes = weights->current_bytes();
  const std::unique_ptr<Component> unet = Load(packed, "unet", "fp16");
  ASSERT_NE(unet, nullptr);
  int64_t weight_bytes = unet->description().weight_bytes;
  // Constants of the graph are no weights.
  EXPECT_GE(weight_bytes, estimate.weight_bytes);
  EXPECT_LE(weight_bytes, estimate.weight_bytes + 4096);
  EXPECT_LE(weights->peak_bytes() - before_bytes, weight_bytes + (4 << 20)) << "beside the graph";
  EXPECT_LE(scratch->peak_bytes(), estimate.staging_bytes);
}

TEST_F(TinyModelTest, ADamagedPackedCheckpointIsRefusedByTensorAndLeavesNothing) {
  const TemporaryDirectory temporary;
  const ModelDirectory packed = PackedDirectory(model_, "unet", "e2m5r", temporary.path());
  const ListedFile& file = packed.components.at("unet").weights;
  std::string bytes = ReadWholeFile(packed.PathOf(file));
  bytes[bytes.size() - 5] ^= 1;
  temporary.Write(file.file, bytes);
  ComponentOptions options{.owner = kModel, .component = "unet", .scope = {}};
  MemoryAccount* const weights =
      MemoryAccounts::Instance().Get(kModel, "unet", MemoryPurpose::kWeights);
  const int64_t before_bytes = weights->current_bytes();
  const auto refused = Component::Load(packed, options, {});
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().reason(), "CHECKSUM_MISMATCH");
  EXPECT_NE(refused.status().message().find("\""), std::string::npos) << "a tensor is named";
  EXPECT_EQ(weights->current_bytes(), before_bytes);
}

at::Tensor RunWith(Component& unet, const std::vector<c10::IValue>& inputs,
                   const KeptProducts* kept) {
  const ScopedKeptProducts scope(kept);
  return unet.Run(inputs).value()[0];
}

TEST_F(TinyModelTest, KeysAndValuesThatAreKeptGiveTheSameBits) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const std::string format : {"fp16", "e2m5r", "nf4.58"}) {
      const std::vector<c10::IValue> inputs = Inputs("unet", dtype);
      const at::Tensor text = inputs[2].toTensor();
      const std::unique_ptr<Component> unet = Load(model_, "unet", format, dtype);
      const at::Tensor expected = unet->Run(inputs).value()[0];
      const auto kept = unet->KeepTextProducts(text);
      ASSERT_TRUE(kept.ok()) << kept.status().ForLog();
      EXPECT_TRUE(at::equal(RunWith(*unet, inputs, kept->get()), expected)) << format;

      // Controls: they are used, for this prompt alone.
      KeptProducts wrong(text);
      int32_t count = 0;
      for (const WeightSlot& slot : unet->slots()) {
        if (!slot.weight) continue;
        if (const at::Tensor* const product = (*kept)->Find(text, *slot.weight)) {
          EXPECT_TRUE(MultipliesText(slot.parameter.module)) << slot.parameter.module;
          wrong.Keep(*slot.weight, at::zeros_like(*product));
          ++count;
        }
      }
      EXPECT_GT(count, 0);
      EXPECT_FALSE(at::equal(RunWith(*unet, inputs, &wrong), expected)) << format;
      std::vector<c10::IValue> other = inputs;
      other[2] = text.flip(0).contiguous();
      EXPECT_TRUE(at::equal(RunWith(*unet, other, kept->get()), unet->Run(other).value()[0]))
          << format;
    }
  }
}

TEST_F(TinyModelTest, StreamedWeightsAreOffTheDeviceAndGiveTheSameBits) {
  for (const std::string format : {"e2m5r", "nf4.58", "fp16"}) {
    const TemporaryDirectory temporary;
    const ModelDirectory packed = PackedDirectory(model_, "unet", format, temporary.path());
    const std::vector<c10::IValue> inputs = Inputs("unet", at::kFloat);
    const std::unique_ptr<Component> whole = Load(packed, "unet", "fp16");
    const at::Tensor expected = whole->Run(inputs).value()[0];
    ComponentOptions options{
        .owner = "streamed", .component = "unet", .scope = {}, .streams_text = true};
    const auto streamed = Component::Load(packed, options, {});
    ASSERT_TRUE(streamed.ok()) << streamed.status().ForLog();
    Component& unet = **streamed;

    int64_t text_bytes = 0;
    for (const LayerDescription& layer : *whole->description().layers) {
      if (MultipliesText(layer.module)) text_bytes += layer.weight_bytes;
    }
    ASSERT_GT(text_bytes, 0);
    const int64_t weight_bytes = unet.description().weight_bytes;
    EXPECT_EQ(weight_bytes, whole->description().weight_bytes - text_bytes) << format;
    EXPECT_EQ(unet.description().parameter_count, whole->description().parameter_count);
    EXPECT_EQ(unet.description().layers->size(), whole->description().layers->size());
    const auto source = WeightSource::Open(packed, packed.components.at("unet"), "");
    ASSERT_TRUE(source.ok());
    const WeightEstimate estimate =
        (*source)->Table({.format = {}, .scope = {}, .streams_text = true}).Estimate(4, 1);
    EXPECT_LE(weight_bytes - 4096, estimate.weight_bytes);
    EXPECT_GE(weight_bytes, estimate.weight_bytes);

    // Twice: it leaves nothing behind.
    for (int time = 0; time < 2; ++time) {
      const auto kept = unet.KeepTextProducts(inputs[2].toTensor());
      ASSERT_TRUE(kept.ok()) << kept.status().ForLog();
      EXPECT_TRUE(at::equal(RunWith(unet, inputs, kept->get()), expected)) << format;
    }
    MemoryAccounts& accounts = MemoryAccounts::Instance();
    EXPECT_EQ(accounts.Get("streamed", "unet", MemoryPurpose::kWeights)->current_bytes(),
              weight_bytes);
    EXPECT_EQ(accounts.Get("streamed", "unet", MemoryPurpose::kScratch)->current_bytes(), 0);
    EXPECT_FALSE(unet.Run(inputs).ok()) << "without them there is nothing to multiply by";

    // What was loaded is checked again each time.
    const ListedFile& file = packed.components.at("unet").weights;
    std::string bytes = ReadWholeFile(packed.PathOf(file));
    for (size_t i = bytes.size() / 2; i < bytes.size(); ++i) bytes[i] ^= 1;
    temporary.Write(file.file, bytes);
    const auto damaged = unet.KeepTextProducts(inputs[2].toTensor());
    ASSERT_FALSE(damaged.ok()) << format;
    EXPECT_EQ(damaged.status().reason(), "CHECKSUM_MISMATCH");
    EXPECT_EQ(accounts.Get("streamed", "unet", MemoryPurpose::kScratch)->current_bytes(), 0);
  }
}

TEST_F(TinyModelTest, WeightsThatWereMovedGiveTheSameNumbers) {
  const std::vector<c10::IValue> inputs = Inputs("unet", at::kFloat);
  const std::unique_ptr<Component> unet = Load(model_, "unet", "hf8");
  ASSERT_NE(unet, nullptr);
  const at::Tensor before = unet->Run(inputs).value()[0];
  const Result<int64_t> moved = unet->MoveWeightsToHost();
  ASSERT_TRUE(moved.ok());
  // Beside the weights a graph has constants, which stay.
  EXPECT_LE(*moved, unet->description().weight_bytes);
  EXPECT_GE(*moved, unet->description().packed_bytes);
  ASSERT_TRUE(unet->MoveWeightsToDevice().ok());
  EXPECT_TRUE(at::equal(unet->Run(inputs).value()[0], before));
}

}  // namespace
}  // namespace tightfit
