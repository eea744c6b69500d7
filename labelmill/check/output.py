"""What can be wrong with a job's output folder, as (place, sentence). Files are looked at, nothing is written."""

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from labelmill.check.dataset import first_few
from labelmill.dataset.ownership import foreign_files, names_of_ours, published_job
from labelmill.dataset.source import SourceFile, SourceListing, root_of
from labelmill.job.model import Output, Source
from labelmill.store.address import AddressError, StoreAddress, is_url, missing_package
from labelmill.store.files import shown_path
from labelmill.store.folder import OutputFolder
from labelmill.store.objects import broken_promise
from labelmill.store.working import MANIFEST, folder_of


def output_mistakes(output: Output, listing: SourceListing | None, job: str | None) -> list[tuple[str, str]]:
    """What is wrong with an output folder, as (place, sentence).

    Args:
        output: the folder.
        listing: the source's files; None where they are not known.
        job: the job's name; None where it has none.
    """
    if is_url(output.path):
        place = OutputFolder(folder_of(output))
        found = [] if listing is None else _another_jobs_labels(place, listing.path, job)
        return [("output.path", sentence) for sentence in found]
    try:
        folder = Path(output.path).resolve()
        place = OutputFolder(folder) if listing is None else OutputFolder.at(folder, listing.path)
        found = [] if listing is None or place.is_of_frame else _overlap(folder, listing)
        found += _obstacle(folder)
        if listing is not None and not found:
            found += first_few(_long_names(folder, listing.files))
            found += [] if place.is_of_frame else _another_jobs_labels(place, listing.path, job)
            found += first_few(_in_the_way(place, listing.files))
    except OSError as error:
        return [("output.path", f"{output.path!r} can't be written: {error.strerror}")]
    return [("output.path", sentence) for sentence in found]


def store_mistakes(output: Output, source: Source | None) -> Iterator[tuple[str, str]]:
    """Why an output's object store can't be used, as (place, sentence); nothing of an output in a folder.

    One that no run has ever written into is tried. What it has is brought at hand, for the checks that follow.
    """
    if is_url(output.path):
        for sentence in _store_mistakes(output, source):
            yield "output.path", sentence


def _store_mistakes(output: Output, source: Source | None) -> Iterator[str]:
    if (missing := missing_package()) is not None:
        yield missing
        return
    try:
        folder = OutputFolder(folder_of(output))
    except AddressError as error:
        yield str(error)
        return
    working = folder.working
    if working is None:
        return
    if source is not None and is_url(source.path) and _is_within(source, working.address):
        yield f"{folder.place!r} and the source {source.path!r} are one inside the other; choose another folder"
        return
    try:
        if working.is_new() and (broken := broken_promise(working.store)) is not None:
            yield f"{folder.place!r} can't hold an output, since its store does not keep what a run relies on: {broken}"
            return
        working.pull_if_idle()
    except OSError as error:
        yield f"{folder.place}: {error.strerror or error}"


def _is_within(source: Source, output: StoreAddress) -> bool:
    """Whether a source in a store holds an output, or lies in it."""
    fixed = re.split(r"[*?\[]", source.path, maxsplit=1)[0]
    fixed = fixed if fixed == source.path else fixed.rpartition("/")[0]
    try:
        root = StoreAddress.of(fixed, source.storage)
    except AddressError:
        return False
    if output.holds(root):
        return True
    if not root.holds(output):
        return False
    pattern = source.path.removeprefix(fixed).strip("/")
    below = output.key.removeprefix(root.key).strip("/").split("/")
    return not pattern or _leads_below(pattern.split("/")[:-1], below)


