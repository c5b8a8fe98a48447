#include "server/weights/packed_checkpoint_writer.h"

#include "kernels/codec_reference.h"
#include "server/weights/dense_file_writer.h"
#include "server/weights/packed_checkpoint.h"
#include "tests/unit/weights/packing_sample.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <bit>
#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class PackedCheckpointWriterTest : public ::testing::Test {
 protected:
  Result<PackedFileReport> Pack(const ComponentPacking& packing, const std::string& to,
                                int thread_count = 1) {
    const auto source = sample_.Open();
    const WeightTable table(source->tensors(), {}, packing);
    return WritePackedCheckpoint(*source, sample_.sha256(), table, sample_.PathOf(to),
                                 InThreads(thread_count), {});
  }

  std::unique_ptr<PackedCheckpoint> PackAndOpen(WeightFormat format) {
    report_ = *Pack(PackingSample::Packing(format), "p.safetensors");
    auto checkpoint =
        PackedCheckpoint::Open(sample_.PathOf("p.safetensors"), "p", report_.index_sha256);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    return std::move(*checkpoint);
  }

  std::string StoredBytes(const PackedCheckpoint& checkpoint, const std::string& name) {
    const auto& tensors = checkpoint.tensors();
    const auto found = std::ranges::find(
        tensors, name, [](const CheckpointTensor& tensor) { return tensor.stored.name; });
    EXPECT_NE(found, tensors.end()) << name;
    std::string bytes(static_cast<size_t>(found->stored.size_bytes), '\0');
    EXPECT_TRUE(checkpoint.Read(*found, bytes.data()).ok()) << name;
    return bytes;
  }

  // What the reference codec makes of a tensor of the sample, in the order that the file has to
  // have.
  std::string ReferenceCodes(WeightFormat format, const std::string& name) {
    std::vector<uint16_t> weights = PatternsOf(sample_.data(name));
    int64_t rows = 24;
    if (name == "c.conv.weight") {  // [8, 6, 3, 3] becomes K, R, S, C
      rows = 8;
      std::vector<uint16_t> ordered;
      for (size_t k = 0; k < 8; ++k) {
        for (size_t r = 0; r < 3; ++r) {
          for (size_t s = 0; s < 3; ++s) {
            for (size_t c = 0; c < 6; ++c)
              ordered.push_back(weights[((k * 6 + c) * 3 + r) * 3 + s]);
          }
        }
      }
      weights = ordered;
    } else if (name == "d.point.weight") {
      rows = 8;
    } else if (name == "e.proj.weight") {
      rows = 16;
      for (uint16_t& weight : weights) {
        weight = reference::Fp16OfValue(std::bit_cast<float>(static_cast<uint32_t>(weight) << 16));
      }
    }
    const int64_t columns = std::ssize(weights) / rows;
    const EncodingPlan plan = reference::PlanEncoding(format, rows, columns, weights);
    EXPECT_TRUE(plan.representability.ok()) << name;
    const std::vector<uint8_t> codes = reference::EncodeTensor(plan.layout, weights);
    return {codes.begin(), codes.end()};
  }

  std::vector<std::string> FilesBeside() {
    std::vector<std::string> names;
    for (const auto& file : std::filesystem::directory_iterator(sample_.directory().path())) {
      names.push_back(file.path().filename());
    }
    return names;
  }

  PackingSample sample_;
  PackedFileReport report_;
};

const char* const kPackedNames[] = {"b.to_q.weight", "c.conv.weight", "d.point.weight",
                                    "e.proj.weight"};

TEST_F(PackedCheckpointWriterTest, CodesAreTheReferenceCodecsInEveryFormat) {
  for (const FormatInfo& info : kFormats) {
    SCOPED_TRACE(info.name);
    const auto checkpoint = PackAndOpen(info.format);
    EXPECT_EQ(report_.format, info.name);
    EXPECT_EQ(report_.packed_module_count, 4);
    for (const char* const name : kPackedNames) {
      EXPECT_EQ(StoredBytes(*checkpoint, name), ReferenceCodes(info.format, name)) << name;
    }
  }
}

