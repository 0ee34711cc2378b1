"""Training methods by their names in configurations; each in its own file, imported when it is used."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module

from dslstudy.c2al.method import Method
from dslstudy.errors import InputError

#: name in configurations -> where the class lives
METHODS = {
    "plain": "dslstudy.c2al.methods.plain:Plain",
    "cohort_feature": "dslstudy.c2al.methods.cohort_feature:CohortFeature",
    "reweighting": "dslstudy.c2al.methods.reweighting:Reweighting",
    "oversampling": "dslstudy.c2al.methods.oversampling:Oversampling",
    "groupdro": "dslstudy.c2al.methods.groupdro:GroupDRO",
    "one_head": "dslstudy.c2al.methods.one_head:OneHead",
    "membership": "dslstudy.c2al.methods.membership:Membership",
    "multi_cohort": "dslstudy.c2al.methods.multi_cohort:MultiCohort",
    "c2al": "dslstudy.c2al.methods.c2al:C2AL",
    "mmoe": "dslstudy.c2al.methods.mmoe:MMoE",
    "ple": "dslstudy.c2al.methods.ple:PLE",
    "pcgrad": "dslstudy.c2al.methods.pcgrad:PCGrad",
}


def method_class(name: str) -> type[Method]:
    """The class of a method by its name in configurations.

    Raises:
        InputError: no such method.
    """
    if name not in METHODS:
        near = get_close_matches(name, METHODS, n=2)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(METHODS)}"
        raise InputError(f"unknown method {name!r}; {hint}")
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)


def make_method(name: str, parameters: Mapping[str, float | int | str] | None = None) -> Method:
    """A method with its hyperparameters; what is left out takes the default.

    Raises:
        InputError: no such method, a hyperparameter that it does not have, or one out of range.
    """
    kind = method_class(name)
    defaults = {each.name: each.default for each in fields(kind)}
    complete = dict(defaults)
    for key, value in (parameters or {}).items():
        if key not in defaults:
            raise InputError(f"{name} has no hyperparameter {key!r}; it has: {', '.join(defaults) or 'none'}")
        default = defaults[key]
        wanted = (int, float) if isinstance(default, float) else (type(default),)
        if isinstance(value, bool) or not isinstance(value, wanted):
            kind_of = {float: "a number", int: "a whole number", str: "a word"}[type(default)]
            raise InputError(f"{key} must be {kind_of}, got {value!r}")
        complete[key] = float(value) if isinstance(default, float) else value
    return kind(**complete)
