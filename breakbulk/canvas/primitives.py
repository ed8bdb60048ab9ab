"""``group``, ``chord`` and ``chain``, to be imported instead of Celery's.

They hold Celery's own signatures and only begin a run when they are applied. What a run cannot be
is refused where it is built, or, in a header that is read lazily, where it is met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any, Self

import celery
from celery import Celery, Signature
from celery.canvas import maybe_signature

from breakbulk.canvas.header import Once
from breakbulk.canvas.submitting import Application, app_of, begin
from breakbulk.errors import CanvasError
from breakbulk.parts.signatures import OF_PARTS, callbacks_of, tasks_of

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.orm import Session, scoped_session

    from breakbulk.canvas.handle import CanvasResult

_ON_FAILURE = (None, "isolate", "skip", "stop")
#: What apply_async takes, and so may be set before.
_TAKEN = {"countdown", "eta", "queue", "session", "idempotency_key"}
#: What Celery builds of several signatures.
_SEVERAL = ("group", "chord", "chain")
#: Options by which Celery tells what was applied apart; a run has a number.
_OF_IDS = ("task_id", "group_id", "root_id", "parent_id", "chord", "group_index")
#: What Celery's can do besides, and what takes its place.
_INSTEAD = {
    "apply": "set task_always_eager and call apply_async() to have all of it done at once",
    "clone": "build it again, or apply it again, which is another run; and if it is Celery that"
    " asks, import all of group, chord and chain from breakbulk.canvas",
    "freeze": "a run has its number once it is applied",
    "set_immutable": "make its parts with si()",
    "skew": "give its parts a countdown, as in add.s(2, 2).set(countdown=1)",
}
#: What Celery looks for in a signature.
_OF_SIGNATURES = ("args", "get", "id", "kwargs", "options", "subtask_type", "task", "type")
#: What Celery asks of whatever stands in a list of signatures.
_OF_TASKS = "name"
_NO_SIGNATURE = (
    "A {inner} of Breakbulk's is no signature of Celery's: import all of group, chord and chain"
    " from breakbulk.canvas, and where Celery wants a signature, as in replace() and link(), let a"
    " task apply it instead."
)
_NESTED = (
    "A {inner} cannot be {place}: put its parts into the one group, or let a task start a canvas of"
    " its own."
)


class Canvas:
    """What a group, a chord and a chain have in common.

    Attributes:
        tasks: the parts: a list, or what is read once, when the canvas is applied.
        leading: tasks that run before the parts, each with the result of the one before.
        following: the body and what is linked behind it.
        on_failure: what becomes of the whole when a part fails.
    """

    def __init__(
        self,
        tasks: Iterable[Any],
        *,
        leading: Iterable[Signature] = (),
        following: Iterable[Signature] = (),
        on_failure: str | None = None,
    ) -> None:
        if on_failure not in _ON_FAILURE:
            raise CanvasError(
                f"on_failure={on_failure!r} must be None, 'isolate', 'skip' or 'stop'."
            )
        self.tasks = tasks
        self.leading = list(leading)
        self.following = list(following)
        self.on_failure = on_failure
        self._links: list[Signature] = []
        self._errbacks: list[Signature] = []
        self._options: dict[str, Any] = {}

    def __len__(self) -> int:
        """How many parts it has.

        Raises:
            TypeError: they are read lazily, so that nobody knows yet.
        """
        if not isinstance(self.tasks, Sized):
            raise TypeError(
                f"Nobody knows how many parts a {type(self).__name__} of a generator has before it"
                " is applied: give it a list to be able to ask, or ask what apply_async() gives."
            )
        return len(self.tasks)

    def __bool__(self) -> bool:
        """Always true, as Celery's are: a group without parts can be applied, too."""
        return True

    if not TYPE_CHECKING:  # which see a wrong name by themselves

        def __getattr__(self, name: str) -> Any:
            """Say what to do instead of what Celery's canvases can do and these cannot."""
            if name == _OF_TASKS:
                # Celery takes whatever has none for a task's name, and fails where it is sent.
                raise CanvasError(_NO_SIGNATURE.format(inner=type(self).__name__))
            if name in _OF_SIGNATURES:
                raise AttributeError(_NO_SIGNATURE.format(inner=type(self).__name__))
            instead = _INSTEAD.get(name)
            told = f"{name!r}" if instead is None else f"{name}(): {instead}"
            raise AttributeError(f"A {type(self).__name__} of Breakbulk's has no {told}.")

        def __getitem__(self, _key: Any) -> Any:
            """Say so to Celery, which takes what it is given for a signature."""
            raise TypeError(_NO_SIGNATURE.format(inner=type(self).__name__))

    # Combining

    def __or__(self, other: Any) -> Canvas:
        return self.followed_by(_plain(other, "behind a group"))

    def __ror__(self, other: Any) -> Canvas:
        return self.led_by(_plain(other, "in front of a group"))

    def followed_by(self, tasks: list[Signature]) -> Canvas:
        """The same with tasks behind it."""
        return self._with(following=[*self.following, *tasks])

    def led_by(self, tasks: list[Signature]) -> Canvas:
        """The same with tasks in front of it."""
        return self._with(leading=[*tasks, *self.leading])

    def _with(self, **changes: Any) -> Canvas:
        if self._links:
            raise CanvasError("link() comes last: combine first, and then link.")
        given = {"leading": self.leading, "following": self.following, **changes}
        kind = chain if given["leading"] else chord if given["following"] else group
        made: Canvas = object.__new__(kind)
        Canvas.__init__(made, self.tasks, on_failure=self.on_failure, **given)
        made._take_over(self)
        return made

    def link(self, callback: Signature) -> Signature:
        """Send a signature with the body's result once the body has succeeded.

        Raises:
            CanvasError: there is no body.
        """
        if not self.following:
            raise CanvasError(
                "A group has no result of its own to link to: use a chord, or link to its parts."
            )
        self._links.append(callback)
        return callback

    def link_error(self, errback: Signature) -> Signature:
        """Call an error callback, once, when a part or the body has failed.

        Of a group without a body, once for each part that has failed.
        """
        self._errbacks.append(errback)
        return errback

    def on_error(self, errback: Signature) -> Self:
        """The same, giving back the canvas."""
        self.link_error(errback)
        return self

    def set(self, **options: Any) -> Self:
        """Set what :meth:`apply_async` is given when it is not told otherwise."""
        self._options.update(options)
        return self

    def _take_over(self, other: Any) -> None:
        """Have the error callbacks and options of a canvas that this one is made of."""
        if isinstance(other, Canvas):
            self._errbacks += other._errbacks  # noqa: SLF001  (its own kind)
            self.set(**other._options)  # noqa: SLF001

    def _set_at_once(self, options: dict[str, Any]) -> None:
        # Celery's take their application, too; ours ask their tasks for it.
        options.pop("app", None)
        _refuse(options)
        self.set(**options)

    def stamp(self, *_visitors: Any, **_headers: Any) -> Self:
        """Refuse: there are no messages to be stamped.

        Raises:
            CanvasError: always.
        """
        raise CanvasError(
            "A canvas sends no message for each part, so there is none to be stamped: give what"
            " the stamp says to the tasks as an argument."
        )

    # Applying

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        queue: str | None = None,
        link: Any = None,
        link_error: Any = None,
        session: Session | scoped_session[Any] | None = None,
        idempotency_key: str | None = None,
        **others: Any,
    ) -> CanvasResult:
        """Begin a run, at the cost of one pass over the header.

        Args:
            args: put before the arguments of every part (of the first leading task, if there is
                one) that is not immutable.
            kwargs: put over those, likewise.
            countdown: seconds until the first part runs, at least.
            eta: no part runs before; without a zone it is UTC, as in Celery's workers.
            queue: where all of it is worked on; default what a part asks for, else where Celery
                routes the first part.
            link: a signature, or several, sent with the body's result.
            link_error: an error callback, or several.
            session: a session whose transaction the run is to be part of: no commit, no run.
            idempotency_key: a second apply with the same key returns the first run, and goes on
                reading where a producer died. A header that was read to its end is not compared
                with another one.

        Raises:
            CanvasError: something of it cannot be run.
            ConfigurationError: no ``Breakbulk`` was made for the tasks' Celery application.
            IdempotencyConflict: the key belongs to a canvas with another body, queue or policy.
        """
        _refuse({**self._options, **others})
        given: dict[str, Any] = {
            "countdown": countdown,
            "eta": eta,
            "queue": queue,
            "session": session,
            "idempotency_key": idempotency_key,
        }
        chosen = {**self._options, **{k: v for k, v in given.items() if v is not None}}
        return begin(
            self._application(args, kwargs, link, link_error), **{**dict.fromkeys(given), **chosen}
        )

    def delay(self, *args: Any, **kwargs: Any) -> CanvasResult:
        """Shortcut to :meth:`apply_async` with these arguments."""
        return self.apply_async(args, kwargs)

    def __call__(self, *args: Any, **options: Any) -> CanvasResult:
        """Apply it with these arguments."""
        return self.apply_async(args, **options)

    @property
    def app(self) -> Celery | None:
        """The Celery application of its tasks; None where only parts not yet read can tell."""
        listed = self.tasks if isinstance(self.tasks, (list, tuple)) else ()
        for one in (*self.leading, *listed, *self.following):
            found = app_of(one)
            if found is not None:
                return found
        return None

    def _application(
        self, args: Iterable[Any] | None, kwargs: Mapping[str, Any] | None, link: Any, error: Any
    ) -> Application:
        links = [*self._links, *callbacks_of(link)]
        if links and not self.following:
            raise CanvasError(
                "A group has no result of its own to link to: use a chord, or link to its parts."
            )
        return Application(
            app=self.app,
            parts=self._parts(),
            leading=self.leading,
            following=self.following,
            on_failure=self.on_failure,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            links=links,
            errbacks=[*self._errbacks, *callbacks_of(error)],
        )

    def _parts(self) -> Iterator[Any]:
        return (_part(one) for one in self.tasks)


