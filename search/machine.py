"""What is installed on this machine, and what nets can run on: the first half of `doctor`'s lines."""

import os
import platform
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from .terminal import size

SHOWN = ("torch", "torchaudio", "ray", "optuna", "mlflow")
EXTRAS = {
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "stream": ("sounddevice",),
}  # extra -> what it brings
INSTALL = "install again with `make` (or `pip install -c constraints.txt -e .`)"
NVIDIA = Path("/proc/driver/nvidia/version")
CPU_INFO = Path("/proc/cpuinfo")
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of work in so many of time
UNITS = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "AVX-512 bfloat16",
    "amx_bf16": "AMX bfloat16",
    "asimd": "NEON",
    "bf16": "bfloat16",
}


@dataclass(frozen=True)
class Line:
    """One check. `remedy` is empty where all is well."""

    what: str
    found: str
    remedy: str = ""
    setting: str = ""  # where the value under test came from

    @property
    def ok(self) -> bool:
        """Whether the check passed."""
        return not self.remedy

    def __str__(self) -> str:
        origin = f" ({self.setting})" if self.setting else ""
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{'ok  ' if self.ok else 'FAIL'}  {self.what:<15}  {self.found}{origin}{remedy}"


def packages(installed: Callable[[str], str] = version) -> Iterator[Line]:
    """Versions against what pyproject.toml asks for."""
    from packaging.requirements import Requirement

    wanted = {
        need.name: need.specifier for need in map(Requirement, requires("escsearch") or []) if not need.marker
    }
    yield Line("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in sorted(wanted, key=lambda name: (name not in SHOWN, name)):
        try:
            found = installed(package)
        except PackageNotFoundError:
            yield Line(package, "not installed", INSTALL)
            continue
        fits = wanted[package].contains(found, prereleases=True)
        if package in SHOWN or not fits:
            yield Line(package, found, "" if fits else f"needs {wanted[package]}: {INSTALL}")


def extras(installed: Callable[[str], str] = version) -> Iterator[Line]:
    """What a machine may do without: no line of these fails."""
    for extra, parts in EXTRAS.items():
        try:
            found = ", ".join(f"{part} {installed(part)}" for part in parts)
            import_module(parts[0])  # sounddevice is a shell around a library of the system
        except PackageNotFoundError as error:
            found = f"without {error.name}; for it: pip install 'escsearch[{extra}]'"
        except (ImportError, OSError) as error:
            found += f", which cannot be imported: {short(error)}"
        yield Line(f"extra {extra}", found)


def cpu(info: str) -> Line:
    """Name and vector units of the processor, and what they mean for `optim.precision`. info: /proc/cpuinfo."""
    model = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", info, re.MULTILINE)
    name = model[1] if model else platform.processor() or platform.machine()
    if not flags:
        return Line("cpu", name)
    units = [word for flag, word in UNITS.items() if flag in flags[1].split()]
    fast = "amx_bf16" in flags[1].split()  # see escmodels/precision.py
    advice = "bfloat16 pays here" if fast else "bfloat16 does not pay here"
    return Line("cpu", f"{name}: {', '.join([*units, advice])}")


def devices() -> Iterator[Line]:
    """What the nets can run on. A torchaudio of another build than torch only shows when it is imported."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        import torch
        import torchaudio  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        yield Line("devices", f"torch cannot be imported: {short(error)}", INSTALL)
        return
    yield threads(cores, torch.get_num_threads(), text(QUOTA))
    with warnings.catch_warnings(record=True) as said:  # torch warns of a driver that it cannot work with
        warnings.simplefilter("always")
        there = torch.cuda.is_available()
    gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count() if there else 0)]
    names = [f"{gpu.name} ({size(gpu.total_memory)}, compute {gpu.major}.{gpu.minor})" for gpu in gpus]
    if gpus or not NVIDIA.exists():
        yield Line("devices", ", ".join(["CPU", *names]))
    elif said:
        yield Line("devices", f"CPU; a GPU, but {short(said[0].message)}", "update the NVIDIA driver")
    elif torch.version.cuda is None:
        found = f"CPU; a GPU is here, and torch {torch.__version__} is built without CUDA"
        yield Line("devices", f"{found}: to use it, install the CUDA build (pytorch.org/get-started)")
    else:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        why = "" if hidden is None else f" (CUDA_VISIBLE_DEVICES={hidden!r})"
        yield Line("devices", f"CPU; the NVIDIA driver shows no GPU to this process{why}")


def threads(cores: int, used: int, quota: str = "") -> Line:
    """Cores against the threads of torch. quota: content of the control group's cpu.max."""
    found = f"{cores} {'core' if cores == 1 else 'cores'}, torch uses {used} {'thread' if used == 1 else 'threads'}"
    if asked := os.environ.get("OMP_NUM_THREADS"):
        found += f" (OMP_NUM_THREADS={asked})"
    work, _, time = quota.partition(" ")
    if work.isdigit() and (allowed := int(work) / int(time)) < cores:
        found += (
            f"; this container may use {allowed:.3g} of them: search with --workers {max(1, int(allowed))}"
        )
    return Line("threads", found)


def text(path: Path) -> str:
    """Content of a file of the system; empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def short(error: object) -> str:
    """An error as one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
