"""The golden token ids are what the installed transformers gives."""

from make_tokenizer_golden import GOLDEN_FILE, golden_lines


def test_golden_file_holds_what_transformers_gives() -> None:
    golden = GOLDEN_FILE.read_text(encoding="ascii").splitlines()
    current = golden_lines()
    assert len(golden) == len(current)
    differing = [(old, new) for old, new in zip(golden, current) if old != new]
    assert not differing, differing[0]


def test_golden_file_covers_much() -> None:
    golden = GOLDEN_FILE.read_text(encoding="ascii").splitlines()
    assert len(golden) >= 5000
    assert GOLDEN_FILE.stat().st_size < 2_500_000