class group(Canvas):  # noqa: N801  (Celery's name)
    """Tasks that are run side by side, each as one item of a run.

    Args:
        tasks: signatures, or one iterable of them; a generator is read once, when it is applied.
        on_failure: None: as in Celery all parts are run, and if any has failed the body is not
            called. ``"isolate"`` and ``"skip"``: the body is called with a summary all the same.
            ``"stop"``: the first failure ends the run.

    Raises:
        CanvasError: it is made of what cannot be a part.
    """

    def __init__(self, *tasks: Any, on_failure: str | None = None, **options: Any) -> None:
        given: Any = tasks
        if len(tasks) == 1:
            (only,) = tasks
            if isinstance(only, group) and not only.following:
                given, on_failure = only.tasks, on_failure or only.on_failure
            elif isinstance(only, celery.group):
                given = only.tasks
            elif not isinstance(only, (Canvas, dict)):
                given = only
        super().__init__(_checked(given), on_failure=on_failure)
        self._take_over(tasks[0] if len(tasks) == 1 else None)
        self._set_at_once(options)


class chord(Canvas):  # noqa: N801  (Celery's name)
    """A group, and a body that is called once with the results of all its parts.

    Args:
        header: the parts: a ``group``, or an iterable of signatures.
        body: a signature, or a chain of them; ``chord(header)(body)`` gives it later.
        on_failure: as for ``group``.

    Raises:
        CanvasError: it is made of what cannot be a part or a body.
    """

    def __init__(
        self, header: Any, body: Any = None, *, on_failure: str | None = None, **options: Any
    ) -> None:
        tasks, leading = header, []
        if isinstance(header, Canvas):
            if header.following:
                raise CanvasError(_NESTED.format(inner="chord", place="the header of a chord"))
            tasks, leading = header.tasks, header.leading
            on_failure = on_failure or header.on_failure
        elif isinstance(header, celery.group):
            tasks = header.tasks
        elif isinstance(header, dict):
            # One task may stand there alone, as in Celery; what is made of several may not.
            tasks = _alone(header)
        following = [] if body is None else _plain(body, "the body of a chord")
        super().__init__(
            _checked(tasks), leading=leading, following=following, on_failure=on_failure
        )
        self._take_over(header)
        self._set_at_once(options)

    def __call__(self, body: Any = None, **options: Any) -> CanvasResult:
        """Apply it, with a body if it is given one here."""
        if body is None:
            return self.apply_async(**options)
        return self._with(following=_plain(body, "the body of a chord")).apply_async(**options)

    @property
    def body(self) -> Signature | None:
        """The body."""
        return self.following[0] if self.following else None


