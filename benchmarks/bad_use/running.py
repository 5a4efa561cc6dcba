"""Runs trials, each in a process of its own with a limit of time and memory, a few at a time.

A call runs in a fork of this process, which has imported torch and wellposed but has run nothing; a command line runs in
bash. Both get a temporary folder. Peak memory is the kernel's own (``wait4``); what exceeds the limit while it runs is ended.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import pickle
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import judging
from .cases import Call, Command
from .judging import Outcome

SECONDS = 60.0  # of work; on a busy machine more may pass, so what waits for its turn is not called a hang
QUIET = 10.0  # seconds without work after `SECONDS`, which is waiting for ever
LONGEST = 600.0
MEMORY = 2 << 30  # above what a right use takes
SENTINEL = "EXECUTED"  # a payload creates this file in its folder
SHOWN = 20_000  # characters kept of stdout and stderr, from either end


@dataclass
class Trial:
    """One case that runs: its process group, its folder, and when it must end."""

    case: Call | Command
    pid: int
    folder: Path
    began: float
    before: dict[str, str]
    stopped: str = ""
    worked: float = 0.0  # seconds of processor time when it last worked
    worked_at: float = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


def run(
    cases: Sequence[Call | Command], *, workers: int = 2, told: Callable[[str], None] = lambda line: None
) -> Iterator[tuple[Call | Command, Outcome, float, int]]:
    """Every case with its outcome, seconds, and peak memory in bytes above a right use."""
    with tempfile.TemporaryDirectory(prefix="bad-use-") as root:
        place = Path(root)
        baseline = prepare(place / "workplace") if any(isinstance(c, Command) for c in cases) else 0
        own = resident(os.getpid())
        waiting, running = list(enumerate(cases)), list[Trial]()
        while waiting or running:
            while waiting and len(running) < workers:
                number, case = waiting.pop(0)
                running.append(start(case, place / str(number), place / "workplace"))
            time.sleep(0.02)
            for trial in list(running):
                base = own if isinstance(trial.case, Call) else baseline
                ended = poll(trial, base)
                if ended is None:
                    continue
                running.remove(trial)
                code, peak = ended
                outcome = judge(trial, code)
                told(f"{outcome.kind:30} {trial.seconds:5.1f} s  {trial.case.id}")
                yield trial.case, outcome, trial.seconds, max(0, peak - base)
                shutil.rmtree(trial.folder, onerror=_permit)


# ---- starting


def start(case: Call | Command, folder: Path, workplace: Path) -> Trial:
    if isinstance(case, Command):
        shutil.copytree(workplace, folder, symlinks=True)
    else:
        folder.mkdir()
    began = time.monotonic()
    if isinstance(case, Call):
        return Trial(case, _fork(case, folder), folder, began, {})
    if case.make is not None:
        case.make(folder)
    return Trial(case, _bash(case, folder), folder, time.monotonic(), contents(folder, case.keeps))


def _fork(case: Call, folder: Path) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:  # the child: whatever happens, it must not return into the loop of its parent
        os.setsid()
        _limit()
        os.chdir(folder)
        with open("stdout", "wb") as out, open("stderr", "wb") as err, open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
        Path("outcome").write_bytes(pickle.dumps(outcome_of(case, folder)))
    except BaseException:
        traceback.print_exc()
        os._exit(99)
    os._exit(0)


def outcome_of(case: Call, folder: Path) -> Outcome:
    import warnings

    from . import things

    things.folder = folder
    warnings.simplefilter("ignore")
    if case.make is not None:
        case.make(folder)
    try:
        result = case.call()
    except BaseException as error:
        return judging.judge_exception(case, error)
    return judging.judge_result(case, result)


def _bash(case: Command, folder: Path) -> int:
    scripts = str(Path(sys.executable).parent)
    environment = {
        **{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM")},
        "PATH": scripts + os.pathsep + os.environ.get("PATH", ""),
        "OMP_NUM_THREADS": "1",
        **case.environment,
    }
    with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
        child = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", case.line],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=_become_powerless if case.powerless else _limit,
        )
    child.returncode = 0  # it is waited for by `poll`, which learns its memory too
    return child.pid


def _limit() -> None:
    """A last resort, far above what is judged, so that a runaway cannot take the machine along."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (12 << 30, 12 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 30, 4 << 30))


def _become_powerless() -> None:
    """Give up root's right to read and write what permissions forbid (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)."""
    _limit()
    if os.getuid() == 0:
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: gone at the next exec


# ---- ending


def poll(trial: Trial, baseline: int) -> tuple[int, int] | None:
    """The exit code and the peak memory once it ended; one that is over a limit is ended."""
    pid, status, usage = os.wait4(trial.pid, os.WNOHANG)
    if pid:
        _end(trial.pid)
        peak = usage.ru_maxrss * 1024
        if peak > baseline + MEMORY and not trial.stopped:
            trial.stopped = "memory"
        return os.waitstatus_to_exitcode(status), peak
    if _hangs(trial):
        trial.stopped = "hang"
    elif sum(resident(p) for p in _group(trial.pid)) > baseline + MEMORY:
        trial.stopped = "memory"
    if trial.stopped:
        _end(trial.pid)
    return None


