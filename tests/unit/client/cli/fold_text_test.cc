#include "client/cli/terminal.h"

#include <gtest/gtest.h>

#include <sstream>
#include <string>

namespace tightfit::cli {
namespace {

TEST(FoldTextTest, LinesBreakBetweenWords) {
  EXPECT_EQ(FoldText("one two three four\n", 12), "one two\n    three\n    four\n");
  EXPECT_EQ(FoldText("short\n", 12), "short\n");
  EXPECT_EQ(FoldText("one two three four\n", 0), "one two three four\n");
  EXPECT_EQ(FoldText("", 12), "");
}

TEST(FoldTextTest, FactsStandUnderTheirBegin) {
  EXPECT_EQ(FoldText("  samplers  euler, ddim, lcm, heun, unipc\n", 40),
            "  samplers  euler, ddim, lcm, heun,\n            unipc\n");
}

TEST(FoldTextTest, NoLineIsWiderWhateverIsInIt) {
  const std::string texts[] = {
      std::string(500, 'x'), "  fact      " + std::string(100, 'y') + " z\n",
      "größe ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ\n", std::string(60, ' ') + "far\n",
      "\x1b[31mred and long and longer still\x1b[0m and more words than fit\n"};
  for (const std::string& text : texts) {
    for (const int width : {1, 2, 5, 10, 40, 80}) {
      std::istringstream lines(FoldText(text, width));
      for (std::string line; std::getline(lines, line);) {
        EXPECT_LE(ColumnCount(line), width) << line;
      }
    }
  }
}

TEST(FoldTextTest, ColoursTakeNoColumns) {
  EXPECT_EQ(ColumnCount("\x1b[1mbold\x1b[0m"), 4);
  EXPECT_EQ(FoldText("\x1b[1mbold\x1b[0m word", 9), "\x1b[1mbold\x1b[0m word");
}

}  // namespace
}  // namespace tightfit::cli
