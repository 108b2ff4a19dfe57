"""Beside a study: check its photos, train on a cluster, use its classifier.

python -m shotcount ...
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shotcount.errors import UserError

# What takes seconds to import is imported where it is needed: --help is at once.

CHECK = """\
Show how params.yaml, in the folder where this is run, makes the photos be read: classes, samples
and angles with examples, what is no part of the collection, what can't be used and why, the splits,
copies, look-alikes, dark and blurred photos. Keeps nothing. Exit status: 2 if something would stop
the study.
"""
PREDICT = """\
Print what the classifier takes each photo for, to stdout: path, label, the label's probability,
and the probability of every class. Photos are decoded as they were in training. Files come in the
order given, what is found in a folder in natural order (2 before 10). A photo that can't be used is
left out; all of them are named at the end, on stderr.
"""
EXIT = """\
Exit status: 0 if every photo was predicted; 2 if one or more couldn't be used (the others are
printed), or nothing could be done; 130 if interrupted; 141 if the reader of the output went away.
"""
EXPORT = """\
Write the classifier as one ONNX file, its preprocessing inside. Input `photos`: uint8, (batch,
height, width, 3), RGB, upright, of any size (those of a batch share theirs). Output
`probabilities`: float32, (batch, classes). The labels, in that order, are in the file's metadata,
under `classes`. Before it is written, onnxruntime's probabilities are compared with the original's:
by how much they differ is printed, and where that is more than rounding, nothing is written. (Large
JPEGs are decoded at a fraction of their size by training and predict; decoded whole, their
probabilities may differ by some 0.02.)
"""
GRID = """\
Run the study's cells side by side, on a cluster or on this machine: what `dvc repro` would train
and evaluate, one after the other, to the same bytes. Whatever is out of date before training is run
here first; each cell is recorded with DVC as it ends; `dvc repro` then does the rest. Stopped or
killed, it goes on where it was when it is run again. Needs requirements-cluster.txt, and Linux.
"""
MODEL = "the folder that the stage `classifier` makes, data/classifier, or a copy of it"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = _parser().parse_args(arguments)
    try:
        commands = {
            "check-data": _check_data, "grid": _grid, "predict": _predict, "export": _export,
        }  # fmt: skip
        status = commands[given.command](given)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        with suppress(OSError):
            sys.stdout.flush()
        return 130
    except BrokenPipeError:  # `| head` has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 141
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m shotcount",
        description="Check a study's photos, train it on a cluster, use its classifier.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    commands.add_parser("check-data", help="show how the photos are read", description=CHECK)

    grid = commands.add_parser("grid", help="train cells side by side", description=GRID)
    grid.add_argument(
        "--on", choices=["ray", "slurm", "local"], default="ray",
        help="ray (default); slurm: one job a cell, through submitit; local: processes of this "
        "machine, through submitit",
    )  # fmt: skip
    grid.add_argument(
        "--cpus", metavar="N", type=_count, default=1,
        help="CPUs for each cell, and threads: results are those of OMP_NUM_THREADS=N dvc repro "
        "(default: %(default)s)",
    )  # fmt: skip
    grid.add_argument(
        "--gpus", metavar="N", type=_share,
        help="GPUs for each cell. With Ray, 0.25 lets four cells share one, and the default is 1 "
        "where the cluster has any; otherwise the default is 0",
    )  # fmt: skip
    grid.add_argument(
        "--jobs", metavar="N", type=_count,
        help="cells at once, at most (default: as many as there is room for)",
    )  # fmt: skip
    grid.add_argument(
        "--retries", metavar="N", type=int, choices=range(11), default=2,
        help="further attempts at a cell whose process or machine died (default: %(default)s)",
    )  # fmt: skip
    grid.add_argument(
        "--pull", action="store_true",
        help="as in dvc repro: take from the DVC remote what was computed elsewhere",
    )  # fmt: skip
    grid.add_argument(
        "--address", metavar="HOST:PORT",
        help="ray: of the cluster; auto: that of this machine (default: start Ray here)",
    )  # fmt: skip
    grid.add_argument(
        "--files", choices=["shared", "remote"],
        help="ray: shared (default): every node sees this folder under the same path; remote: "
        "nodes have folders of their own, and fetch the inputs from the DVC remote",
    )  # fmt: skip
    grid.add_argument(
        "--minutes", metavar="N", type=_count,
        help="slurm, local: time limit of a job, which is then requeued and goes on (default: 60)",
    )  # fmt: skip
    grid.add_argument(
        "--sbatch", metavar="OPTION=VALUE", action="append",
        help="slurm: a further option of sbatch, as partition=gpu; may be given several times",
    )  # fmt: skip

    predict = commands.add_parser(
        "predict", help="name what photos show", description=PREDICT, epilog=EXIT
    )
    predict.add_argument("model", metavar="MODEL", type=Path, help=MODEL)
    predict.add_argument(
        "photos", metavar="PHOTO", type=Path, nargs="+",
        help="a photo, or a folder, which is searched with all its folders",
    )  # fmt: skip
    predict.add_argument(
        "--by-sample", action="store_true",
        help="print a line a sample instead of a photo, once all are seen: sample, photos, label, "
        "probabilities. The log-probabilities of its photos are averaged, which the study's table "
        "'accuracy for samples, by the angles averaged' judges. A sample's photos are those in one "
        "folder",
    )  # fmt: skip
    predict.add_argument(
        "--pattern", metavar="REGEX",
        help="with --by-sample: its group `sample` (and `label`, if it has one) tells a photo's "
        "sample instead of the folder; searched in the path below the folder given, or in a file's "
        "path as given. data.pattern of the study will do",
    )  # fmt: skip
    predict.add_argument(
        "--format", choices=["csv", "jsonl"], default="csv",
        help="csv with a head line (default), or a JSON object a line, with the same names",
    )  # fmt: skip
    predict.add_argument(
        "--device", choices=["auto", "cpu", "cuda", "mps"], default="auto",
        help="where to compute; auto (default): CUDA, else MPS, else CPU",
    )  # fmt: skip
    predict.add_argument(
        "--batch-size", metavar="N", type=_count, default=64,
        help="photos to compute on at once (default: %(default)s)",
    )  # fmt: skip

    export = commands.add_parser("export", help="write an ONNX file", description=EXPORT)
    export.add_argument("model", metavar="MODEL", type=Path, help=MODEL)
    export.add_argument("file", metavar="FILE.onnx", type=Path, help="where to write it")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number above 0 is needed, not {text!r}")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1 and not (value > 1 and value.is_integer()):
        raise argparse.ArgumentTypeError(f"a share (0 to 1) or a whole number, not {text!r}")
    return value


def _check_data(given: argparse.Namespace) -> int:
    from shotcount.params import load_params
    from shotcount.survey import survey

    lines, problems = survey(load_params(Path("params.yaml")))
    print("\n".join(lines))
    if problems:
        raise UserError("\n       ".join(["this would stop the study:", *problems]))
    print("\nNothing would stop the study.")
    return 0


def _grid(given: argparse.Namespace) -> int:
    from shotcount import engines, grid

    def engine() -> engines.Engine:
        if given.on == "ray":
            return engines.OnRay(given.address or "local", given.cpus, given.gpus)
        gpus, options = int(given.gpus or 0), dict(o.split("=", 1) for o in given.sbatch or [])
        return engines.OnSubmitit(given.on, given.cpus, gpus, given.minutes or 60, options)

    others = {"ray": ["minutes", "sbatch"], "slurm": ["address", "files"]}
    others["local"] = [*others["slurm"], "sbatch"]
    for option in others[given.on]:
        if getattr(given, option) is not None:
            raise UserError(f"--{option} is not for --on {given.on}: leave it out")
    if given.on != "ray" and (given.gpus or 0) % 1:
        raise UserError(f"--gpus {given.gpus:g}: a job gets whole GPUs; Ray alone shares them")
    if bad := [option for option in given.sbatch or [] if "=" not in option]:
        raise UserError(f"--sbatch {bad[0]}: write it as OPTION=VALUE")
    grid.run(
        grid.Settings(
            threads=given.cpus,
            jobs=given.jobs,
            retries=given.retries,
            shared=given.files != "remote",
            pull=given.pull,
        ),
        engine,
    )
    return 0


def _predict(given: argparse.Namespace) -> int:
    if given.pattern is not None and not given.by_sample:
        raise UserError("--pattern tells samples apart: give --by-sample too, or leave it out")

    from tqdm import tqdm

    from shotcount import predicting as p
    from shotcount.classifier import load
    from shotcount.devices import pick_device
    from shotcount.photos import printable
    from shotcount.tables import probability

    pattern = None if given.pattern is None else p.compile_pattern(given.pattern)
    network, model = load(given.model, pick_device(given.device))
    photos = p.find(given.photos)
    classes, samples, bad = model["classes"], p.Samples(), []

    def write(row: p.Row) -> None:
        sys.stdout.write(p.as_json(row) if given.format == "jsonl" else p.as_csv([*row.values()]))

    sys.stdout.reconfigure(encoding="utf-8", newline="")  # type: ignore[union-attr]
    if given.format == "csv":
        heads = ["sample", "photos"] if given.by_sample else ["path"]
        columns = [*heads, "label", "probability", *map(probability, classes)]
        sys.stdout.write(p.as_csv(columns))
    # A bar amid the rows would spoil both.
    hidden = True if sys.stdout.isatty() else None
    found = p.probabilities(network, photos, model["size"], given.batch_size)
    for photo, made in tqdm(found, "predict", len(photos), unit="photo", disable=hidden):
        sample = p.sample_of(photo, pattern) if given.by_sample else ""
        if isinstance(made, str):
            bad.append((photo, made))
        elif sample is None:
            bad.append((photo, "--pattern doesn't tell its sample"))
        elif given.by_sample:
            samples.add(sample, made)
        else:
            write(p.row({"path": str(photo.path)}, made, classes))
    for sample, count, made in samples:
        write(p.row({"sample": sample, "photos": count}, made, classes))
    sys.stdout.flush()
    if bad:
        listing = "".join(f"\n       {printable(photo.path)}: {why}" for photo, why in bad)
        raise UserError(f"{len(bad)} of the {len(photos)} photos can't be used:{listing}")
    return 0


def _export(given: argparse.Namespace) -> int:
    if given.file.is_dir():
        raise UserError(f"{given.file} is a folder: name a file in it")

    import torch

    from shotcount import exporting, files
    from shotcount.classifier import load

    network, model = load(given.model, torch.device("cpu"))
    exported = exporting.to_onnx(network, model)
    same, resampled = exporting.differences(exported, network, model["size"])
    files.write_bytes(given.file, exported)
    print(
        f"{given.file}: {len(exported) / 1e6:.1f} MB. Largest difference of a probability from the "
        f"original's: {same:.1g} on photos of {model['size']} x {model['size']} px, "
        f"{resampled:.1g} on photos that it scales itself"
    )
    return 0


if __name__ == "__main__":
    status = main()
    if status == 130:
        os._exit(status)  # at once: a thread may still wait for a photo from a slow disk
    sys.exit(status)
