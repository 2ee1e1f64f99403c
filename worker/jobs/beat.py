"""What a worker does every second: end late chats, notice an engine that hangs, report itself."""

from __future__ import annotations

from wire.settings import Settings
from worker.engine.engine import Engine
from worker.jobs.deadlines import Deadlines
from worker.jobs.model_publisher import ModelPublisher
from worker.jobs.routing.router import Router
from worker.jobs.rq_worker.meta import RqMeta
from worker.jobs.status_reporter import StatusReporter


class Beat:
    """Called by the heartbeat's thread, and after model commands."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        deadlines: Deadlines,
        models: ModelPublisher,
        reporter: StatusReporter,
        rq_meta: RqMeta,
        router: Router | None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._deadlines = deadlines
        self._models = models
        self._reporter = reporter
        self._rq_meta = rq_meta
        self._router = router

    def beat(self) -> None:
        limit = self._settings.job_timeout_s
        for job_id in self._deadlines.pop_expired():
            self._engine.fail(job_id, "job_timeout", f"The chat took longer than {limit} seconds.")
        self._engine.end_if_hung(self._settings.hang_s)
        # Before the status: a client that sees this worker must find its models.
        if not self._reporter.read_clock():
            self._models.publish()
        self._engine.unload_idle()
        inside = self._engine.snapshot()
        self._reporter.publish(inside)
        self._rq_meta.publish(inside)
        if self._router is not None:
            self._router.beat()

    def publish_models(self) -> None:
        """Publish at once what a model command has changed."""
        self._models.publish()
        self.beat()
