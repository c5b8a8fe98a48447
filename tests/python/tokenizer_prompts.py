"""The prompts of the tokenizer's golden file: hand-picked ones and a fixed random sample."""

import random

SPECIAL = [
    "<|startoftext|>",
    "<|endoftext|>",
    "<|ENDOFTEXT|>",
    "<|StartOfText|>",
    "< |endoftext|>",
    "<|endoftext |>",
    "<|end\u00adoftext|>",
    "<|endoftext",
    "|endoftext|>",
    "<<|endoftext|>>",
    "<|<|endoftext|>|>",
    "<|endo<|endoftext|>ftext|>",
    "\uff1c|endoftext|\uff1e",
    "<\uff5cendoftext\uff5c>",
    "<|STARTOFTEXT|><|ENDOFTEXT|>",
    "<|endof\ufb05ext|>",
]

SENTENCES = [
    "", " ", "a", "a photo of an astronaut riding a horse on mars",
    "masterpiece, best quality, (highly detailed:1.3), [blurry], {8k}, <lora:name:0.8>", "a cat!",
    "wow! great!! !!!", "! ! !", "!\u0301", "\uff01", "\u00a1hola!", "a!b!c",
    "It's the dog's; they're, we've, I'm, you'll, he'd, can't",
    "IT'S THE DOG'S; THEY'RE, WE'VE, I'M, YOU'LL, HE'D, CAN'T", "'s't're've'm'll'd", "''s'''t",
    "'S'T'RE'VE'M'LL'D", "'", "''", "'x", "\u2019s don\u2019t", "!'s", "a's's", "'ss", "'lll", "'r",
    "'v", "'l", "\u02bcs", "x'\u017f", "0123456789", "3.14159", "1,000,000", "2nd 3rd 4K 1080p",
    "v1.5", "\u00bd\u00b2\u2460\u2167", "\u0663\u0664\u0665", "\u096a\u096b", "\uff11\uff12",
    "\U0001d7d8\U0001d7e2", "\u3007\u4e00", "snake_case kebab-case CamelCase",
    "https://example.org/a?b=c&d=%20#e", "user@example.org", "a\tb\nc\rd\x0be\x0cf", "  a   b  ",
    "\t\n", "a\r\n\r\nb", "a\u00a0b", "a\u3000b", "a\u2003b", "a\u2028b\u2029c\u0085d",
    "a\u1680b\u202fc\u205fd", "a\u180eb", "a\u200bb\u200cc\u200dd", "a\ufeffb", "a\u2060b",
    "a\x1cb\x1dc\x1ed\x1fe", "a\x00b", "\x00", "\x7f\x80\x9f", "\x01\x02",
    "so\u00adft hy\u00adphen", "a\u034fb", "zero\u200bwidth", "caf\u00e9", "cafe\u0301",
    "CAFE\u0301", "\u00c5\u212bA\u030a", "\u1e69 s\u0323\u0307 s\u0307\u0323", "q\u0307\u0323",
    "q\u0323\u0307", "a\u0300\u0301\u0302\u0303", "\u0344", "\u0340\u0341\u0343", "\u0958\u0959",
    "\u2126\u212a\u212b", "\ufb1d\ufb2a", "\U0001d15e\U0001d1bb", "\u0fb2\u0f71\u0f80",
    "\u0130stanbul", "ISTANBUL \u0131\u0130iI", "I\u0307", "i\u0307", "\u01c4\u01c5\u01c6\u01f1",
    "Stra\u00dfe STRASSE \u1e9e", "\u0149", "\u01f0\u0390\u03b0",
    "\u039f\u0394\u039f\u03a3 \u039f\u0394\u039f\u03a3. \u03a3",
    "\u1f48\u0394\u03a5\u03a3\u03a3\u0395\u038e\u03a3", "\u03ba\u03cc\u03c3\u03bc\u03bf\u03c2",
    "\u1fb3\u1fbc\u1ffc\u1f88\u1f80", "\u03f4\u2126\u03c2",
    "\u041a\u043e\u0442 \u0432 \u0448\u043b\u044f\u043f\u0435 \u0419 \u0418\u0306",
    "\u0407\u0457\u0490", "\u0531\u0580\u0587", "\u10a0\u2d00\u10d0\u1c90", "\u13a0\uab70\u13f8",
    "\U00010400\U00010428", "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06",
    "\u0132\u0133\u0152\u0153\u00c6",
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645",
    "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f", "\ufdfa\ufdfd\ufe8d",
    "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u200f\u05d0\u200e",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e",
    "\u0995\u09cb\u0995\u09c7\u09be", "\u0ba8\u0bbf\u0bb2\u0bbe",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "\u0f56\u0f7c\u0f51\u0f0b\u0f61\u0f74\u0f42", "\u1019\u103c\u1014\u103a\u1019\u102c",
    "\u1200\u121b\u122d\u129b", "\u65e5\u672c\u8a9e\u306e\u30d7\u30ed\u30f3\u30d7\u30c8",
    "\u304b\u3099\u30cf\u309a", "\uff76\uff9e\uff8a\uff9f",
    "\u4e2d\u6587\u63d0\u793a\u8bcd\uff0c\u4e00\u53ea\u732b", "\uf900\uf901\u2f00\u2e80",
    "\U00020000\U0002f800", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab", "\u1112\u1161",
    "\uac00\u11a8", "\uac00\u11a7", "\u1100\u1175\u11c2\u11a8", "\U0001f600\U0001f1e9\U0001f1ea",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f\u2764\ufe0e",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "\U0001f44d\U0001f3fd", "1\ufe0f\u20e3", "\U0001d400\U0001d4d0\U0001d504\U0001d538",
    "\uff21\uff42\uff43", "\u24b6\u24d0\U0001f130", "\u1d2c\u02b0",
    "\u2014\u2013\u2026\u201c\u201d\u00ab\u00bb", "\u20ac\u00a3\u00a5\u20bf",
    "\u00b1\u00d7\u00f7\u2211\u221e\u2260=\u0338", "\ue000\uf8ff\U000f0000\U0010ffff",
    "\ufffd\ufffe\uffff", "\u0378\u0e80\U0001fffe", "\u0898a\u0300\u0898\u0301", "a\u1df6\u0323",
    "\U00011938", "\U00011935\U00011930", "\ua7ce\ua7cb\ua7dc", "\U00010d50\U00010d4a\U00010d40",
    "\U00016ea0\U00016ebb", "\U0002ebf0\U000323b0",
]  # fmt: skip

