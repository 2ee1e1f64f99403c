"""Trains or measures the small vision model that ships with the service
(worker/demo_models/vision).

    scripts/train_demo_vision --minutes 30 --seed 1 --out DIR     train a model on pictures drawn while it trains
    scripts/train_demo_vision --evaluate DIR                      measure a model on pictures it was not trained on

Training needs no download and no GPU. On Linux it is several times faster with OpenBLAS preloaded
(LD_PRELOAD), since MLX's CPU build brings a reference BLAS; OPENBLAS_NUM_THREADS sets the cores it
may use.
"""

import argparse
import sys
import warnings
from dataclasses import replace
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
        "--minutes", type=float, default=30.0, help="processor time to train (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of weights, pictures and test cases (default: 1)"
    )
    parser.add_argument(
        "--from",
        dest="start_from",
        type=Path,
        metavar="DIR",
        help="go on from this model's weights",
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=0.02,
        help="learning rate of the matrices (default: %(default)s)",
    )
    parser.add_argument(
        "--pictures", type=int, default=200, help="pictures to measure on (default: %(default)s)"
    )
    parser.add_argument(
        "--mistakes", type=int, default=0, help="wrong answers to show for each kind (default: 0)"
    )
    return parser.parse_args()


def log(line: str) -> None:
    """Print a line at once, also into a file or a pipe."""
    print(line, flush=True)


def main() -> int:
    """Do what the command line asks for."""
    arguments = parse_arguments()
    warnings.filterwarnings("ignore", module="transformers")
    try:
        import mlx.core  # noqa: F401
        import mlx_vlm  # noqa: F401
    except ImportError as error:
        print(
            f"train_demo_vision needs mlx and mlx-vlm, which are not installed: {error}",
            file=sys.stderr,
        )
        return 1
    if arguments.evaluate:
        from scripts.training.demo_vision.evaluation import evaluate

        evaluate(arguments.evaluate, arguments.pictures, arguments.seed, arguments.mistakes, log)
        return 0
    from scripts.training.demo_vision.training import Plan, Trainer

    plan = Plan(
        minutes=arguments.minutes,
        seed=arguments.seed,
        out=arguments.out,
        matrix_rate=arguments.rate,
    )
    if arguments.start_from:
        # A model that answers already can see: probes that must first learn to read it would only
        # disturb it.
        plan = replace(
            plan, start_from=arguments.start_from, look_share=0.0, probe_weight=0.0, flat_share=0.1
        )
    Trainer(plan).run(log)
    return 0


if __name__ == "__main__":
    sys.exit(main())