TEST_F(PackedCheckpointWriterTest, HeadersTellShapeAndOrder) {
  const auto checkpoint = PackAndOpen(WeightFormat::kHf8);
  for (const CheckpointTensor& tensor : checkpoint->tensors()) {
    if (!tensor.is_packed()) continue;
    const bool is_conv = tensor.stored.name == "c.conv.weight";
    EXPECT_EQ(tensor.header().order, is_conv ? CodeOrder::kChannelsLast : CodeOrder::kAsShape)
        << tensor.stored.name;
    if (is_conv) {
      EXPECT_THAT(tensor.shape(), ElementsAre(8, 6, 3, 3));
    }
  }
}

TEST_F(PackedCheckpointWriterTest, WhatIsNotPackedIsThereBitForBitInTheSameOrder) {
  const auto checkpoint = PackAndOpen(WeightFormat::kHf8);
  std::vector<std::string> names;
  for (const CheckpointTensor& tensor : checkpoint->tensors()) {
    names.push_back(tensor.stored.name);
    const bool is_packed = std::ranges::find(kPackedNames, names.back()) != std::end(kPackedNames);
    EXPECT_EQ(tensor.is_packed(), is_packed) << names.back();
    if (tensor.stored.size_bytes > 0) {
      EXPECT_EQ(tensor.stored.offset_bytes % BytesOf(tensor.stored.dtype), 0) << names.back();
    }
    if (is_packed) {
      EXPECT_EQ(tensor.stored.offset_bytes % 2, 0) << names.back();
    } else {
      EXPECT_EQ(StoredBytes(*checkpoint, names.back()), sample_.data(names.back()));
    }
  }
  EXPECT_EQ(names, sample_.names());
}

TEST_F(PackedCheckpointWriterTest, SaysWhyAWeightOfTheScopeStaysDense) {
  PackAndOpen(WeightFormat::kHf8);
  std::vector<std::pair<std::string, std::string>> found;
  for (const DenseModule& module : report_.dense_modules)
    found.emplace_back(module.module, module.why);
  EXPECT_THAT(found, ElementsAre(std::pair("a.wide", "stored as fp32: out of fp16's range"),
                                 std::pair("g.broken", "1 NaN, 1 infinity"),
                                 std::pair("h.left_out", "excluded by the configuration")));
}

TEST_F(PackedCheckpointWriterTest, ReportsDigestsAndBytesOfBothFiles) {
  const auto checkpoint = PackAndOpen(WeightFormat::kE2m5r);
  const std::string bytes = ReadWholeFile(sample_.PathOf("p.safetensors"));
  EXPECT_EQ(report_.bytes, std::ssize(bytes));
  EXPECT_EQ(report_.sha256, Sha256::HexDigestOf(bytes));
  EXPECT_EQ(report_.original_sha256, Sha256::HexDigestOf(sample_.bytes()));
  const int64_t index_end_bytes = checkpoint->tensors().front().stored.offset_bytes;
  EXPECT_EQ(report_.index_sha256,
            Sha256::HexDigestOf(bytes.substr(0, static_cast<size_t>(index_end_bytes))));
  EXPECT_EQ(index_end_bytes % 64, 0);
  EXPECT_EQ(report_.packed_weight_count, 24 * 40 + 8 * 54 + 8 * 6 + 16 * 32);
  EXPECT_EQ(report_.weight_count,
            report_.packed_weight_count + 4 * 8 + 24 + 10 * 8 + 8 * 16 + 4 * 16);
}

TEST_F(PackedCheckpointWriterTest, ThreadsMakeTheSameFile) {
  ASSERT_TRUE(Pack(PackingSample::Packing(WeightFormat::kE2m5r), "one").ok());
  ASSERT_TRUE(Pack(PackingSample::Packing(WeightFormat::kE2m5r), "four", 4).ok());
  EXPECT_EQ(ReadWholeFile(sample_.PathOf("one")), ReadWholeFile(sample_.PathOf("four")));
}

