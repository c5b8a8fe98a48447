"""The command line of the training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_DESCRIPTION = """\
Trains emoji-xl, a small pipeline with SDXL's architecture that draws emoji, from scratch on a CPU.
Needs what deploy/install.sh --training installs."""

_EXAMPLES = """\
examples, from the repository's root with PYTHONPATH=deploy/export:
  python -m training train --out out/emoji-xl
      about an hour and a half on two cores; a stopped run goes on from its last checkpoint;
      out/emoji-xl/unseen.png and classes.png show how far it is, log.jsonl the losses
  python -m training evaluate --pipeline out/emoji-xl/pipeline --out out/emoji-xl/evaluation
      draws every class and the unseen prompts, and tells which are recognised
  python -m training publish --out out/emoji-xl --to deploy/models/emoji-xl
      fp16, in diffusers' layout and as a model directory
"""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m training",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = result.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train, or go on training")
    train.add_argument("--out", type=Path, required=True, metavar="DIR", help="for all of it")
    train.add_argument("--vae-steps", type=int, default=4800, metavar="N")
    train.add_argument("--denoiser-steps", type=int, default=8000, metavar="N")
    train.add_argument("--seed", type=int, default=1, metavar="N")
    train.add_argument("--threads", type=int, default=0, metavar="N", help="default: all cores")
    evaluate = commands.add_parser("evaluate", help="tell what is recognised")
    evaluate.add_argument("--pipeline", type=Path, required=True, metavar="DIR")
    evaluate.add_argument("--out", type=Path, metavar="DIR", help="for contact sheets")
    publish = commands.add_parser("publish", help="write the model as it is committed")
    publish.add_argument("--out", type=Path, required=True, metavar="DIR", help="of the training")
    publish.add_argument("--to", type=Path, required=True, metavar="DIR")
    return result


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    # After the arguments are known to be right: the libraries take seconds to load.
    from training import commands

    run = {"train": commands.train, "evaluate": commands.evaluate, "publish": commands.publish}
    try:
        return run[options.command](options)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
