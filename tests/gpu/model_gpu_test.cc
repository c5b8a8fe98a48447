// Packed weights, graphs and accounts on a CUDA device, beside the CPU. Without a device the tests
// are skipped; with TIGHTFIT_DEVICE=cpu they run dry, on the CPU: all but the device.
#include "kernels/codec.h"
#include "kernels/cuda/encode_task.h"
#include "server/device/compute_device.h"
#include "server/device/counting_allocator.h"
#include "server/device/cuda_device.h"
#include "server/device/device_accounts.h"
#include "server/device/open_device.h"
#include "server/device/run_torch.h"
#include "server/memory/memory_accounts.h"
#include "server/weights/component.h"
#include "server/weights/decode_product.h"
#include "server/weights/operators.h"
#include "server/weights/weight.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/script.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace tightfit {
namespace {

std::string DeviceName() {
  const char* const name = std::getenv("TIGHTFIT_DEVICE");
  return name == nullptr ? "cuda:0" : name;
}

const at::Device kDevice(DeviceName());

at::Tensor Random(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed));
}

// tightfit::linear or tightfit::conv2d, as a graph calls them.
template <typename... Arguments>
at::Tensor Call(const char* name, Arguments... arguments) {
  torch::jit::Stack stack = {std::move(arguments)...};
  c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(&stack);
  return stack.front().toTensor();
}

using Held = c10::intrusive_ptr<Weight>;

class ModelGpuTest : public testing::Test {
 protected:
  void SetUp() override {
    const Result<OpenedDevice> device = OpenDevice(DeviceName());
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    if (kDevice.is_cpu()) InstallCountingAllocator();
    SetThreadDevice(kDevice);
    // As the server does: otherwise the second call would be fused, and give other numbers.
    torch::jit::setGraphExecutorOptimize(false);
    ChargeDeviceMemoryOfThisThread();
    // As exact as a CPU: otherwise products of fp32 are rounded to 10 bits.
    at::globalContext().setAllowTF32CuDNN(false);
  }
  void TearDown() override { ReleaseDecodeScratch(); }

  // `rows_first`: the weight in the order of its codes; `shape`: that of the dense one.
  static Held Pack(const at::Tensor& rows_first, WeightFormat format,
                   const std::vector<int64_t>& shape) {
    const at::Tensor fp16 = rows_first.to(at::kHalf).contiguous();
    const auto* const patterns = static_cast<const uint16_t*>(fp16.const_data_ptr());
    const int64_t rows = fp16.size(0);
    const PackedLayout layout = PlanEncoding(format, rows, fp16.numel() / rows, patterns).layout;
    at::Tensor codes = at::empty({layout.total_bytes}, at::TensorOptions().dtype(at::kByte));
    EncodeTensor(layout, patterns, codes.mutable_data_ptr<uint8_t>());
    auto weight = c10::make_intrusive<Weight>();
    weight->SetPacked(layout, shape, std::move(codes));
    return weight;
  }

  static Held OnDevice(const Held& weight) {
    return c10::make_intrusive<Weight>(weight->CopyTo(kDevice));
  }
};

// Times the identity a weight comes out as it was decoded, to the bit.
TEST_F(ModelGpuTest, DecodesEveryFormatToTheBitsOfTheCpuInEveryDtype) {
  const std::vector<int64_t> shape = {96, 160};
  const at::Tensor weight = (Random(shape, 1) * 0.05).clamp(-0.7, 0.7);
  for (const FormatInfo& info : kFormats) {
    const Held packed = Pack(weight, info.format, shape);
    const Held moved = OnDevice(packed);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const at::Tensor identity = at::eye(shape[1], dtype);
      const auto product = [&](const at::Tensor& x, const Held& w) {
        return Call("tightfit::linear", x, w, c10::IValue());
      };
      const at::Tensor expected = product(identity, packed);
      const at::Tensor found = product(identity.to(kDevice), moved);
      ASSERT_EQ(found.device(), kDevice);
      EXPECT_TRUE(at::equal(found.cpu(), expected)) << info.name << " " << dtype;
    }
  }
}

TEST_F(ModelGpuTest, PacksEveryFormatToTheBytesOfTheCpu) {
  if (kDevice.is_cpu()) return;  // which is what a GPU is held against
  const std::vector<int64_t> shape = {96, 160};
  for (const double spread : {0.05, 3.0}) {  // within the range of every format, and with outliers
    const at::Tensor values = (Random(shape, 5) * spread).to(at::kHalf);
    const auto* const patterns = static_cast<const uint16_t*>(values.const_data_ptr());
    for (const FormatInfo& info : kFormats) {
      const EncodingPlan plan = PlanEncoding(info.format, shape[0], shape[1], patterns);
      if (!plan.representability.ok()) continue;
      const Held expected = Pack(values, info.format, shape);
      const at::Tensor on_device = values.to(kDevice);
      const auto bytes = at::TensorOptions().dtype(at::kByte).device(kDevice);
      const at::Tensor codes = at::empty({plan.layout.total_bytes}, bytes);
      const at::Tensor workspace = at::empty({cuda::WorkspaceBytes(plan.layout)}, bytes);
      const Status packed =
          EncodeOnCuda(plan.layout, static_cast<const uint16_t*>(on_device.const_data_ptr()),
                       codes.mutable_data_ptr<uint8_t>(), workspace.mutable_data_ptr());
      ASSERT_TRUE(packed.ok()) << info.name << " " << packed.ForLog();
      EXPECT_TRUE(at::equal(codes.cpu(), expected->tensor())) << info.name << " " << spread;
    }
  }
}

