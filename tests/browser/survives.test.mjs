// Answers that continue after a reload, a killed worker, a killed API, a lost connection.

import { HUNDRED, answers, ask, assert, finished, inTheMiddle, kill, onPage, open, reload, told, write } from "./page.mjs";

async function countTo(page, disturb) {
  await inTheMiddle(page, disturb);
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
  await asked;
  await reload(page);
  assert.equal(await finished(page), "The opposite of hot is cold.");
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
});

onPage("an answer goes on after its worker was killed", (page) => countTo(page, () => kill("worker")));

onPage("an answer goes on after the API was killed, and the reader is told meanwhile", (page) => countTo(page, () =>
  Promise.all([told(page, "Reconnecting"), kill("api")])));

onPage("two tabs show one conversation, and either may go on with it", async (page, context) => {
  assert.equal(await ask(page, "Count to a hundred."), HUNDRED);
  const other = await context.newPage();
  await open(other, page.url());
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

onPage("a tab that saves what it knew does not undo what was asked in another one since", async (page) => {
  await page.evaluate(() => {
    globalThis.stored = async (late = null) => { // saves it first, as another tab does
      const database = await new Promise((resolve) => { indexedDB.open("mlxq-chat").onsuccess = ({ target }) => resolve(target.result); });
      const store = database.transaction("conversations", "readwrite").objectStore("conversations");
      if (late) store.put(late);
      const [conversation] = await new Promise((resolve) => { store.getAll().onsuccess = ({ target }) => resolve(target.result); });
      database.close();
      if (late) new BroadcastChannel("mlxq-chat").postMessage(late.id);
      return conversation;
    };
  });
  await ask(page, "What is the opposite of hot?");
  await page.evaluate(async () => { globalThis.late = await stored(); });
  await ask(page, "Tell me a joke.");
  await page.evaluate(() => stored(globalThis.late));
  await page.waitForFunction(async () => (await stored()).messages.length === 4);
  assert.equal(await answers(page).count(), 2);
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
