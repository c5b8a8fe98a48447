#include "client/cli/temporary_files.h"

#include "tests/unit/client/cli/run_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

namespace tightfit::cli {
namespace {

TEST(TemporaryFilesTest, WhatIsTrackedIsRemovedAndNothingElse) {
  const testing::TemporaryFolder folder;
  for (const char* name : {"forgotten", "tracked", "other"}) {
    std::ofstream(folder.path() / name) << "x";
  }
  TrackTemporary(folder.path() / "forgotten");
  TrackTemporary(folder.path() / "tracked");
  TrackTemporary(folder.path() / "gone already");
  ForgetTemporary(folder.path() / "forgotten");
  RemoveTemporaryFiles();
  EXPECT_THAT(folder.Names(), ::testing::UnorderedElementsAre("forgotten", "other"));
}

}  // namespace
}  // namespace tightfit::cli
