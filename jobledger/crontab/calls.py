"""Finds the call of ``manage.py`` in which a line of a crontab ends, and what surrounds it.

Only what is known to leave the call as it is is looked through; everything else is reported, with the reason.
Nothing is guessed, executed or looked up.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from getopt import GetoptError, getopt
from posixpath import basename, join, normpath
from typing import Any

from django.conf import ENVIRONMENT_VARIABLE

from jobledger.crontab import syntax, wrappers
from jobledger.crontab.expansion import PLAIN_SHELLS, SHELL, Expansion, Value
from jobledger.crontab.lines import Entry
from jobledger.crontab.shell import ShellError, Word
from jobledger.crontab.syntax import Command, Group, Pipeline, Redirection, Script, Simple, script_of
from jobledger.crontab.wrappers import Effect, Lock, NotUnderstoodError, TimeLimit

PYTHON = re.compile(r"(?:python|pypy)[0-9.]*")
_PYTHON_OPTIONS = "bBdEiIOPqRsSuvVxW:X:m:c:"
DJANGO_ADMIN = frozenset({"django-admin", "django-admin.py"})
_NOTHING_ELSE = frozenset({":", "true", "exit", "echo", "false"})
"""What can follow the call without doing anything that matters."""
_OUTPUTS = frozenset({">", ">>", ">|", "&>", "&>>"})
_MAX_DEPTH = 10
_MAX_LENGTH = 10_000
"""Debian's cron reads no more than a tenth of this."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of ``manage.py``."""

    command: str = ""
    arguments: tuple[str, ...] = ()
    program: str = ""
    """The path of manage.py, as far as the line tells."""
    variables: tuple[str, ...] = ()
    """The names of the variables that the line sets for it, except the next one."""
    settings_module: str = ""
    """The DJANGO_SETTINGS_MODULE that the line sets for it."""
    used_variables: tuple[str, ...] = ()
    """The names of the crontab's variables that the line itself uses."""
    time_limit: TimeLimit | None = None
    lock: Lock | None = None
    user: str = ""
    """The user that ``sudo`` runs it as."""
    output_files: tuple[str, ...] = ()
    hides_failure: str = ""
    """What makes cron see a success even if it fails, such as ``|| true``."""
    notes: tuple[str, ...] = ()
    """What else is different here."""
    warnings: tuple[str, ...] = ()
    """What cron does not do with the line as its author may have thought."""


def find_call(entry: Entry) -> Call:
    """The call. Raises NotUnderstoodError if the line is not one."""
    if entry.stdin is not None:
        hint = r"cron ends a command at %, unless it is written as \%"
        raise NotUnderstoodError(f"it is given input by cron, which a job does not read ({hint})")
    if len(entry.command) > _MAX_LENGTH:
        raise NotUnderstoodError(f"it is longer than {_MAX_LENGTH:,} characters")
    finder = _Finder(entry)
    finder.text(entry.shell_command)
    return finder.result()


