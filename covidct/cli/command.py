"""A typed function as a command: options from its signature, help from its docstring, YAML through ``--config``."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any, get_type_hints

from covidct.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jsonargparse import ArgumentParser

__all__ = ("parse_arguments", "run_function", "usage_sentence")


_PAIR = re.compile(r"[\[(]?\s*((?!--)[^\s,()\[\]]+)(?:\s*,\s*|\s+)((?!--)[^\s,()\[\]]+)\s*[\])]?")


def run_function(
    function: Callable[..., int],
    argv: Sequence[str],
    *,
    verb: str,
    variadic: Mapping[str, type] | None = None,
) -> int:
    """Parse ``argv`` for a function and call it.

    Args:
        function: its positional parameters become positional arguments, its keyword parameters options, its
            parameters that are False by default flags, those that are True flags with a ``--no-`` form, pairs of
            numbers options with two values.
        argv: arguments after the verb. ``--on-fault`` and ``--on_fault`` are the same.
        verb: name of the command.
        variadic: parameters that take one or more values, and the type of one value.

    Returns:
        The exit code that ``function`` returns.

    Raises:
        UsageError: when the arguments do not fit; the sentence names the argument.
    """
    return function(**parse_arguments(function, argv, verb=verb, variadic=variadic))


def parse_arguments(
    function: Callable[..., int],
    argv: Sequence[str],
    *,
    verb: str,
    variadic: Mapping[str, type] | None = None,
) -> dict[str, Any]:
    """The arguments of a function, by name, as ``argv`` gives them; see :func:`run_function`."""
    from argparse import ArgumentError

    parser = _make_parser(function, verb=verb, variadic=variadic or {})
    try:
        arguments = _joined_pairs([_underscored(argument) for argument in argv], _pairs_of(function))
        values: dict[str, Any] = parser.parse_args(arguments).as_dict()
    except ArgumentError as error:
        raise UsageError(usage_sentence(str(error), verb)) from error
    values.pop("config", None)
    return values


def usage_sentence(message: str, verb: str) -> str:
    """One line of a parser's message, with the way to the help.

    jsonargparse tells of a misspelt argument as a tree of all types it has tried; the deepest reason is the one that
    helps.
    """
    line = " ".join(message.split()).replace("typing.", "").rstrip(".")
    line = re.sub(r"<class '([\w.]+)'>", r"\1", line)
    reason = re.search(r".*Problem with given class_path '([\w.]+)': (.+?)(?= - Expected| Given value|$)", line)
    if reason:
        line = f"{reason.group(1).rpartition('.')[2]}: {reason.group(2)}"
    else:
        line = re.sub(r"(Does not validate).*Given value: ", r"\1 as any of its types. Given value: ", line)
    return f"{_hyphenated(line)} (see 'covidct {verb} --help')."


def _make_parser(function: Callable[..., int], *, verb: str, variadic: Mapping[str, type]) -> ArgumentParser:
    """Build the parser of a function."""
    from docstring_parser import parse
    from jsonargparse import ActionYesNo, ArgumentParser

    class Parser(ArgumentParser):
        """Shows options as they are written."""

        def format_help(self, *args: Any, **kwargs: Any) -> str:  # noqa: ANN401
            text = super().format_help(*args, **kwargs)
            return _hyphenated(text.replace("[ITEM,...]", "LOW HIGH"))  # pairs are the only lists of options

    doc = parse(inspect.getdoc(function) or "")
    help_of = {parameter.arg_name: parameter.description for parameter in doc.params}
    parser = Parser(prog=f"covidct {verb}", description=doc.description, exit_on_error=False)
    parser.add_argument("--config", action="config", help="YAML file with any of the arguments below.")
    types = get_type_hints(function)
    done: set[str | int] = set()
    for name, parameter in inspect.signature(function).parameters.items():
        if name in variadic:
            # jsonargparse takes one value per positional of a function; several need an argument of their own
            option = parameter.kind is parameter.KEYWORD_ONLY
            default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
            extra: dict[str, Any] = {"default": default} if option else {}
            place = f"--{name}" if option else name
            parser.add_argument(place, nargs="+", type=variadic[name], help=help_of.get(name), **extra)
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.default is not parameter.empty:
            parser.add_argument(name, nargs="?", type=types[name], default=parameter.default, help=help_of.get(name))
        elif parameter.default is False:
            parser.add_argument(f"--{name}", action="store_true", help=help_of.get(name))
        elif parameter.default is True:
            switch = ActionYesNo(yes_prefix="", no_prefix="no_")
            parser.add_argument(f"--{name}", action=switch, default=True, help=help_of.get(name))
        else:
            continue
        done.add(name)
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=done)
    return parser


def _pairs_of(function: Callable[..., int]) -> set[str]:
    """Names of the parameters that are pairs of numbers."""
    return {name for name, kind in get_type_hints(function).items() if kind == tuple[float, float]}


def _joined_pairs(argv: Sequence[str], names: set[str]) -> list[str]:
    """``--window -1000 400`` and ``--window=-1000,400`` as the list that the parser takes, ``--window=[-1000,400]``."""
    joined: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        name, _, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or name not in names:
            joined.append(argument)
            continue
        given = [value] if value else rest[: 1 if _PAIR.fullmatch("".join(rest[:1])) else 2]
        if not value:
            del rest[: len(given)]
        numbers = _PAIR.fullmatch(" ".join(given))
        if numbers is None:
            raise UsageError(_hyphenated(f"--{name} takes two numbers, the lower one first: --{name} -1000 400."))
        joined.append(f"--{name}=[{numbers[1]},{numbers[2]}]")
    return joined


def _hyphenated(text: str) -> str:
    """Options in a text with hyphens: ``--on_fault`` as ``--on-fault``."""
    return re.sub(r"(?<![\w-])--\w+", lambda found: found[0].replace("_", "-"), text)


def _underscored(argument: str) -> str:
    """``--on-fault=x`` as ``--on_fault=x``; values stay as they are."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"