def _hangs(trial: Trial) -> bool:
    if trial.seconds < SECONDS - QUIET:
        return False
    work = sum(worked(pid) for pid in _group(trial.pid))
    if work > trial.worked + 0.02 or not trial.worked_at:
        trial.worked, trial.worked_at = work, trial.seconds
    quiet = trial.seconds - trial.worked_at > QUIET
    return trial.seconds > LONGEST or (trial.seconds > SECONDS and (work > SECONDS or quiet))


def judge(trial: Trial, code: int) -> Outcome:
    out, err = _text(trial.folder / "stdout"), _text(trial.folder / "stderr")
    if any(trial.folder.rglob(SENTINEL)):
        return Outcome("executed", "a payload of the file was run")
    if trial.stopped:
        return Outcome(trial.stopped, f"ended after {trial.seconds:.0f} s; stderr {err[-150:]!r}")
    if isinstance(trial.case, Command):
        after = contents(trial.folder, trial.case.keeps)
        changed = [name for name, digest in trial.before.items() if after[name] != digest]
        if changed:
            return Outcome("file changed", f"{', '.join(changed)}; exit {code}; stderr {err[-150:]!r}")
        return judging.judge_command(trial.case, code, out, err)
    if code:
        return Outcome("crash", f"ended with {code}: {err[-300:]}")
    if judging.UNSAFE.search(out):
        return Outcome("control characters", f"on stdout: {out[:200]!r}")
    return pickle.loads((trial.folder / "outcome").read_bytes())


def _end(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _group(group: int) -> list[int]:
    members = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.getpgid(int(entry)) == group:
                    members.append(int(entry))
            except ProcessLookupError:
                continue
    return members


def resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def worked(pid: int) -> float:
    """Seconds of processor time of a process and of its ended children."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0


def _text(path: Path) -> str:
    if not path.exists():
        return ""
    content = path.read_bytes()
    if len(content) > 2 * SHOWN:
        content = content[:SHOWN] + content[-SHOWN:]
    return content.decode("utf-8", "surrogateescape" if _is_utf8(content) else "replace")


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _permit(function: Callable[..., object], path: str, _: object) -> None:
    os.chmod(path, stat.S_IRWXU)
    function(path)


def contents(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """A digest of each file, or a word where there is none."""

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"

    return {name: digest(folder / name) for name in names}


# ---- the folder that a command runs in

TRAIN = """
import torch
from torch import nn
import wellposed as wp

torch.manual_seed(0)
x = torch.randn(64, 4)
y = x.sum(1, keepdim=True)
model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
problem = wp.Problem(model=model, loss=nn.functional.mse_loss, train=(x, y))
triple = (model, nn.functional.mse_loss, (x, y))
pair = (model, nn.functional.mse_loss)
number = 5
text = "problem"
nothing = None


def make():
    return problem


def crash():
    raise RuntimeError("planted in the user's code")


def leave():
    raise SystemExit(7)


def needs(argument):
    return problem


def gives_number():
    return 5


def bad_loss(out, target):
    raise RuntimeError("planted in the user's code")


crashing = wp.Problem(model=model, loss=bad_loss, train=(x, y))
scaled = wp.Problem(model=model, loss=nn.functional.mse_loss, train=(x * torch.tensor([1.0, 1e4, 1.0, 1.0]), y))
no_loss = wp.Problem(model=model, train=(x, y))
square = (lambda t: (t**2).sum(), torch.randn(3, dtype=torch.float64, requires_grad=True))
raising = (lambda t: bad_loss(t, t), torch.randn(3, dtype=torch.float64, requires_grad=True))
"""


def prepare(folder: Path) -> int:
    """Make the files that commands use, and return the peak memory of a right use."""
    from . import things

    folder.mkdir()
    things.folder = folder
    (folder / "train.py").write_text(TRAIN)
    (folder / "broken.py").write_text("import nothing_of_that_name\n")
    (folder / "syntax.py").write_text("def problem(:\n")
    (folder / "raises.py").write_text("raise RuntimeError('planted in the user\\'s code')\n")
    (folder / "notes.txt").write_text("these are my notes\n")
    (folder / "script").write_text("#!/bin/sh\necho hello\n")
    (folder / "data").mkdir()
    (folder / "empty").mkdir()
    (folder / "empty.json").write_text("")
    # in a process of its own: this one must not have run anything when it forks
    code = (
        "import numpy as np; from benchmarks.bad_use import things as t; from pathlib import Path; import os;"
        "t.folder = Path(os.environ['PLACE']); t.csv('rows.csv'); t.csv('data/part.csv'); t.saved();"
        "np.save(t.folder / 'rows.npy', t.table()); np.savez(t.folder / 'rows.npz', a=t.table(), b=t.table());"
        "t.frame().to_parquet(t.folder / 'rows.parquet')"
    )
    here = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=here, env={**os.environ, "PLACE": str(folder)}
    )
    trial = Trial(
        Command("baseline", "", (0, 1)),
        _bash(Command("baseline", "wellposed check train.py:problem -o report.json", (0, 1)), folder),
        folder,
        time.monotonic(),
        {},
    )
    while (ended := poll(trial, 1 << 40)) is None:
        time.sleep(0.02)
    if ended[0] not in (0, 1):
        raise RuntimeError(f"a right command line fails: {_text(folder / 'stderr')}")
    return ended[1]
