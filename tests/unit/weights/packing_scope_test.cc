#include "server/weights/packing_scope.h"

#include <gtest/gtest.h>

namespace tightfit {
namespace {

TEST(PackingScopeTest, AttentionTakesLinearWithinAttentionAlone) {
  const PackingScope scope{.name = "attention", .exclude = {}};
  for (const char* module : {"a.attn1.to_q", "a.attn2.to_out.0", "self_attn.q_proj", "mid.to_k"}) {
    EXPECT_TRUE(IsInScope(scope, module, LayerKind::kLinear)) << module;
    EXPECT_FALSE(IsInScope(scope, module, LayerKind::kConv2d)) << module;
  }
  for (const char* module : {"proj_in", "a.to_qs", "attn3", "ff.net.2"}) {
    EXPECT_FALSE(IsInScope(scope, module, LayerKind::kLinear)) << module;
  }
}

TEST(PackingScopeTest, OtherScopesTakeEveryLayerOfTheirKinds) {
  EXPECT_TRUE(IsInScope({"linear", {}}, "ff", LayerKind::kLinear));
  EXPECT_FALSE(IsInScope({"linear", {}}, "conv", LayerKind::kConv2d));
  EXPECT_TRUE(IsInScope({"linear+conv", {}}, "conv", LayerKind::kConv2d));
  EXPECT_FALSE(IsInScope({"linear+conv", {}}, "norm", LayerKind::kOther));
}

TEST(PackingScopeTest, ExcludesWholeNamesAndWhatLiesBelowThem) {
  const PackingScope scope{.name = "linear+conv", .exclude = {"attn1", "down.0"}};
  EXPECT_TRUE(IsExcluded(scope, "attn1"));
  EXPECT_TRUE(IsExcluded(scope, "attn1.to_q"));
  EXPECT_TRUE(IsExcluded(scope, "down.0.conv"));
  EXPECT_FALSE(IsExcluded(scope, "attn10"));
  EXPECT_FALSE(IsExcluded(scope, "down.01"));
}

}  // namespace
}  // namespace tightfit
