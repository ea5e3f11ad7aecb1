"""The group of all commands: how it is stopped, and how it is listed."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from ssbench.cli.options import log
from ssbench.training.interrupt import STOP, Stopped


class Commands(TyperGroup):
    """The group of commands; stops on signals at any moment."""

    def invoke(self, ctx: Any) -> Any:
        """Call a command, and report how it was stopped; typer would print only "Aborted!"."""
        try:
            with STOP.signals():
                return super().invoke(ctx)
        except Stopped as stopped:
            resumes = ctx.invoked_subcommand in ("run", "tune")
            log().print(str(stopped) if resumes else "stopped", soft_wrap=True, highlight=False)
            raise typer.Exit(128 + stopped.signal) from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the first sentence of every command whole; click would cut it."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, each.get_short_help_str(200).rstrip("."))
                    for name, each in commands
                    if each
                ]
            )