def _overlap(folder: Path, listing: SourceListing) -> list[str]:
    if is_url(listing.path):
        return []
    root = root_of(listing.path).resolve()
    if folder == root:
        return [f"{str(folder)!r} is the source's own folder; choose a folder outside"]
    if folder.is_relative_to(root) and _reaches_below(listing.path, folder.relative_to(root)):
        return [f"{str(folder)!r} is inside the source {str(root)!r}; choose a folder outside"]
    if root.is_relative_to(folder):
        return [f"the source {str(root)!r} is inside it; choose another folder"]
    # By way of a link, whose own place says nothing.
    places = {file.path if file.path.is_symlink() else file.path.parent for file in listing.files}
    if any(place.resolve().is_relative_to(folder) for place in places):
        return [f"files of the source are links into {str(folder)!r}; choose another folder"]
    return []


def _reaches_below(source_path: str, relative: Path) -> bool:
    """Whether a source finds files below a folder of its root."""
    path = Path(source_path)
    if path.exists():
        return path.is_dir()
    return _leads_below(path.parts[len(root_of(source_path).parts) : -1], relative.parts)


def _leads_below(pattern: Sequence[str], folder: Sequence[str]) -> bool:
    """Whether the folders of a pattern may be ones below a folder, both from the same root."""
    return "**" in pattern or (
        len(pattern) >= len(folder) and all(map(fnmatch.fnmatch, folder, pattern[: len(folder)]))
    )


def _obstacle(folder: Path) -> list[str]:
    nearest_there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not nearest_there.is_dir():
        return [f"{str(nearest_there)!r} is a file, so there can be no folder {str(folder)!r}"]
    if not os.access(nearest_there, os.W_OK | os.X_OK):
        return [f"{str(nearest_there)!r} is not writable"]
    return []


def _long_names(folder: Path, files: Sequence[SourceFile]) -> list[str]:
    """Files whose labeled file would have a longer name than the output's file system takes."""
    nearest_there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    longest_name, longest_path = (os.pathconf(nearest_there, name) for name in ("PC_NAME_MAX", "PC_PATH_MAX"))
    before = len(os.fsencode(OutputFolder(folder).practice_labeled)) + 1
    found = []
    for file in files:
        name = max(file.relative.parts, key=lambda part: len(os.fsencode(part)))
        name_bytes, path_bytes = len(os.fsencode(name)), before + len(os.fsencode(file.relative))
        if 0 < longest_name < name_bytes:
            found.append(
                f"the name {name!r} has {name_bytes} bytes, and names in {str(folder)!r} can have {longest_name}; "
                "rename it, or choose a folder on another file system"
            )
        # The system's limit holds the byte that ends a path.
        elif 0 < longest_path <= path_bytes:
            found.append(
                f"the labeled file of {shown_path(file.path)!r} would have a path of {path_bytes} bytes, and the system takes "
                f"{longest_path - 1}; choose a shorter folder"
            )
    return found


def _another_jobs_labels(folder: OutputFolder, source_path: str, job: str | None) -> list[str]:
    """Whether `labeled/` holds what another job made of another source, which this one would replace."""
    published = published_job(folder.labeled.with_name(MANIFEST), folder.runs)
    if published is None or job is None:
        return []
    name, path = published
    if name == job or Path(path).resolve() == Path(source_path).resolve():
        return []
    sentence = (
        f"{str(folder.labeled)!r} holds the labels of the job {name!r} from {path!r}, and those of this job, {job!r} from "
        f"{source_path!r}, would take their place; choose another folder"
    )
    return [sentence]


def _in_the_way(folder: OutputFolder, files: Sequence[SourceFile]) -> list[str]:
    """What stands where a labeled file would go, and is no file of ours."""
    planned = [file.relative.as_posix() for file in files]
    found = []
    for labeled in (folder.labeled, folder.practice_labeled):
        if labeled.is_dir():
            ours = names_of_ours(labeled, labeled.with_name(MANIFEST), folder.runs)
            _, in_the_way = foreign_files(labeled, ours, planned)
            found += [
                f"{str(labeled / name)!r} stands where a labeled file would go, and no run has written it; "
                "move it away, or choose another folder"
                for name in in_the_way
            ]
        elif os.path.lexists(labeled):
            found.append(f"{str(labeled)!r} is not a folder, and labeled files go there; move it away")
    return found