class _Finder:
    """Walks through a command line in the order of execution."""

    def __init__(self, entry: Entry) -> None:
        self._line = entry.shell_command
        self._words = Expansion(entry.variables, basename(entry.variables.get(SHELL, "/bin/sh")))
        self._folder = ""
        self._call = Call()
        self._files: Mapping[str, str] = {}
        """Those that the line has opened, by descriptor."""
        self._is_found = False
        self._depth = 0

    def result(self) -> Call:
        if not self._is_found:
            raise NotUnderstoodError("it runs no command")
        self._add(used_variables=tuple(self._words.used), warnings=tuple(self._words.warnings))
        return self._call

    def text(self, text: str) -> None:
        """Walk through a text that a shell reads."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise NotUnderstoodError("it is nested too deeply")
        try:
            script = script_of(text)
        except ShellError as error:
            raise NotUnderstoodError(f"its command cannot be read: {error}") from None
        self._script(script)

    def _script(self, script: Script) -> None:
        before = ""
        for pipelines in syntax.lists_of(script):
            with self._own_process() if pipelines[-1].separator == "&" else nullcontext():
                self._list(pipelines, before)
            before = pipelines[-1].separator

    @contextmanager
    def _own_process(self) -> Iterator[None]:
        """Nothing remains of what a process does to itself, unless the call is part of it."""
        call, files, folder, words = self._call, self._files, self._folder, copy(self._words)
        yield
        self._words.shell = words.shell
        if not self._is_found:
            self._check_that_no_lock_ends(call)
            self._call, self._files, self._folder, self._words = call, files, folder, words

    def _check_that_no_lock_ends(self, before: Call) -> None:
        if self._call.lock != before.lock:
            raise NotUnderstoodError("it takes a lock that may have been released when manage.py runs")

    def _list(self, pipelines: Sequence[Pipeline], before: str) -> None:
        """Walk through commands that are joined by ``&&`` and ``||``."""
        needs_lock = False
        for pipeline in pipelines:
            if self._is_found:
                self._after(pipeline, before)
            elif before == "||":
                self._otherwise(pipeline)
                if needs_lock and not syntax.ends_line(pipeline):
                    break
                needs_lock = False
            elif (lock := self._lock_of(pipeline)) is not None:
                self._take(Effect(lock=lock), "flock")
                needs_lock |= not lock.waits or bool(lock.wait_limit)
            else:
                self._pipeline(pipeline)
            before = pipeline.separator
        if needs_lock and not self._is_found:
            raise NotUnderstoodError("the command also runs if `flock` does not get the lock")

    def _otherwise(self, pipeline: Pipeline) -> None:
        """What runs only if a command before the call fails, such as ``cd /srv || exit 1``."""
        if not syntax.only_exits(pipeline) and syntax.name_of(pipeline) not in _NOTHING_ELSE:
            name = syntax.name_written(pipeline.commands[0])
            raise NotUnderstoodError(f"it runs {name} only if the command before `||` fails")

    def _lock_of(self, pipeline: Pipeline) -> Lock | None:
        """The lock, if this command only takes one for what follows, as in ``flock -n 9 || exit 1``."""
        match pipeline:
            case Pipeline(commands=[Simple(words=[Word(literal=str(name)), *words])], is_negated=False) if (
                basename(name) == "flock"
            ):
                texts = [value.text for word in words for value in self._words.values(word)]
                return wrappers.descriptor_lock(texts, self._files)
        return None

    def _pipeline(self, pipeline: Pipeline) -> None:
        first, *others = pipeline.commands
        self._command(first)
        if pipeline.is_negated or (others and not self._is_found):
            raise NotUnderstoodError("its exit code is not that of manage.py")
        for reader in others:
            if not syntax.is_log(reader):
                raise NotUnderstoodError(
                    f"its output is read by another command: {syntax.name_written(reader)}"
                )
            self._note(
                f"its output is kept with each run, and no longer sent to {syntax.name_written(reader)}"
            )
        if pipeline.separator == "&" and self._is_found:
            self._note("the shell runs it in the background (`&`); a run lasts until the job ends")

    def _command(self, command: Command) -> None:
        match command:
            case Group(is_subshell=True):
                with self._own_process():
                    self._group(command)
            case Group():
                self._group(command)
            case Simple():
                self._simple(command)
        if self._is_found:
            self._redirect(command.redirections)

    def _group(self, group: Group) -> None:
        call, files = self._call, self._files
        self._open(group.redirections)
        self._script(group.script)
        if not self._is_found:
            # The group closes what it has opened.
            self._check_that_no_lock_ends(call)
            self._files = files

    def _after(self, pipeline: Pipeline, before: str) -> None:
        """What follows the call in the same list."""
        name = syntax.name_of(pipeline)
        if name not in _NOTHING_ELSE:
            raise NotUnderstoodError(
                f"it runs another command afterwards: {syntax.name_written(pipeline.commands[0])}"
            )
        if before in ("||", ";") and name != "false" and not syntax.exits_with_error(pipeline):
            self._call = replace(self._call, hides_failure=f"{before} {name}")

    def _simple(self, command: Simple) -> None:
        words = [value for word in command.words for value in self._words.values(word)]
        if not words:
            for name, word in command.assignments:
                self._words.assign(name, self._words.assigned(word))
            return
        if [word.text for word in words] == ["exec"]:
            self._open(command.redirections)
            self._redirect(command.redirections)
            return
        if words[0].text in PRELUDES:
            getattr(self, PRELUDES[words[0].text])(words[1:])
            return
        with self._own_process():
            for name, word in command.assignments:
                # The values of others do not matter, even if they cannot be known.
                self._set({name: self._words.assigned(word).text if name == ENVIRONMENT_VARIABLE else ""})
            self._run(words)
        if words[0].text == "exec" and not self._is_found:
            raise NotUnderstoodError("nothing runs after `exec` with a command")

    # What may come before the call

    def _cd(self, words: Sequence[Value]) -> None:
        self._enter(words[-1].text if words else "~")

    def _source(self, words: Sequence[Value]) -> None:
        file = words[0].text if words else ""
        if basename(file) != "activate":
            self._note(f"it reads {file} first: {wrappers.MUST_HAVE_THEM}")

    def _export(self, words: Sequence[Value]) -> None:
        for word in words:
            name, equals, value = word.text.partition("=")
            if equals:
                self._words.assign(name, Value(text=value, is_known=word.is_known))
            self._set({name: value or self._words.text_of(name)})

    def _limit(self, words: Sequence[Value]) -> None:
        self._note("it sets limits of its process first (`ulimit`, `umask`): the worker must have them")

    def _do_nothing(self, words: Sequence[Value]) -> None:
        pass

    # The call itself

    def _run(self, words: Sequence[Value]) -> None:
        """Walk from wrapper to wrapper up to the call."""
        while words:
            first, rest = words[0], words[1:]
            name = basename(first.text)
            if PYTHON.fullmatch(name):
                return self._python(rest)
            if name in DJANGO_ADMIN:
                return self._found(first.text, rest)
            if name == "manage.py":
                return self._found(join(self._folder, first.text), rest)
            unwrapped = wrappers.unwrap(name, [word.text for word in rest])
            if unwrapped is None:
                raise self._other_command(first.text)
            self._take(unwrapped.effect, name)
            if unwrapped.effect.script is not None:
                return self.text(unwrapped.effect.script)
            words = words[len(words) - unwrapped.count :]
        raise NotUnderstoodError("it runs no command")

    def _other_command(self, program: str) -> NotUnderstoodError:
        if any(name in self._line for name in ("manage.py", *DJANGO_ADMIN)):
            return NotUnderstoodError(f"it runs `{program}` before manage.py or in its place")
        return NotUnderstoodError(f"it does not call manage.py: it runs `{program}`")

    def _take(self, effect: Effect, name: str) -> None:
        limits = [limit for limit in (self._call.time_limit, effect.time_limit) if limit is not None]
        self._call = replace(
            self._call,
            time_limit=min(limits, key=lambda limit: limit.length, default=None),
            lock=self._call.lock or effect.lock,
            user=effect.user or self._call.user,
        )
        if (lock := effect.lock) is not None and lock != self._call.lock:
            self._note(
                f"it also takes the lock {lock.file}: here, only runs of the same job exclude each other"
            )
        if effect.lock is not None and effect.lock.waits and self._call.time_limit is not None:
            self._note("`timeout` also counts the wait for the lock; here, the limit counts from the start")
        self._set(effect.variables)
        self._add(notes=effect.notes)
        if effect.folder:
            self._enter(effect.folder)
        if effect.script is not None and name not in wrappers.SAME_SHELL:
            self._words.shell = effect.shell or name

    def _python(self, words: Sequence[Value]) -> None:
        try:
            options, rest = getopt([word.text for word in words], _PYTHON_OPTIONS)
        except GetoptError as error:
            raise NotUnderstoodError(f"Python has an option that is not understood here: {error}") from None
        arguments = words[len(words) - len(rest) :]
        module = dict(options).get("-m")
        if module == "django":
            self._found("python -m django", arguments)
        elif module or "-c" in dict(options):
            raise NotUnderstoodError(f"it does not call manage.py: it runs Python's {module or '-c'}")
        elif arguments and basename(arguments[0].text) == "manage.py":
            self._found(join(self._folder, arguments[0].text), arguments[1:])
        else:
            script = arguments[0].text if arguments else "python"
            raise NotUnderstoodError(f"it does not call manage.py: it runs `{script}`")

    def _found(self, program: str, words: Sequence[Value]) -> None:
        if [word.text for word in words[:2]] == ["jobledger", "wrap"]:
            self._wrapped(words[2:])
            return
        for word in words:
            if not word.is_known:
                raise NotUnderstoodError(f"the shell computes an argument: `{word.text}`")
        if not words or words[0].text.startswith("-"):
            raise NotUnderstoodError("it calls manage.py without a command")
        name, *arguments = (word.text for word in words)
        if name == "jobledger":
            raise NotUnderstoodError("it calls an operator's command, which is not a job")
        self._is_found = True
        self._call = replace(self._call, command=name, arguments=tuple(arguments), program=normpath(program))

    def _wrapped(self, words: Sequence[Value]) -> None:
        """What ``jobledger wrap [options] -- LINE`` observes."""
        texts = [word.text for word in words]
        line = words[texts.index("--") + 1 :] if "--" in texts else ()
        if len(line) == 1:
            return self.text(line[0].text)
        return self._run(line)

    def _open(self, redirections: Sequence[Redirection]) -> None:
        """Remember the files behind descriptors."""
        for redirection in redirections:
            if redirection.is_extra and not redirection.operator.endswith("&"):
                [*_, target] = self._words.values(redirection.target) or [Value(text="")]
                self._files = {**self._files, redirection.descriptor: target.text}

    def _redirect(self, redirections: Sequence[Redirection]) -> None:
        for redirection in redirections:
            if redirection.is_extra:
                continue
            [*_, target] = self._words.values(redirection.target) or [Value(text="")]
            operator = redirection.operator
            if operator in _OUTPUTS and target.text != "/dev/null":
                self._add(output_files=(target.text,))
            if operator.startswith("&") and self._words.shell in PLAIN_SHELLS:
                text = "in `sh`, `&>` means to run it in the background, and to empty the file"
                self._add(warnings=(text,))
            if operator.startswith("<") and operator != "<&" and target.text != "/dev/null":
                raise NotUnderstoodError(f"it reads its input from {target.text}")

    # The result

    def _enter(self, folder: str) -> None:
        self._folder = join(self._folder, folder)

    def _set(self, variables: Mapping[str, str]) -> None:
        """Set environment variables of the call; a later value counts."""
        module = variables.get(ENVIRONMENT_VARIABLE) or self._call.settings_module
        self._call = replace(self._call, settings_module=module)
        self._add(variables=[name for name in variables if name != ENVIRONMENT_VARIABLE])

    def _note(self, text: str) -> None:
        self._add(notes=(text,))

    def _add(self, **values: Sequence[str]) -> None:
        """Add values to the fields of these names, each of them once."""
        fields: dict[str, Any] = {}
        for name, added in values.items():
            fields[name] = tuple(dict.fromkeys((*getattr(self._call, name), *added)))
        self._call = replace(self._call, **fields)


PRELUDES = {
    ".": "_source",
    "/bin/true": "_do_nothing",
    "/usr/bin/true": "_do_nothing",
    ":": "_do_nothing",
    "cd": "_cd",
    "export": "_export",
    "pushd": "_cd",
    "set": "_do_nothing",
    "source": "_source",
    "true": "_do_nothing",
    "ulimit": "_limit",
    "umask": "_limit",
}
"""Commands that may come before the call, and what they change."""
