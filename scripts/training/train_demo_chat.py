"""Trains or measures the small chat model that ships with the service (worker/demo_models/chat).

    scripts/train_demo_chat --minutes 40 --seed 1 --out DIR     train a model from a generated corpus
    scripts/train_demo_chat --start-from OLD --out DIR          train a model on, after the corpus has gained something
    scripts/train_demo_chat --evaluate DIR                      measure a model on phrasings it was not trained on

Training needs no download and no GPU. On Linux it is several times faster with OpenBLAS preloaded
(LD_PRELOAD), since MLX's CPU build brings a reference BLAS; OPENBLAS_NUM_THREADS sets the cores it
may use.
"""

import argparse
import sys
from pathlib import Path


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--out", type=Path, metavar="DIR", help="train, and write the model here")
    task.add_argument(
        "--evaluate", type=Path, metavar="DIR", help="measure the model in this folder"
    )
    parser.add_argument(
        "--start-from", type=Path, metavar="DIR", help="train this model on instead of a fresh one"
    )
    parser.add_argument(
        "--continued-share",
        type=float,
        default=0.5,
        metavar="SHARE",
        help=(
            "with --start-from: the share of the full learning rate to start at (default: "
            "%(default)s)"
        ),
    )
    parser.add_argument(
        "--minutes", type=float, default=40.0, help="wall time to train (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of weights, corpus and test cases (default: 1)"
    )
    parser.add_argument(
        "--cases", type=int, default=50, help="test cases for each skill (default: %(default)s)"
    )
    parser.add_argument(
        "--mistakes", type=int, default=0, help="wrong answers to show for each skill (default: 0)"
    )
    return parser.parse_args()


def log(line: str) -> None:
    """Print a line at once, also into a file or a pipe."""
    print(line, flush=True)


def main() -> int:
    """Do what the command line asks for."""
    arguments = parse_arguments()
    given = arguments.evaluate or arguments.start_from
    if given and not (given / "config.json").is_file():
        # mlx-lm takes a folder that does not exist for the name of a model to download.
        print(f"train_demo_chat: there is no model in {given}", file=sys.stderr)
        return 1
    try:
        import mlx.core  # noqa: F401
        import mlx_lm  # noqa: F401
    except ImportError as error:
        print(
            f"train_demo_chat needs mlx and mlx-lm, which are not installed: {error}",
            file=sys.stderr,
        )
        return 1
    if arguments.evaluate:
        from scripts.training.demo_chat.evaluation import evaluate

        evaluate(arguments.evaluate, arguments.cases, arguments.seed, arguments.mistakes, log)
        return 0
    from scripts.training.demo_chat.training import Plan, Trainer

    plan = Plan(
        arguments.minutes,
        arguments.seed,
        arguments.out,
        arguments.start_from,
        arguments.continued_share,
    )
    Trainer(plan).run(log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