TEST_F(PackedCheckpointWriterTest, NothingToPackIsAPackedCheckpointTooAndTheOriginalComesBack) {
  // As the exporter writes it.
  std::string original = R"({"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F16",)"
                         R"("shape":[2,2],"data_offsets":[0,8]}})";
  original.resize((original.size() + 7) / 8 * 8, ' ');
  original = SafetensorsBytes(original, "abcdefgh");
  const std::string path = sample_.directory().Write("e.safetensors", original);
  const auto source = SafetensorsFile::Open(path, "e");
  ASSERT_TRUE(source.ok());
  const auto report =
      WritePackedCheckpoint(**source, Sha256::HexDigestOf(original),
                            WeightTable((*source)->tensors(), {}, {}), path + ".packed", {}, {});
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->format, "fp16");
  const auto checkpoint = PackedCheckpoint::Open(path + ".packed", "p", report->index_sha256);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const auto dense = WriteDenseWeights(**checkpoint, path + ".dense", {}, {});
  ASSERT_TRUE(dense.ok());
  EXPECT_EQ(dense->decoded_module_count, 0);
  EXPECT_EQ(dense->sha256, report->original_sha256);
  EXPECT_EQ(ReadWholeFile(path + ".dense"), original);
}

TEST_F(PackedCheckpointWriterTest, UnpackingGivesWhatTheReferenceDecodes) {
  for (const WeightFormat format :
       {WeightFormat::kE2m5r, WeightFormat::kHf8, WeightFormat::kQ8b32, WeightFormat::kNf4}) {
    SCOPED_TRACE(InfoOf(format).name);
    const auto checkpoint = PackAndOpen(format);
    const auto dense =
        WriteDenseWeights(*checkpoint, sample_.PathOf("d.safetensors"), InThreads(3), {});
    ASSERT_TRUE(dense.ok()) << dense.status().message();
    EXPECT_EQ(dense->decoded_module_count, 4);
    EXPECT_EQ(dense->sha256, Sha256::HexDigestOf(ReadWholeFile(sample_.PathOf("d.safetensors"))));
    const auto file = SafetensorsFile::Open(sample_.PathOf("d.safetensors"), "d");
    ASSERT_TRUE(file.ok()) << file.status().message();
    const auto source = sample_.Open();
    ASSERT_EQ((*file)->tensors().size(), source->tensors().size());
    for (size_t i = 0; i < source->tensors().size(); ++i) {
      const StoredTensor& tensor = (*file)->tensors()[i];
      EXPECT_EQ(tensor.name, source->tensors()[i].name);
      EXPECT_EQ(tensor.shape, source->tensors()[i].shape) << tensor.name;
      std::string bytes(static_cast<size_t>(tensor.size_bytes), '\0');
      ASSERT_TRUE(
          (*file)->reader().ReadAt(tensor.offset_bytes, tensor.size_bytes, bytes.data()).ok());
      if (!checkpoint->tensors()[i].is_packed()) {
        EXPECT_EQ(bytes, sample_.data(tensor.name));
        continue;
      }
      const std::string codes = StoredBytes(*checkpoint, tensor.name);
      const std::vector<uint8_t> code_bytes(codes.begin(), codes.end());
      std::vector<uint16_t> values =
          reference::DecodeTensor(checkpoint->tensors()[i].header().layout, code_bytes);
      if (tensor.name == "c.conv.weight") {
        const std::vector<uint16_t> ordered = values;
        for (size_t k = 0; k < 8; ++k) {
          for (size_t c = 0; c < 6; ++c) {
            for (size_t tap = 0; tap < 9; ++tap) {
              values[(k * 6 + c) * 9 + tap] = ordered[(k * 9 + tap) * 6 + c];
            }
          }
        }
      }
      EXPECT_EQ(PatternsOf(bytes), values) << tensor.name;
    }
  }
}

