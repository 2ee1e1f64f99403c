// What a reader is told while nothing comes: a frozen worker, suspended queues, a full queue.

import { HUNDRED, assert, control, finished, inTheMiddle, onPage, textOf, told, write } from "./page.mjs";

onPage("a worker that freezes in the middle of an answer is told of, and the answer goes on with it", async (page) => {
  await inTheMiddle(page, async () => {
    await told(page, "The worker is not responding");
    assert.notEqual(await textOf(page), HUNDRED);
  });
  assert.equal(await finished(page), HUNDRED);
  assert.ok(!(await page.locator(".waiting").isVisible()));
});

onPage("suspended queues are told of, also to who waits already, and the chat runs when they resume", async (page) => {
  await control("suspend");
  try {
    await write(page, "What is the opposite of hot?");
    await told(page, "The queue is suspended");
  } finally {
    await control("resume");
  }
  assert.equal(await finished(page), "The opposite of hot is cold.");
});

onPage("a queue that is full is told of, with the time to the next try", async (page) => {
  const json = { detail: "The queue is full.", code: "queue_full", errors: [] };
  await page.route("**/api/engine/chat", (route) => route.fulfill({ status: 429, headers: { "Retry-After": "3" }, json }), { times: 1 });
  await Promise.all([told(page, "The queue is full. Trying again in 3 s"), write(page, "What is the opposite of hot?")]);
  assert.equal(await finished(page), "The opposite of hot is cold.");
});