TEST_F(ModelGpuTest, ConvolvesWithPackedWeightsAsTheCpuDoes) {
  const std::vector<int64_t> shape = {32, 24, 3, 3};
  const at::Tensor weight = (Random({32, 3, 3, 24}, 2) * 0.05).clamp(-0.7, 0.7);
  const at::Tensor x = Random({2, 24, 17, 13}, 3);
  const at::Tensor bias = Random({32}, 4);
  for (const FormatInfo& info : kFormats) {
    const Held packed = Pack(weight, info.format, shape);
    const std::vector<int64_t> ones = {1, 1};
    const auto convolve = [&](const at::Tensor& input, const Held& w, const at::Tensor& b) {
      return Call("tightfit::conv2d", input, w, b, ones, ones, ones, int64_t{1});
    };
    const at::Tensor expected = convolve(x, packed, bias);
    const at::Tensor found = convolve(x.to(kDevice), OnDevice(packed), bias.to(kDevice));
    EXPECT_TRUE(at::allclose(found.cpu(), expected, 1e-4, 1e-4)) << info.name;
  }
}

TEST_F(ModelGpuTest, TellsMemoryThatRanOutAndGoesOn) {
  const Status status = RunTorch("allocate", [] {
    at::empty({int64_t{1} << 42}, at::TensorOptions().dtype(at::kByte).device(kDevice));
    return OkStatus();
  });
  EXPECT_EQ(status.reason(), "OUT_OF_MEMORY") << status.ForLog();
  EXPECT_TRUE(RunTorch("allocate", [] {
                at::ones({16}, at::TensorOptions().device(kDevice));
                Synchronize(kDevice);
                return OkStatus();
              }).ok());
}

class TinyUNetGpuTest : public ModelGpuTest {
 protected:
  void SetUp() override {
    ModelGpuTest::SetUp();
    if (IsSkipped()) return;
    const char* const path = std::getenv("TIGHTFIT_TINY_MODEL");
    if (path == nullptr) GTEST_SKIP() << "TIGHTFIT_TINY_MODEL names no model; run it through ctest";
    Result<ModelDirectory> model = ReadModelDirectory(path);
    ASSERT_TRUE(model.ok()) << model.status().ForLog();
    model_ = *std::move(model);
  }

  std::unique_ptr<Component> Load(at::Device device, const std::string& format) const {
    ComponentOptions options;
    options.owner = "tiny-on-" + device.str();
    options.component = "unet";
    options.format = format;
    options.device = device;
    auto loaded = Component::Load(model_, options, {});
    EXPECT_TRUE(loaded.ok()) << loaded.status().ForLog();
    return loaded.ok() ? std::move(*loaded) : nullptr;
  }

  at::Tensor Run(Component& unet) const {
    std::vector<c10::IValue> inputs;
    for (const at::Tensor& input :
         {Random({2, model_.latent_channels, 10, 7}, 3), at::full({2}, 701.0f),
          Random({2, 77, model_.embedding_size}, 4), Random({2, model_.pooled_size}, 5),
          at::full({2, 6}, 64.0f)}) {
      inputs.emplace_back(input.to(unet.device()));
    }
    const auto outputs = unet.Run(std::move(inputs));
    EXPECT_TRUE(outputs.ok()) << outputs.status().ForLog();
    return outputs.ok() ? outputs->front().cpu() : at::Tensor();
  }

  ModelDirectory model_;
};

TEST_F(TinyUNetGpuTest, GivesTheNumbersOfTheCpu) {
  for (const std::string format : {"fp16", "hf8", "hf12", "e2m5r"}) {
    const std::unique_ptr<Component> on_cpu = Load(at::kCPU, format);
    const std::unique_ptr<Component> on_device = Load(kDevice, format);
    ASSERT_TRUE(on_cpu != nullptr && on_device != nullptr);
    const at::Tensor expected = Run(*on_cpu);
    const at::Tensor found = Run(*on_device);
    EXPECT_LT(((found - expected).norm() / expected.norm()).item<double>(), 1e-4) << format;
  }
}

TEST_F(TinyUNetGpuTest, ChargesTheDeviceAndGivesEverythingBack) {
  MemoryAccounts& accounts = MemoryAccounts::Instance();
  MemoryAccount* const weights =
      accounts.Get("tiny-on-" + kDevice.str(), "unet", MemoryPurpose::kWeights);
  std::unique_ptr<Component> unet = Load(kDevice, "hf8");
  ASSERT_NE(unet, nullptr);
  // The allocator gives whole blocks of 512 bytes.
  EXPECT_GE(weights->current_bytes(), unet->description().packed_bytes);
  const int64_t held_bytes = weights->current_bytes();
  const at::Tensor before = Run(*unet);
  {
    const ScopedMemoryAccount account(weights);
    ASSERT_TRUE(unet->MoveWeightsToHost().ok());
    if (kDevice.is_cuda()) {
      EXPECT_LT(weights->current_bytes(), held_bytes / 4) << "a graph's constants stay";
    }
    ASSERT_TRUE(unet->MoveWeightsToDevice().ok());
  }
  EXPECT_EQ(weights->current_bytes(), held_bytes);
  EXPECT_TRUE(at::equal(Run(*unet), before));
  unet.reset();
  EXPECT_EQ(weights->current_bytes(), 0);
}

}  // namespace
}  // namespace tightfit