class chain(Canvas):  # noqa: N801  (Celery's name)
    """Tasks and one group in a row: ``chain(task, …, group(…), body, …)``.

    What comes before the group is run first, its result goes to each part; what comes behind it is
    the body, and what is linked to that. Without a group it is Celery's own chain.

    Args:
        tasks: signatures and at most one group or chord, or one iterable of them. A group or chord
            that was built with Celery's own name is taken as ours.

    Raises:
        CanvasError: there are several groups.
    """

    def __new__(cls, *tasks: Any) -> Any:
        """Give Celery's own chain where there is no group."""
        given = _row(tasks)
        if not any(isinstance(one, Canvas) for one in given):
            return celery.chain(*given)
        made = super().__new__(cls)
        made.__dict__.update(_joined(given).__dict__)
        return made

    def __init__(self, *tasks: Any) -> None:
        """All is done by then, for what is lazy can be read only once."""


def _joined(given: list[Any]) -> Canvas:
    """One canvas and tasks in a row, as the canvas with all of them."""
    at = next(place for place, one in enumerate(given) if isinstance(one, Canvas))
    made: Canvas = given[at]
    if behind := given[at + 1 :]:
        tails = [task for one in behind for task in _plain(one, "behind a group")]
        made = made.followed_by(tails)
    heads = [task for one in given[:at] for task in _plain(one, "in front of a group")]
    return made.led_by(heads)


