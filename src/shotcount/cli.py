"""The command line: shotcount COMMAND, or python -m shotcount COMMAND.

Slow imports are inside the functions, so that --help answers at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from shotcount.core.errors import UserError, print_in_any_encoding

CHECK = """\
Show how the params.yaml in this folder reads the photos: classes, samples and angles with examples;
files that are not part of the collection; photos that can't be used, and why; the splits; copies,
look-alikes, dark and blurred photos. Where annotations lie among the photos (COCO's JSON, YOLO's
texts, Pascal VOC's XML), show them as photos with boxes instead: boxes and photos of each class;
boxes without area, outside the photo, drawn twice, too small to learn; annotations and photos that
have no counterpart. Writes no files, except those of --draw. Exit status: 2 if something would stop
the study.
"""
INIT = """\
Propose the params.yaml of a study of the photos in FOLDER, from the one in this folder: how paths
are read as class, sample and angle, which sizes the study has, and at how many pixels networks see
the photos. Tell how long the study takes on this machine, whose speed is measured for some seconds.
Show the change, and write it with --yes; comments stay. Where annotations of boxes lie among the
photos, the study is about boxes.
"""
CLUSTER = """\
Run the study's cells side by side, on a cluster or on this machine. `dvc repro` would train and
evaluate them one after the other, with byte-identical results. Stages that come before training
run here first. Each cell is recorded with DVC when it ends; run `dvc repro` for the rest. After an
interruption, run it again to resume. Needs requirements-cluster.txt, and Linux.
"""
PREDICT = """\
Print the predicted class of each photo to stdout: path, label, the label's probability, and the
probability of every class. Of a study of boxes, print the objects in each photo: photo, label,
score, and the box's left, top, right and bottom in px of the upright photo. Photos are decoded as
in training. Files come in the order given, photos of a folder in natural order (2 before 10).
Photos that can't be used are left out and listed at the end, on stderr.
"""
EXIT = """\
Exit status: 0 if every photo was predicted; 2 if one or more couldn't be used (the others are
printed), or nothing could be done; 130 if interrupted; 141 if the reader of the output closed it.
"""
EXPORT = """\
Write the classifier as one ONNX file, preprocessing included. Input `photos`: uint8, (batch,
height, width, 3), RGB, upright, of any size (all photos of a batch have the same). Output
`probabilities`: float32, (batch, classes). The labels, in that order, are in the file's metadata,
under `classes`. Of a study of boxes, the outputs are `boxes`: float32, (batch, anchors, 4), left,
top, right and bottom in px of the photo; and `scores`: float32, (batch, anchors, classes). Most are
no objects, and many are the same one: keep those whose score is at least `confidence` (in the
metadata, under `model`), and merge those of a class that overlap (non-maximum suppression at an IoU
of 0.5). Before it writes the file, it compares onnxruntime's outputs with the original's and prints
the largest difference; if that is more than rounding, it writes nothing.
(Training and predict decode large JPEGs at a fraction of their size; if you decode them at full
size, the probabilities may differ by about 0.02.)
"""
MODEL = "the folder that the stage `classifier` makes, data/classifier, or a copy of it"


def run() -> None:
    """Run the command line and exit."""
    print_in_any_encoding()
    status = main()
    if status == 130:
        os._exit(status)  # at once: a thread may still wait for a photo from a slow disk
    sys.exit(status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = _parser().parse_args(arguments)
    try:
        status = _command(given.command)(given)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        with suppress(OSError):
            sys.stdout.flush()
        return 130
    except BrokenPipeError:  # the reader, for example `| head`, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at exit
        return 141
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _command(name: str) -> Any:
    if name == "check-data":
        from shotcount.commands.check_data import run
    elif name == "init":
        from shotcount.proposal.command import run
    elif name == "cluster":
        from shotcount.cluster.command import run
    elif name == "predict":
        from shotcount.commands.predict import run
    else:
        from shotcount.commands.export import run
    return run


# ---------------------------------------------------------------------------- the parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "shotcount",
        description="Set up a study, check its photos, train its cells on a cluster, use its "
        "classifier.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_init(commands)
    _add_check(commands)
    _add_cluster(commands)
    _add_predict(commands)
    export = commands.add_parser("export", help="write an ONNX file", description=EXPORT)
    export.add_argument("model", metavar="MODEL", type=Path, help=MODEL)
    export.add_argument("file", metavar="FILE.onnx", type=Path, help="where to write it")
    return parser


def _add_init(commands: Any) -> None:
    add = commands.add_parser(
        "init", help="propose a params.yaml for your photos", description=INIT
    ).add_argument
    add("folder", metavar="FOLDER", type=Path, help="the photos")
    add("--layout", metavar="N", type=_count,
        help="read the paths by another of the layouts that fit (default: 1)")  # fmt: skip
    add("--px", metavar="N", type=_count,
        help="data.size: px at which networks see the photos (default: the largest with which the "
        "study takes no more than some 55 minutes on a CPU; auto on a GPU)")  # fmt: skip
    add("--device", choices=["auto", "cpu", "cuda", "mps"],
        help="where networks are trained (default: device of params.yaml)")  # fmt: skip
    add("--yes", action="store_true", help="write params.yaml")


def _add_check(commands: Any) -> None:
    add = commands.add_parser(
        "check-data", help="show how the photos are read", description=CHECK
    ).add_argument
    add("folder", metavar="FOLDER", type=Path, nargs="?",
        help="the photos (default: data.path of params.yaml; with boxes, no params.yaml is needed)",
        )  # fmt: skip
    add("--task", choices=["auto", "classify", "detect"],
        help="photos of one class each, or photos with boxes; auto: with boxes where annotations "
        "lie among the photos (default: data.task of params.yaml, else auto)")  # fmt: skip
    add("--px", metavar="N", type=_count,
        help="photos with boxes: tell the sizes of boxes in photos of N × N pixels (default: "
        "data.size of params.yaml, else 256)")  # fmt: skip
    add("--draw", metavar="FOLDER", type=Path,
        help="photos with boxes: draw up to 12 of them into this folder as 01.jpg, 02.jpg, ...; "
        "those with the most faults first")  # fmt: skip


def _add_cluster(commands: Any) -> None:
    add = commands.add_parser(
        "cluster", help="train cells side by side", description=CLUSTER
    ).add_argument
    add("--on", choices=["ray", "slurm", "local"], default="ray",
        help="ray (default); slurm: one job a cell, through submitit; local: processes of this "
        "machine, through submitit")  # fmt: skip
    add("--cpus", metavar="N", type=_count, default=1,
        help="CPUs and threads for each cell; results equal those of OMP_NUM_THREADS=N dvc repro "
        "(default: %(default)s)")  # fmt: skip
    add("--gpus", metavar="N", type=_share,
        help="GPUs for each cell. With Ray, 0.25 lets four cells share one, and the default is 1 "
        "where the cluster has any; otherwise the default is 0")  # fmt: skip
    add("--jobs", metavar="N", type=_count,
        help="cells at once, at most (default: as many as fit)")  # fmt: skip
    add("--retries", metavar="N", type=int, choices=range(11), default=2,
        help="further attempts at a cell whose process or machine died (default: %(default)s)",
        )  # fmt: skip
    add("--pull", action="store_true",
        help="take finished work from the DVC remote, as dvc repro --pull does")  # fmt: skip
    add("--address", metavar="HOST:PORT",
        help="ray: address of the cluster, or auto for the one on this machine (default: start Ray "
        "here)")  # fmt: skip
    add("--files", choices=["shared", "remote"],
        help="ray: shared (default): every node sees this folder under the same path; remote: "
        "nodes have folders of their own and fetch the inputs from the DVC remote")  # fmt: skip
    add("--minutes", metavar="N", type=_count,
        help="slurm, local: time limit of a job; it is then requeued and resumes (default: 60)",
        )  # fmt: skip
    add("--sbatch", metavar="OPTION=VALUE", action="append",
        help="slurm: a further option of sbatch, for example partition=gpu; may be repeated",
        )  # fmt: skip


def _add_predict(commands: Any) -> None:
    add = commands.add_parser(
        "predict", help="name what photos show", description=PREDICT, epilog=EXIT
    ).add_argument
    add("model", metavar="MODEL", type=Path, help=MODEL)
    add("photos", metavar="PHOTO", type=Path, nargs="+",
        help="a photo, or a folder, which is searched with all its subfolders")  # fmt: skip
    add("--by-sample", action="store_true",
        help="print one line per sample instead of per photo, at the end: sample, photos, label, "
        "probabilities. The log-probabilities of its photos are averaged, as in the study's table "
        "'accuracy for samples, by the angles averaged'. The study's data.pattern names a photo's "
        "sample; where it matches no photo, a sample's photos are those in one folder")  # fmt: skip
    add("--pattern", metavar="REGEX",
        help="with --by-sample: its group `sample` (and `label`, if it has one) names a photo's "
        "sample instead; searched in the path below the folder given, or in a file's "
        "path as given")  # fmt: skip
    add("--format", choices=["csv", "jsonl", "coco"], default="csv",
        help="csv with a header (default); one JSON object per line, with the same names; or, of "
        "objects, COCO's JSON")  # fmt: skip
    add("--confidence", metavar="SCORE", type=_fraction,
        help="objects: print those with this score or more (default: the one that validation "
        "chose)")  # fmt: skip
    add("--draw", metavar="FOLDER", type=Path,
        help="objects: also draw the photos with their boxes into this folder")  # fmt: skip
    add("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto",
        help="where to compute; auto (default): CUDA, else MPS, else CPU")  # fmt: skip
    add("--batch-size", metavar="N", type=_count, default=64,
        help="photos to compute on at once (default: %(default)s)")  # fmt: skip


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a whole number above 0 is needed, not {text!r}")
    return int(text)


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a number from 0 to 1 is needed, not {text!r}")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1 and not (value > 1 and value.is_integer()):
        raise argparse.ArgumentTypeError(f"a share (0 to 1) or a whole number, not {text!r}")
    return value