OVERLONG = [
    "a " * 74, "a " * 75, "a " * 76, "a " * 77, "a " * 300, "!" * 75, "!" * 76, "!" * 200,
    "x" * 600, "ab" * 300, "the" * 200, "\U0001f600" * 90, "\u6f22\u5b57" * 40, "1" * 100,
    "<|endoftext|>" * 75, "<|endoftext|>" * 80, "a photo of a very large cat, " * 20,
]  # fmt: skip

# Ill-formed UTF-8, in hex: the prompt is what decoding with replacement gives.
INVALID_UTF8 = [
    "ff", "61ff62", "80", "c0af", "c3", "61c3", "c328", "e282", "e28261", "e0809f", "eda080",
    "eda0bdedb880", "f09f98", "f09f9861", "f4908080", "f8888080", "fe", "61e282c3ac62", "f0808080",
    "3cff7c656e646f66746578747c3e", "f09f983c7c656e646f66746578747c3e", "cc61", "65cc81ff",
    "65ff cc81",
]  # fmt: skip

FRAGMENTS = [
    *SPECIAL[:4], "'s", "'LL", "'ve", "!", "  ", "\t\n", "a photo", "\u017f", "\u0130", "\u03a3",
]  # fmt: skip

# Ranges where normalisation, case or word classes have something to do.
RANGES = [
    [*range(0x20, 0x7F)],
    [*range(0x00, 0x250)],
    [*range(0x300, 0x370), *range(0x61, 0x7B)],
    [*range(0x370, 0x530)],
    [*range(0x590, 0x700)],
    [*range(0x900, 0xE00)],
    [*range(0x1100, 0x1200), *range(0xAC00, 0xAC60)],
    [*range(0x1C80, 0x1F00)],
    [*range(0x1F00, 0x2100)],
    [*range(0x3040, 0x3100), 0x3000, 0x3099, 0x309A],
    [*range(0xA640, 0xAB70)],
    [*range(0xF900, 0xFB50)],
    [*range(0x10C80, 0x11400)],
    [*range(0x16100, 0x16F00)],
    [*range(0x1D400, 0x1D800)],
    [*range(0x1F1E6, 0x1F200), 0x200D, 0xFE0F, *range(0x1F300, 0x1F700)],
]


