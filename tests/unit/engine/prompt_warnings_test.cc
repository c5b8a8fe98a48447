#include "server/engine/prompt_warnings.h"

#include "server/engine/extra_networks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

namespace tightfit {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<RequestWarning> Weighted(std::string_view prompt) {
  return PromptWarnings("prompt", prompt, PromptSyntax::kWeighted);
}

// What is told of `prompt`: "REASON text".
std::vector<std::string> Told(std::string_view prompt,
                              PromptSyntax syntax = PromptSyntax::kWeighted) {
  std::vector<std::string> told;
  for (const RequestWarning& warning : PromptWarnings("prompt", prompt, syntax)) {
    EXPECT_EQ(prompt.substr(warning.offset_bytes, warning.text.size()), warning.text) << prompt;
    EXPECT_EQ(warning.field, "prompt");
    EXPECT_FALSE(warning.message.empty());
    told.push_back(warning.reason + " " + warning.text);
  }
  return told;
}

struct Case {
  const char* prompt;
  std::vector<const char*> markup;  // what of it is read as text
};

TEST(PromptWarningsTest, TellMarkupOfOtherToolsThatIsReadAsText) {
  const std::vector<Case> cases = {
      // Prompt editing and alternation of A1111.
      {"[red apple:green pear:0.5]", {"[red apple:green pear:0.5]"}},
      {"a [cat:dog:10], big", {"[cat:dog:10]"}},
      {"a [cat:dog: 0.5 ]", {"[cat:dog: 0.5 ]"}},
      {"a [cat::0.5] b", {"[cat::0.5]"}},
      {"a [:cat:0.5] b", {"[:cat:0.5]"}},
      {"a [cat:0.5] b", {"[cat:0.5]"}},
      {"a [(cat:1.2):dog:.5]", {"[(cat:1.2):dog:.5]"}},
      {"[a [b:c:3] d:e:0.25]", {"[a [b:c:3] d:e:0.25]"}},
      {"[cat:dog:0.2,0.6] [a:b:50%]", {"[cat:dog:0.2,0.6]", "[a:b:50%]"}},
      {"a [red|blue] car", {"[red|blue]"}},
      {"a [red|(blue:1.1)|] car", {"[red|(blue:1.1)|]"}},
      // Composition.
      {"red apple AND green pear", {"AND"}},
      {"red apple :1.2 AND green pear : 0.8 ", {":1.2", "AND", ": 0.8"}},
      {"a cat\r\nAND\r\na dog:-1", {"AND", ":-1"}},
      {"a cat BREAK AND a dog", {"AND"}},
      {"a cat AND_PERP a dog ADDCOL sky", {"AND_PERP", "ADDCOL"}},
      // InvokeAI and compel.
      {"(red apple)1.3", {"(red apple)1.3"}},
      {"a (red apple)0.5, b", {"(red apple)0.5"}},
      {"(red, apple)++ b", {"(red, apple)++"}},
      {"a (red)- b", {"(red)-"}},
      {"red apple++", {"apple++"}},
      {"apple++++, pear--", {"apple++++", "pear--"}},
      {"\xE7\x8C\xAB++ b", {"\xE7\x8C\xAB++"}},
      {"a cat.swap(dog) b", {"cat.swap(dog)"}},
      {"a (red cat).swap(dog (big))", {"(red cat).swap(dog (big))"}},
      {"\"a cat\".swap(\"dog\")", {"\"a cat\".swap(\"dog\")"}},
      {"(\"a\", \"b\").blend(0.7, 0.3)", {"(\"a\", \"b\").blend(0.7, 0.3)"}},
      {"(\"a\", \"b\").and()", {"(\"a\", \"b\").and()"}},
      {"(\"a\", \"b\").and(1, 0.5", {"(\"a\", \"b\").and("}},
      // Dynamic prompts.
      {"a {red|blue} car", {"{red|blue}"}},
      {"{2$$a|b|c}", {"{2$$a|b|c}"}},
      {"{0.5::red|2::blue} car", {"{0.5::red|2::blue}"}},
      {"(1.2::red dog) car", {"1.2::red dog"}},
      {"a __colors__ car", {"__colors__"}},
      {"__animals/cats__, __*__", {"__animals/cats__", "__*__"}},
      {"in __season__.", {"__season__"}},
      // NovelAI and Midjourney.
      {"{word} b {{more}}", {"{word}", "{{more}}"}},
      {"1.3::word:: b", {"1.3::word::"}},
      {"a, -0.5::word::, 2::b::c", {"-0.5::word::", "2::b::"}},
      {"1.5::rain, night", {"1.5::rain, night"}},
      {"hot::2 dog::-1", {"hot::2", "dog::-1"}},
      {"a cat --ar 16:9 --v 6", {"--ar 16:9", "--v 6"}},
      // Weights that are written wrongly.
      {"(cat:1,3)", {"(cat:1,3)"}},
      // Among escapes, markup that works, and markup within markup.
      {"\\(a\\) (b:1.3) [c] BREAK dog++", {"dog++"}},
      {"\\\\[a:b:1]", {"[a:b:1]"}},
      {"[dog++:{b|c}:0.5]", {"[dog++:{b|c}:0.5]"}},
      {"((a) [b:c:1]", {"[b:c:1]"}},
  };
  for (const Case& c : cases) {
    std::vector<std::string> expected;
    for (const char* text : c.markup)
      expected.push_back("MARKUP_READ_AS_TEXT " + std::string(text));
    EXPECT_EQ(Told(c.prompt), expected) << c.prompt;
  }
}

TEST(PromptWarningsTest, TellWhatIsLeftOut) {
  EXPECT_THAT(Told("red apple <lora:add_detail:0.8>, <lyco:x:1> <LoRA:y:1:0.5:lbw=ALL>"),
              ElementsAre("LORA_IGNORED <lora:add_detail:0.8>", "LORA_IGNORED <lyco:x:1>",
                          "LORA_IGNORED <LoRA:y:1:0.5:lbw=ALL>"));
  EXPECT_THAT(Told("<hypernet:h:0.4><segment:face>"),
              ElementsAre("EXTRA_NETWORK_IGNORED <hypernet:h:0.4>",
                          "EXTRA_NETWORK_IGNORED <segment:face>"));
  // Also within markup that is read as text, and among options.
  EXPECT_THAT(Told("[a <lora:x:1>:b:0.5] --no <lora:y:1>"),
              ElementsAre("MARKUP_READ_AS_TEXT [a <lora:x:1>:b:0.5]", "LORA_IGNORED <lora:x:1>",
                          "MARKUP_READ_AS_TEXT --no <lora:y:1>", "LORA_IGNORED <lora:y:1>"));
  EXPECT_THAT(Told("a <lora:x:0.8, b"), ElementsAre("MARKUP_READ_AS_TEXT <lora:x:0.8"));
}

TEST(PromptWarningsTest, TellEmbeddings) {
  EXPECT_THAT(Told("red, embedding:badhands, (embedding:neg/easy.pt:1.2) <cat-toy>"),
              ElementsAre("EMBEDDING_READ_AS_TEXT embedding:badhands",
                          "EMBEDDING_READ_AS_TEXT embedding:neg/easy.pt",
                          "EMBEDDING_READ_AS_TEXT <cat-toy>"));
}

TEST(PromptWarningsTest, LeaveProseAlone) {
  for (const char* prompt : {
           "",
           "a photo of a red apple, highly detailed, 8k",
           "(masterpiece:1.3), ((best quality)), [blurry], (word: 0.8 )",
           "(a:b:1.2) [c, d] ((e) BREAK f",
           "at 10:30, 16:9, ratio 3:2, a:b, note: this, (f/1.8)",
           "C++ code on a screen, c++, notepad++, g++, 18+, A+, Disney+",
           "a well-known red-haired girl -- smiling - at you, rock'n'roll",
           "house--big and red, 1-2, 5--6",
           "BLACK AND WHITE PHOTO, R AND D, android, SAND, bread and butter",
           "snake_case_name, _private_, my__name__here, ____, a_b",
           "\\[a:b:1\\] \\(red\\)1.3 \\{a|b\\} \\[a|b\\]",
           "a | b, x < y > z, <3, I <3 cats > dogs, -> arrow <-, :) :( ;-) (: [: ^_^ o_O {}",
           "Ca(OH)2, Fe2(SO4)3, (c)2024, (1990), f(x)++, (a) 2, (left)-handed, (red)hot",
           "std::vector, ::1, a :: b",
           "\xF0\x9F\x8D\x8E\xF0\x9F\x98\x80 \xE7\x8C\xAB\xEF\xBC\x8C\xE7\x8A\xAC caf\xC3\xA9",
           "line\nline\r\n\ttab, \"quoted\", 'single', 100%, $5, #1, @home, a/b, a.b, e.g. this.",
           "{\"scene\": \"a cat\", \"style\": {\"mood\": \"x|y\"}}",
           "and (so on), embedding: a word, the embedding, swap (this), me.and you",
           "a -no b, --help me, --",
           "[word] ] ) } [a:b] (c:d)",
       }) {
    EXPECT_THAT(Told(prompt), IsEmpty()) << prompt;
  }
}

TEST(PromptWarningsTest, OfPlainPromptsTellTagsAndEmbeddingsAlone) {
  EXPECT_THAT(Told("dog++ [b|c] <lora:x:1> AND embedding:y", PromptSyntax::kPlain),
              ElementsAre("MARKUP_READ_AS_TEXT <lora:x:1>", "EMBEDDING_READ_AS_TEXT embedding:y"));
}

TEST(PromptWarningsTest, CountBytesOfTheFieldsOwnValue) {
  const std::string prompt = "\xF0\x9F\x8D\x8E \\(x\\)\r\n<lora:caf\xC3\xA9:1> dog++";
  const std::vector<RequestWarning> warnings = Weighted(prompt);
  ASSERT_EQ(warnings.size(), 2u);
  EXPECT_EQ(warnings[0].offset_bytes, 12);
  EXPECT_EQ(warnings[0].text, "<lora:caf\xC3\xA9:1>");
  EXPECT_EQ(warnings[1].offset_bytes, 27);
}

TEST(PromptWarningsTest, AreBounded) {
  std::string prompt;
  while (prompt.size() < 4090) prompt += "dog++ ";
  EXPECT_EQ(Weighted(prompt).size(), kMaxRequestWarnings);
}

TEST(PromptWarningsTest, TakeNoLongForTheWorstPrompts) {
  for (const char* piece :
       {"<a:", "<lora:a ", "[a|",     "[a:", "(a:",  "(:",      "{a|", "dog++",
        "1::", "::",       "__a",     "_",   "AND ", "a.swap(", "\"",  "embedding:",
        "+",   "-",        "--ar ",   "\\",  "[(",   "(a)1",    ")",   "]",
        " ",   "(a,",      ":1 AND ", "<",   "a"}) {
    std::string prompt;
    while (prompt.size() < (1 << 18)) prompt += piece;
    if (prompt[0] == '[' || prompt[0] == '(' || prompt[0] == '{')
      prompt += std::string(1 << 16, ')');
    const auto start = std::chrono::steady_clock::now();
    Weighted(prompt);
    WithoutExtraNetworkTags(prompt);
    // 64 times what a request may hold.
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5)) << piece;
  }
}

TEST(PromptWarningsTest, OfAnyBytesQuoteWhatIsThere) {
  constexpr std::string_view kAlphabet = "[](){}<>:|.+-_,\"\\ \nab1ANDlora\xC3\xA9";
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    std::string prompt;
    for (size_t i = random() % 40; i > 0; --i) prompt += kAlphabet[random() % kAlphabet.size()];
    Told(prompt);
    PromptWarnings("prompt", prompt, PromptSyntax::kPlain);
  }
}

TEST(ExtraNetworksTest, AreTakenOutAsA1111Does) {
  EXPECT_EQ(WithoutExtraNetworkTags("a <lora:x:0.8> b<hypernet:y>c"), "a  bc");
  EXPECT_EQ(WithoutExtraNetworkTags("<a:<b:c>d>"), "d>");
  EXPECT_EQ(WithoutExtraNetworkTags("<lora:x\n y:1>z"), "z");
  for (const char* text : {"", "<3", "<3:x>", "<lora:>", "<lora>", "a < b: c >", "<lora:x", "<>"}) {
    EXPECT_EQ(WithoutExtraNetworkTags(text), text);
  }
}

}  // namespace
}  // namespace tightfit
