"""Edits of the trainer that alter no result of a run that came to its end, so that its record stays fresh.

A record is fresh while the code that decides its result is what it was. An edit that mends what only failed before is
named here, with what stood there: fingerprints are taken of the code as it was before these edits (``provenance``), and
``dslstudy audit`` still retrains with the code as it is. The list is emptied whenever the records are made anew.
"""

from dslstudy.errors import InputError

#: file below the package -> (what is there now, what was there before); each stands there once
EQUIVALENT_EDITS: dict[str, tuple[tuple[str, str], ...]] = {
    # out of memory after some runs of a stack had ended: was a KeyError, now the others go on
    "engine/ranking.py": (
        (
            "            left = [run for run in stack if not _finished(saved.get(_key(run)))]\n"
            "            if len(left) == 1:\n",
            "            if len(stack) == 1:\n",
        ),
        (
            "halves = left[: len(left) // 2], left[len(left) // 2 :]",
            "halves = stack[: len(stack) // 2], stack[len(stack) // 2 :]",
        ),
        ("todo = [*filter(None, halves), *todo]", "todo = [*halves, *todo]"),
    ),
    # users that are no ids, and tables of two dtypes, are refused by name: the first were cut to whole numbers
    "metrics/topk.py": (
        (
            "    users = np.asarray(users)\n"
            '    if users.size and users.dtype.kind not in "iu":\n'
            '        raise InputError(f"users must be ids, whole numbers, not {users.dtype} values (of a mask take'
            ' np.flatnonzero)")\n'
            "    users = users.astype(np.int64)\n",
            "    users = np.asarray(users, dtype=np.int64)\n",
        ),
        (
            "        if users.dtype != items.dtype:\n"
            '            raise InputError(f"user tables are {users.dtype} and item tables {items.dtype}; both must'
            ' be of one dtype")\n',
            "",
        ),
    ),
    # rows, shapes and weights that cannot be meant are refused by name
    "c2al/objective.py": (
        ("from dslstudy.c2al.method import require_weight\nfrom dslstudy.errors import InputError\n", ""),
        (
            '    require_weight("lambda_head", lambda_head)\n'
            '    require_weight("lambda_tail", lambda_tail)\n'
            "    _require_rows(logits, head_logits, tail_logits, labels)\n",
            "",
        ),
        (
            "def _require_rows(*tensors: Tensor) -> None:\n"
            "    *scores, labels = tensors\n"
            "    if not labels.is_floating_point() or labels.numel() == 0:\n"
            '        raise InputError(f"labels must be floats, at least one; got {labels.numel()}, {labels.dtype}")\n'
            "    if any(each.shape != labels.shape for each in scores):\n"
            '        shapes = ", ".join(str(tuple(each.shape)) for each in scores)\n'
            '        raise InputError(f"logits must have the shape {tuple(labels.shape)} of labels; got {shapes}")\n',
            "",
        ),
    ),
    # one more loss stands beside DSL; the others are what they were
    "engine/rivals.py": (
        (
            '    "own_score": Objective(\n'
            "        losses.own_score_loss,\n"
            '        {"temperature": 0.2, "alpha": -0.3, "beta": 0.2, "gamma": 0.2},\n'
            "        uses_similarity=True,\n"
            "        per_example=False,\n"
            "    ),\n",
            "",
        ),
    ),
    # scores that are not numbers were taken for masked ones: a diverged run was not always seen as one, and runs of its
    # seed took over its mask
    "engine/part.py": (
        ("self.stack.mask(self.part, share, scores, vectors, source)", "self.stack.mask(self.part, share, scores)"),
    ),
    "engine/stack.py": (
        (
            "share: slice, scores: Tensor, vectors: Tensor, source: Tensor) -> Tensor:",
            "share: slice, scores: Tensor) -> Tensor:",
        ),
        (
            '        if self.device.type == "cpu" and not _surely_finite(vectors.detach(), source.detach()):\n'
            "            # a diverging run: its scores may be infinite by themselves, which says nothing about others"
            " of its seed\n"
            "            return scores.detach() != -torch.inf\n",
            "",
        ),
        ("lambda: scores.detach() != -torch.inf)", "lambda: scores.detach() > -torch.inf)"),
        (
            "\n\n\ndef _surely_finite(vectors: Tensor, source: Tensor) -> bool:\n"
            '    """Whether no inner product can overflow, or be anything but a number."""\n'
            "    return float(vectors.abs().amax() * source.abs().amax()) * vectors.shape[-1]"
            " < torch.finfo(vectors.dtype).max\n",
            "\n",
        ),
        (
            "            sound = torch.stack([table.isfinite().flatten(1).all(dim=1) for table in tables])"
            ".all(dim=0).tolist()\n"
            "            finite = [i for i, loss in enumerate(losses) if isfinite(loss) and sound[i]]\n",
            "            finite = [i for i, loss in enumerate(losses) if isfinite(loss)]\n",
        ),
    ),
}


def before_equivalent_edits(name: str, text: str) -> str:
    """A file's text as it was before the edits that alter no result.

    Args:
        name: the file below the package.
        text: its text now.

    Raises:
        InputError: an edit is not there, or not once: the list no longer fits the code.
    """
    for now, before in EQUIVALENT_EDITS.get(name, ()):
        if text.count(now) != 1:
            raise InputError(
                f"an edit of {name} that study/equivalent_edits.py lists stands there {text.count(now)} times:"
                " take it from the list, and make the records of that code anew"
            )
        text = text.replace(now, before)
    return text
