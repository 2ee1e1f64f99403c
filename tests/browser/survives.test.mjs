// Answers that continue after a reload, a killed worker, a killed API, a lost connection.

import { HUNDRED, ask, assert, begun, finished, kill, onPage, reload, write } from "./page.mjs";

async function countTo(page, disturb) {
  await write(page, "Count to a hundred.");
  await begun(page);
  await disturb();
  assert.equal(await finished(page), HUNDRED);
}

onPage("an answer goes on after a reload in its middle", (page) => countTo(page, () => reload(page)));

onPage("a reload before the service has answered asks for the same chat again", async (page) => {
  const keys = [];
  let arrived;
  const asked = new Promise((resolve) => { arrived = resolve; });
  await page.route("**/api/engine/chat", (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    arrived();
    return keys.length === 1 ? new Promise(() => {}) : route.continue();
  });
  await write(page, "What is the opposite of hot?");
  await page.waitForFunction(() => indexedDB.databases && document.querySelector(".answer"));
  await asked;
  await reload(page);
  assert.equal(await finished(page), "The opposite of hot is cold.");
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
});

onPage("an answer goes on after its worker was killed", (page) => countTo(page, () => kill("worker")));

onPage("an answer goes on after the API was killed, and the reader is told meanwhile", (page) => countTo(page, async () => {
  await kill("api");
  await page.waitForFunction(() => document.querySelector(".waiting")?.textContent === "Reconnecting");
}));

onPage("two tabs show one conversation, and either may go on with it", async (page, context) => {
  await countTo(page, async () => {});
  const other = await context.newPage();
  await other.goto(page.url());
  await other.waitForSelector(".answer");
  assert.equal(await finished(other), HUNDRED);
  await ask(other, "What is the opposite of hot?");
  await page.waitForFunction(() => document.querySelectorAll(".answer").length === 2);
  assert.equal(await finished(page), "The opposite of hot is cold.");
  await page.getByRole("button", { name: "Answer again" }).first().click();
  await page.waitForFunction(() => document.querySelectorAll(".answer").length === 1);
  assert.equal(await finished(page), HUNDRED);
  await other.waitForFunction(() => document.querySelectorAll(".answer").length === 1);
  assert.equal(await finished(other), HUNDRED);
});

onPage("a new chat begins with what was set last, not with what an old one was asked with", async (page) => {
  const set = async (system) => {
    await page.keyboard.press("Alt+KeyS");
    await page.getByLabel("System prompt").fill(system);
    await page.getByRole("button", { name: "Done" }).click();
  };
  await set("Be brief.");
  await ask(page, "Tell me a joke.");
  await page.keyboard.press("Alt+KeyN");
  await set("");
  await page.locator("#conversations .open").click();
  await page.keyboard.press("Alt+KeyN");
  const sent = page.waitForRequest("**/api/engine/chat");
  await write(page, "Hello!");
  assert.deepEqual((await sent).postDataJSON().messages.map(({ role }) => role), ["user"]);
  await finished(page);
});
