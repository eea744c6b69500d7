"""Merging a source into a folder, as a run does."""

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labelmill.dataset.digests import SourceDigests
from labelmill.dataset.failed import FailedRows, write_failed
from labelmill.dataset.labeled_folder import LabeledFolder
from labelmill.dataset.ownership import names_of_ours
from labelmill.dataset.template import TextTemplate
from labelmill.store.ledger import Ledger
from labelmill.store.working import MANIFEST


@dataclass(frozen=True)
class Merger:
    """What a source is merged with: a ledger, and what a row's text is made of."""

    ledger: Ledger
    template: TextTemplate
    prefix: str = ""

    @contextmanager
    def into(self, files, folder, run_id="run"):
        """The folder that files are merged into, joined and not yet written."""
        with tempfile.TemporaryDirectory() as scratch:
            digests = SourceDigests(files, self.template, Path(scratch) / "digests")
            ours = frozenset(names_of_ours(folder, folder.with_name(MANIFEST), Path(scratch) / "runs"))
            merge = LabeledFolder(folder, digests, self.ledger, run_id, self.prefix, ours)
            merge.join(merge.to_merge())
            yield merge

    def write_labeled(self, files, folder):
        """Merge files into a folder; returns the labeled ones."""
        with self.into(files, folder) as merge:
            merge.write()
        return sorted(folder / file.relative for file in files)

    def write_failed(self, files, path):
        """Write the rows without a label; returns how many."""
        with tempfile.TemporaryDirectory() as folder, self.into(files, Path(folder) / "labeled") as merge:
            merge.write()
            joined = {answers.folder: answers for answers in merge.answers.values()}
            failed = [
                FailedRows(files[number], rows)
                for answers in joined.values()
                for number, rows in answers.failures(merge.answers)
            ]
            return write_failed(failed, path, self.prefix).rows
