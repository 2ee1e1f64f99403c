"""What is measured of this service with the vision model. mlx_lm.server answers image chats one
after another."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from scripts.benchmarks.parts.text import LONG_ANSWER, UNDER_WAY, end, whole
from scripts.benchmarks.systems import models
from scripts.benchmarks.systems.client import burst, rate, send
from scripts.benchmarks.systems.plan import GREEDY, Figures, Plan, Results
from scripts.benchmarks.systems.prompts import Messages, Prompts
from scripts.benchmarks.systems.servers import Server

CHATS = 8


@dataclass(slots=True)
class VisionLoad:
    """Measurements of one server. ``prompts`` are of the vision model, ``text`` of the text
    model."""

    plan: Plan
    server: Server
    prompts: Prompts
    text: Prompts

    async def run(self) -> Results:
        """All of them, after a warm-up that is not measured."""
        await burst(self.server.port, self._image_chats("warm-up"))
        return {**await self._together(), **await self._second_turn(), **await self._stall()}

    def _request(self, messages: Messages) -> bytes:
        return self.server.chat(messages, GREEDY, 0, model=models.VISION_NAME)

    def _image_chats(self, label: str) -> list[bytes]:
        return [self._request(self.prompts.image_chat(f"{label} {i}")) for i in range(CHATS)]

    async def _together(self) -> Results:
        together, in_turn = Figures([], []), Figures([], [])
        for turn in range(self.plan.rounds):
            answers = whole(await burst(self.server.port, self._image_chats(f"together {turn}")))
            together.ttft += [answer.ttft for answer in answers]
            together.rate.append(rate(answers))
            requests = self._image_chats(f"in turn {turn}")
            answers = whole([(await burst(self.server.port, [request]))[0] for request in requests])
            in_turn.ttft += [answer.ttft for answer in answers]
            in_turn.rate.append(rate(answers))
        return {"images together": together, "images in turn": in_turn}

    async def _second_turn(self) -> Results:
        cold, warm = Figures([], []), Figures([], [])
        for turn in range(self.plan.rounds):
            first = self.prompts.image_chat(f"image {turn}")
            [answer] = await burst(self.server.port, [self._request(first)])
            again = self.prompts.second_turn(first, answer.text, f"image {turn}")
            other = self.prompts.image_chat(f"other image {turn}")
            unseen = self.prompts.second_turn(other, answer.text, f"other image {turn}")
            for chat, figures in ((unseen, cold), (again, warm)):
                figures.ttft += [
                    a.ttft for a in await burst(self.server.port, [self._request(chat)])
                ]
        return {"image cold": cold, "image warm": warm}

    async def _stall(self) -> Results:
        """The longest silence of a text stream while image chats join and run, and while it is
        alone."""
        joined, alone = Figures([], []), Figures([], [])
        for turn in range(self.plan.rounds):
            lasted = 0.0
            for label, figures in (("joined", joined), ("alone", alone)):
                request = self.server.chat(
                    self.text.chat(f"stall {turn} {label}"), GREEDY, 0, LONG_ANSWER
                )
                stream = await send(self.server.port, request)
                await stream.frames(UNDER_WAY)
                since = time.perf_counter()
                if figures is joined:
                    await burst(self.server.port, self._image_chats(f"stall {turn}"))
                    lasted = time.perf_counter() - since
                else:
                    await asyncio.sleep(lasted)
                until = time.perf_counter()
                await end(self.server, [stream])
                figures.ttft.append((await stream.answer()).longest_gap(since, until))
        return {"stall": joined, "stall alone": alone}
