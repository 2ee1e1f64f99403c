// Answers that go on: after a reload, a killed worker, a killed API, a lost connection.

import { HUNDRED, assert, begun, finished, kill, onPage, write } from "./page.mjs";

async function countTo(page, disturb) {
  await write(page, "Count to a hundred.");
  await begun(page);
  await disturb();
  assert.equal(await finished(page), HUNDRED);
}

onPage("an answer goes on after a reload in its middle", (page) => countTo(page, async () => {
  await page.reload();
  await page.waitForSelector(".answer");
}));

onPage("a reload before the service has answered asks for the same chat again", async (page) => {
  const keys = [];
  await page.route("**/api/engine/chat", (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    return keys.length === 1 ? new Promise(() => {}) : route.continue();
  });
  await write(page, "What is the opposite of hot?");
  await page.waitForFunction(() => indexedDB.databases && document.querySelector(".answer"));
  while (keys.length === 0) await page.waitForEvent("request");
  await page.reload();
  await page.waitForSelector(".answer");
  assert.equal(await finished(page), "The opposite of hot is cold.");
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
});

onPage("an answer goes on after its worker was killed", (page) => countTo(page, () => kill("worker")));

onPage("an answer goes on after the API was killed, and the reader is told meanwhile", (page) => countTo(page, async () => {
  await kill("api");
  await page.waitForFunction(() => document.querySelector(".waiting")?.textContent === "Reconnecting");
}));

onPage("another tab shows the same answer", async (page, context) => {
  await countTo(page, async () => {});
  const other = await context.newPage();
  await other.goto(page.url());
  await other.waitForSelector(".answer");
  assert.equal(await finished(other), HUNDRED);
});