TEST_F(PackedCheckpointWriterTest, AFlippedBitIsRefusedByTheNameOfWhatItHits) {
  const auto checkpoint = PackAndOpen(WeightFormat::kE2m5r);
  const std::string good = ReadWholeFile(sample_.PathOf("p.safetensors"));
  const auto status_of = [&](size_t at) -> Status {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 4);
    const std::string path = sample_.directory().Write("flipped", bytes);
    const auto opened = PackedCheckpoint::Open(path, "p", report_.index_sha256);
    if (!opened.ok()) return opened.status();
    for (const CheckpointTensor& tensor : (*opened)->tensors()) {
      std::string out(static_cast<size_t>(tensor.stored.size_bytes), '\0');
      TF_RETURN_IF_ERROR((*opened)->Read(tensor, out.data()));
    }
    return OkStatus();
  };
  const auto start_bytes = static_cast<size_t>(checkpoint->tensors().front().stored.offset_bytes);
  for (size_t at = 0; at < start_bytes; at += 7) {
    EXPECT_FALSE(status_of(at).ok()) << at;
  }
  for (const CheckpointTensor& tensor : checkpoint->tensors()) {
    if (tensor.stored.size_bytes == 0) continue;
    for (const int64_t at :
         {int64_t{0}, tensor.stored.size_bytes / 2, tensor.stored.size_bytes - 1}) {
      const Status status = status_of(static_cast<size_t>(tensor.stored.offset_bytes + at));
      EXPECT_EQ(status.reason(), "CHECKSUM_MISMATCH");
      EXPECT_THAT(status.message(), HasSubstr('"' + tensor.stored.name + '"'));
    }
  }
}

TEST_F(PackedCheckpointWriterTest, AStopLeavesNothingAtAnyPlace) {
  for (size_t stop_at = 0; stop_at <= sample_.names().size(); ++stop_at) {
    const auto source = sample_.Open();
    size_t calls = 0;
    const auto report = WritePackedCheckpoint(
        *source, sample_.sha256(),
        WeightTable(source->tensors(), {}, PackingSample::Packing(WeightFormat::kHf8)),
        sample_.PathOf("p.safetensors"), {}, [&](int64_t) { return calls++ < stop_at; });
    EXPECT_EQ(report.status().reason(), "PACKING_STOPPED") << stop_at;
    EXPECT_THAT(FilesBeside(), ElementsAre("w.safetensors")) << stop_at;
  }
}

TEST_F(PackedCheckpointWriterTest, ASourceThatIsNotTheOneExpectedLeavesNothing) {
  const auto source = sample_.Open();
  const auto report = WritePackedCheckpoint(
      *source, std::string(64, '0'),
      WeightTable(source->tensors(), {}, PackingSample::Packing(WeightFormat::kHf8)),
      sample_.PathOf("p.safetensors"), {}, {});
  EXPECT_EQ(report.status().reason(), "CHECKSUM_MISMATCH");
  EXPECT_THAT(report.status().message(), HasSubstr("w.safetensors"));
  EXPECT_THAT(FilesBeside(), ElementsAre("w.safetensors"));
}

TEST_F(PackedCheckpointWriterTest, AFullDiskIsOneErrorAndLeavesNothing) {
  // A file may not grow beyond this: the system then fails the write, as on a full disk.
  signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small = {.rlim_cur = 2048, .rlim_max = before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const auto report = Pack(PackingSample::Packing(WeightFormat::kHf8), "p.safetensors");
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(report.status().reason(), "CANNOT_WRITE");
  EXPECT_THAT(report.status().message(), HasSubstr("p.safetensors"));
  EXPECT_THAT(FilesBeside(), ElementsAre("w.safetensors"));
  EXPECT_TRUE(Pack(PackingSample::Packing(WeightFormat::kHf8), "p.safetensors").ok()) << "control";
}

TEST_F(PackedCheckpointWriterTest, APackedFileIsNotPackedAgain) {
  SafetensorsWriter writer;
  writer.Add("tightfit.headers", "F16", {1}, "ab");
  const std::string path = sample_.directory().Write("twice", writer.Bytes());
  const auto source = SafetensorsFile::Open(path, "twice");
  ASSERT_TRUE(source.ok());
  const auto report = WritePackedCheckpoint(**source, "", WeightTable((*source)->tensors(), {}, {}),
                                            sample_.PathOf("p"), {}, {});
  EXPECT_THAT(report.status().message(), HasSubstr("unpack it first"));
}

}  // namespace
}  // namespace tightfit
