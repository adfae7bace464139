"""``jxemu`` as it is called from a shell, but in the test's own process: a new one spends its first seconds on imports."""

from dataclasses import dataclass

from typer.testing import CliRunner

from jxemu.app.cli import app


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def call(*words) -> Done:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)
