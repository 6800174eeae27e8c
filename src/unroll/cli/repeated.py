"""Options given twice: the last number counts, as everywhere; two texts or files are refused."""

from collections.abc import Sequence

import click

from unroll.errors import UserError


def refuse_repeated(command: click.Command, arguments: Sequence[str]) -> None:
    """Raise UserError where an option that takes one text, or one file, is given several times.

    Only the last would count, silently: b.txt alone of `--valid a.txt --valid b.txt`. The last number or choice counts,
    so that a shell alias can set defaults. What cannot be parsed is left for click to refuse.
    """
    try:
        context = click.Context(command, resilient_parsing=True)
        _, rest, order = command.make_parser(context).parse_args(list(arguments))
    except click.UsageError:
        return
    for option in command.params:
        several = order.count(option) > 1
        if several and isinstance(option, click.Option) and _takes_one_text(option):
            name = max(option.opts, key=len)
            raise UserError(f"{name} is given {order.count(option)} times", allowed="once", fix="leave all but one out")
    if isinstance(command, click.Group) and rest and (inner := command.get_command(context, rest[0])) is not None:
        refuse_repeated(inner, rest[1:])


def _takes_one_text(option: click.Option) -> bool:
    texts = (click.types.StringParamType, click.types.UnprocessedParamType, click.Path)
    return not option.multiple and not option.is_flag and isinstance(option.type, texts)
