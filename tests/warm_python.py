"""Python that has imported the libraries already, so that stages and DVC start seconds sooner.

    python warm_python.py ADDRESS

Serves the programs that `install` writes, until its standard input ends. A program sends its
arguments, folder, environment and streams; a fork of the server runs them as Python would have.
What a signal is to reach must be started by Python itself: the fork is no child of the program.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path

LIBRARIES = (
    *("cleanlab.filter", "cleanvision", "dvc.cli", "dvc.commands.repro", "dvc.repo.experiments"),
    *("jinja2", "matplotlib.figure", "pandas", "pydantic", "safetensors.torch", "scipy.stats"),
    *("sklearn.linear_model", "timm", "torch", "torchvision", "tqdm"),
)
PROGRAM = """#!{python} -IS
import json, os, socket, sys

name = os.path.basename(sys.argv[0])
if name == "python" and sys.argv[1][:1] == "-":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
    server.connect({address!r})
    own = json.dumps([[name, *sys.argv[1:]], os.getcwd(), dict(os.environ)])
    socket.send_fds(server, [own.encode()], [0, 1, 2])
    status = server.recv(1)
sys.exit(status[0] if status else "the warm Python has ended")
"""


def install(folder: Path) -> Path:
    """Write the programs python and dvc into a folder and start their server; return the folder."""
    address = str(folder / "socket")
    for name in ("python", "dvc"):
        text = PROGRAM.format(python=sys.executable, address=address)
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""},
        stdin=subprocess.PIPE,  # which ends with this process
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert server.stdout is not None
    assert server.stdout.read(5) == b"ready"
    return folder


def wait_for_a_program(address: str) -> socket.socket:
    """Serve; return in a fork of the server, with the program to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system then forgets forks that have ended
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen()
        os.write(1, b"ready")
        while 0 not in select.select([0, listener], [], [])[0]:
            program = listener.accept()[0]
            if os.fork() == 0:
                return program
            program.close()
    sys.exit()


def become(program: socket.socket) -> list[str]:
    """Tell the program the status of a fork, and return in that, as the program: its arguments."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, *_ = socket.recv_fds(program, 2**20, 3)
    if fork := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])
        program.send(bytes([status % 256]))
        os._exit(0)
    program.close()
    for own, stream in enumerate(streams):
        os.dup2(stream, own)
        os.close(stream)
    arguments, folder, environment = json.loads(message)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return arguments


def run(name: str) -> int | str | None:
    """Run what `sys.argv` tells as a program of this name; return its status as `sys.exit` does."""
    try:
        if name == "dvc":
            sys.argv.insert(0, name)
            return import_module("dvc.cli").main()
        script = os.path.abspath(sys.argv[0])
        sys.path.insert(0, os.path.dirname(script))
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()  # what forks share is not to be looked through, and so copied, by each
    name, *sys.argv = become(wait_for_a_program(sys.argv[1]))
    sys.path[0:1] = os.environ["PYTHONPATH"].split(os.pathsep)
    status = run(name)
    if isinstance(status, str):
        print(status, file=sys.stderr)
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status or 0)  # taking the libraries down would take as long as their import
