#include "client/cli/table.h"

#include <gtest/gtest.h>

namespace tightfit::cli {
namespace {

TEST(TableTest, AlignsColumnsByTheirWidestCell) {
  Table table({{"A"}, {"NUMBER", Align::kRight}, {"LAST"}});
  table.AddRow({{"first"}, {"7"}, {"x"}});
  table.AddRow({{"b"}, {"1234567"}, {"longer"}});
  EXPECT_EQ(table.Render({}),
            "A       NUMBER  LAST\n"
            "first        7  x\n"
            "b      1234567  longer\n");
}

TEST(TableTest, CountsColumnsNotBytes) {
  Table table({{"N"}, {"X"}});
  table.AddRow({{"čerešňa"}, {"1"}});
  table.AddRow({{"cherry"}, {"2"}});
  EXPECT_EQ(table.Render({}), "N        X\nčerešňa  1\ncherry   2\n");
}

TEST(TableTest, FillsMissingCellsAndLeavesNoBlanksAtTheEnd) {
  Table table({{"A"}, {"B"}, {"C", Align::kRight}});
  table.AddRow({{"only"}});
  EXPECT_EQ(table.Render({}), "A     B  C\nonly\n");
}

TEST(TableTest, TakesControlCharactersOut) {
  Table table({{"A"}});
  table.AddRow({{"\x1b[2Jred\n\xC2\x9B"}});
  EXPECT_EQ(table.Render({}), "A\n?[2Jred ?\n");
}

TEST(TableTest, ColourTakesNoRoom) {
  Table table({{"A"}, {"B"}});
  table.AddRow({{"on", Colour::kGreen}, {"x"}});
  EXPECT_EQ(table.Render({.colour = true}),
            "\x1b[1mA\x1b[0m   \x1b[1mB\x1b[0m\n\x1b[32mon\x1b[0m  x\n");
}

TEST(TableTest, ColumnsThatDoNotFitStandOnLinesBelow) {
  Table table({{"NAME"}, {"STATE"}, {"BYTES", Align::kRight}, {"WHY"}});
  table.AddRow({{"apples"}, {"resident"}, {"1024"}, {"request"}});
  table.AddRow({{"pears"}, {"unloaded"}, {""}, {""}});
  EXPECT_EQ(table.Render({}, 20),
            "NAME    STATE\n"
            "    BYTES  WHY\n"
            "apples  resident\n"
            "     1024  request\n"
            "pears   unloaded\n");
  EXPECT_EQ(table.Render({}, 100), table.Render({}));
}

}  // namespace
}  // namespace tightfit::cli
