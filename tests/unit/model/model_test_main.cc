// Sets LibTorch up as the server does, then runs the tests.
#include "server/device/counting_allocator.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/script.h>

int main(int argc, char** argv) {
  tightfit::InstallCountingAllocator();
  at::set_num_threads(2);
  torch::jit::setGraphExecutorOptimize(false);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