def is_surrogate(code: int) -> bool:
    return 0xD800 <= code < 0xE000


def row_samples(rng: random.Random) -> list[str]:
    """For every row of 256 code points, assigned or not, some of its characters."""
    rows = [*range(0x000, 0x200), *range(0x200, 0x340, 8), 0xE00, 0xE01, 0xF00, 0x1000, 0x10FF]
    prompts = []
    for row in rows:
        if is_surrogate(row << 8):
            continue
        prompt_count = 3 if row < 0x30 or 0xA0 <= row < 0xAC or 0xF9 <= row < 0x200 else 1
        for _ in range(prompt_count):
            codes = [(row << 8) + rng.randrange(256) for _ in range(rng.randint(1, 6))]
            prompts.append("".join(map(chr, codes)))
    return prompts


def mixed_samples(rng: random.Random, count: int) -> list[str]:
    prompts = []
    for _ in range(count):
        characters = rng.choice(RANGES)
        length = rng.choice([1, 2, 3, 5, 8, 13, 21])
        parts = [
            rng.choice(FRAGMENTS) if rng.random() < 0.12 else chr(rng.choice(characters))
            for _ in range(length)
        ]
        prompts.append("".join(parts))
    return prompts


WORDS = (
    "masterpiece portrait landscape cinematic lighting watercolour oil-painting photograph "
    "35mm f/1.8 bokeh octane render unreal-engine trending artstation highly detailed "
    "intricate elegant sharp focus volumetric god-rays sunset sunrise misty forest mountain "
    "lake castle dragon astronaut cat dog fox girl boy woman man robot cyberpunk steampunk "
    "baroque art-nouveau mucha rembrandt vermeer hokusai ukiyo-e minimalist isometric "
    "low-poly pixel-art sticker logo vector 8k 4K HDR UHD raw (best:1.2) [worst] BREAK "
    "{curly} <lora:add_detail:0.7> it's don't we're 1girl 2boys no.1 #1 @home caf\xe9 "
    "na\xefve jalape\xf1o M\xfcnchen \u6771\u4eac \u041c\u043e\u0441\u043a\u0432\u0430 "
    "\U0001f34e"
).split()


def worded_samples(rng: random.Random, count: int) -> list[str]:
    """What people ask for: words in any case, with the separators that they use."""
    prompts = []
    for _ in range(count):
        words = [rng.choice(WORDS) for _ in range(rng.choice([2, 4, 8, 16, 30, 60]))]
        words = [rng.choice([word, word, word.title(), word.upper()]) for word in words]
        prompts.append("".join(word + rng.choice([" ", " ", ", ", ",", "\n"]) for word in words))
    return prompts


def golden_prompts() -> list[str | bytes]:
    """Text, and bytes where the prompt is not UTF-8. The same list on every run."""
    rng = random.Random(20240229)
    prompts: list[str | bytes] = [*SENTENCES, *SPECIAL, *OVERLONG]
    for special in SPECIAL:
        prompts += [f"a {special} b", f"A{special}B", f"{special}'s", f"!{special}!"]
        prompts.append(f"\u0301{special}\u0301")
    prompts += row_samples(rng)
    prompts += mixed_samples(rng, 2000)
    prompts += [bytes.fromhex(text) for text in INVALID_UTF8]
    prompts += worded_samples(random.Random(77), 1600)
    return prompts