def _row(tasks: tuple[Any, ...]) -> list[Any]:
    """The members of a chain, groups and chords of Celery's own made ours.

    Somebody may have left an import as it was: without a ledger nobody would notice.
    """
    alone = len(tasks) == 1 and not isinstance(tasks[0], (Canvas, dict))
    return [ours for one in (tasks[0] if alone else tasks) for ours in _taken(one)]


def _taken(one: Any) -> list[Any]:
    """A member of a chain: ours for a group or chord of Celery's, several for a chain with such."""
    if not isinstance(one, dict) or one.get("subtask_type") not in _SEVERAL:
        return [one]
    found: Any = maybe_signature(one)
    if isinstance(found, celery.group):
        return [_with_options(group(found), found)]
    if isinstance(found, celery.chord):
        return [_with_options(chord(found.tasks, found.body), found)]
    members = [ours for task in found.tasks for ours in _taken(task)]
    if not any(isinstance(member, Canvas) for member in members):
        return [one]
    if members and found.options:
        members[-1] = _with_options(_joined(members), found)
        return members[-1:]
    return members


def _with_options(made: Canvas, given: Signature) -> Canvas:
    """Take over what was set on a canvas of Celery's."""
    options = {name: given.options[name] for name in given.options if name not in _OF_IDS}
    for link in callbacks_of(options.pop("link", None)):
        made.link(link)
    for errback in callbacks_of(options.pop("link_error", None)):
        made.link_error(errback)
    return made.set(**options)


def _checked(tasks: Any) -> Any:
    """Parts, looked at now unless they are to be read lazily."""
    if isinstance(tasks, Once):
        return tasks
    if isinstance(tasks, Iterator):
        return Once(tasks)
    if isinstance(tasks, (str, bytes, Mapping)) or not isinstance(tasks, Iterable):
        raise CanvasError(
            "A group is made of Celery signatures, as in group(add.s(n, n) for n in range(10)),"
            f" not of {type(tasks).__name__}."
        )
    if isinstance(tasks, (list, tuple)):
        for one in tasks:
            tasks_of(_part(one))
        # What somebody does to his list later is his own business.
        return list(tasks)
    return tasks


def _part(given: Any) -> Any:
    """Refuse a canvas of ours where only a part can be."""
    if isinstance(given, Canvas):
        inner = type(given).__name__
        raise CanvasError(_NESTED.format(inner=inner, place="a part of another one"))
    return given


def _alone(header: Mapping[str, Any]) -> list[Any]:
    """A header that is one signature, and not in a list."""
    kind = header.get("subtask_type")
    if kind in _SEVERAL:
        raise CanvasError(
            f"The header of a chord is a {kind}: put it into a list if it is to be one part, or"
            " list its tasks if each is to be one."
        )
    return [header]


def _plain(given: Any, place: str) -> list[Signature]:
    """One task, or those of a chain."""
    if isinstance(given, Canvas):
        raise CanvasError(_NESTED.format(inner=type(given).__name__, place=place))
    return tasks_of(given)


def _refuse(options: Mapping[str, Any]) -> None:
    """Refuse options that a canvas does not take, each with what to do instead."""
    unknown = sorted(options.keys() - _TAKEN)
    if not unknown:
        return
    name = unknown[0]
    how = (
        f"set it on the parts, as in add.s(2, 2).set({name}=…)"
        if name in OF_PARTS
        else "it is about messages, and a canvas sends none for each part, so leave it away"
    )
    raise CanvasError(f"apply_async() of a canvas takes no {name}=: {how}.")
